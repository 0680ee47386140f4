"""Batch norm with the statistics of other images: a trained network meets another microscope.

Nado et al. (2020) and Schneider et al. (2020): what a batch norm subtracts and divides by is of the
training images, and where new images are brighter or less sharp it does not fit. No label is
needed to measure it anew, and no weight changes.
"""

from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from attributome.core.errors import DataError, UsageError
from attributome.core.types import Images


def adapt_batch_norm(
    net: nn.Module, batches: Iterable[Tensor], *, momentum: float | None = None
) -> nn.Module:
    """A copy in evaluation mode whose batch norms hold the statistics of these images `(b, c, *s)`.

    Without `momentum` nothing is left of the old ones: mean and (unbiased) variance of each batch
    are averaged, each batch by how many images it has. What differs between batches is in no
    variance, so mix the images, and take many at a time. With it, each batch moves the statistics
    by this share, from those of the training on. Everything else runs as in evaluation, dropout
    too; the weights are bit for bit those of `net`, which is left as it was.

    Images must be on the device of the network, and normalised as those of its training: with their
    numbers, not with new ones. A network without statistics of batches is refused.
    """
    if momentum is not None and not 0 < momentum <= 1:
        raise UsageError(f"momentum {momentum} is no share: above 0, at most 1, or None for all")
    # not `eval()`: exported programs refuse it
    adapted = deepcopy(net)
    for module in adapted.modules():
        module.training = False
    norms = [
        module
        for module in adapted.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not norms:
        raise UsageError(
            f"a {type(net).__name__} has no batch norm with statistics of its own, so there is "
            f"nothing to adapt: it sees the new images as it saw the old ones"
        )
    own = [norm.momentum for norm in norms]
    for norm in norms:
        norm.training = True
        if momentum is None and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.zero_()
    seen = 0
    with torch.no_grad():
        for x in batches:
            _check(x, seen)
            seen += len(x)
            for norm in norms:
                norm.momentum = len(x) / seen if momentum is None else momentum
            _run(adapted, x)
    if not seen:
        raise DataError("there are no images: statistics need at least one batch")
    for norm, before in zip(norms, own, strict=True):
        norm.training, norm.momentum = False, before
    return adapted


def _check(x: Images, seen: int) -> None:
    if not len(x) or not x.isfinite().all():
        raise DataError(
            f"a batch of shape {tuple(x.shape)} behind {seen} images is empty or has values that "
            f"are not finite: statistics would be lost"
        )


def _run(net: nn.Module, x: Images) -> None:
    """One pass for its statistics; the answer is of nobody's interest."""
    try:
        net(x)
    except ValueError as error:
        if "more than 1 value" not in str(error):
            raise
        raise DataError(
            f"a batch of {len(x)} images leaves one value per feature, which has no variance: give "
            f"two images or more at a time"
        ) from error
