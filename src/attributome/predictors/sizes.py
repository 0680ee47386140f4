"""Images of any size for predictors that do not take every size: padded, cropped back, and said."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attributome.core.errors import DataError, UsageError
from attributome.core.types import Images, Predictor
from attributome.core.windows import axis_weights, batched

OVERLAP, TOGETHER = 0.5, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRule:
    """The sizes a predictor accepts: along each axis `minimum + n * multiple`, or only `fixed`.

    An axis that is free has None in `fixed`; `batch` is the one number of images that a program
    accepts, and None where it accepts any.
    """

    minimum: tuple[int, ...]
    multiple: tuple[int, ...]
    fixed: tuple[int | None, ...] | None = None
    batch: int | None = None


def fit_size(rule: SizeRule, size: Sequence[int]) -> tuple[int, ...]:
    """The size at which the network runs: the next accepted one, or the window of a fixed axis."""
    if len(size) != len(rule.minimum):
        raise DataError(
            f"images of {by(size)} are {len(size)}-D, but the predictor takes "
            f"{len(rule.minimum)}-D images"
        )
    if any(here < least for here, least in zip(size, rule.minimum, strict=True)):
        raise DataError(
            f"images of {by(size)} are smaller than {by(rule.minimum)}, the smallest size that "
            f"the predictor takes"
        )
    steps = zip(size, rule.minimum, rule.multiple, rule.fixed or [None] * len(size), strict=True)
    return tuple(
        only if only is not None else least + -(-(here - least) // multiple) * multiple
        for here, least, multiple, only in steps
    )


def fitted(model: Predictor, rule: SizeRule) -> "Fitted":
    """The same predictor for fields of any size that is not below its minimum."""
    return Fitted(model, rule)


def by(size: Sequence[int]) -> str:
    """A size as people write it."""
    return "x".join(map(str, size))


class Fitted(nn.Module):
    """Pads what goes into a predictor to a size that it takes, and crops the image that comes out.

    The padding mirrors the image (its last pixel is repeated where it is too small for that), half
    before and half behind, the odd pixel behind. Along an axis of fixed size, longer fields are
    predicted in windows that overlap by half and are blended. Layers keep the names that they have
    in the predictor itself; gradients pass.
    """

    def __init__(self, model: Predictor, rule: SizeRule) -> None:
        super().__init__()
        self.predictor = model
        self.rule = rule
        self.training = getattr(model, "training", False)

    def train(self, mode: bool = True) -> "Fitted":
        """Switch every layer by its flag: exported programs refuse `train()` and `eval()`."""
        for module in self.modules():
            module.training = mode
        return self

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """The predictor's layers by their own names; the predictor as a whole is `predictor`."""
        yield prefix, self
        if isinstance(self.predictor, nn.Module):
            inner = self.predictor.named_modules(memo, prefix, remove_duplicate)
            whole = f"{prefix}.predictor".lstrip(".")
            for name, module in inner:
                yield whole if module is self.predictor else name, module

    def note(self, size: Sequence[int]) -> str | None:
        """What is done to fields of this size, or None where nothing is."""
        window = fit_size(self.rule, size)
        if self._longer(size, window):
            return (
                f"fields of {by(size)} were predicted in overlapping windows of {by(window)}, "
                f"because the predictor takes no other size"
            )
        if window == tuple(size):
            return None
        return f"fields of {by(size)} were padded to {by(window)} and cropped back"

    def forward(self, x: Images) -> Tensor:
        size = tuple(x.shape[2:])
        window = fit_size(self.rule, size)
        total = [max(have, need) - have for have, need in zip(size, window, strict=True)]
        before = [extra // 2 for extra in total]
        if any(total):
            ends = zip(before, total, strict=True)
            pads = [end for lead, extra in ends for end in (extra - lead, lead)]
            mirror = all(extra - extra // 2 < have for extra, have in zip(total, size, strict=True))
            x = F.pad(x, pads[::-1], mode="reflect" if mirror else "replicate")
        out = self._windows(x, window) if self._longer(size, window) else self._run(x)
        if out.ndim != x.ndim:
            return out
        for axis, (lead, have) in enumerate(zip(before, size, strict=True), start=2):
            out = out.narrow(axis, lead, have)
        return out

    def _longer(self, size: Sequence[int], window: Sequence[int]) -> bool:
        return any(have > most for have, most in zip(size, window, strict=True))

    def _run(self, x: Images) -> Tensor:
        """The predictor, in batches of the one length that it takes."""
        rows = self.rule.batch
        if rows is None or len(x) == rows:
            return self.predictor(x)
        outs = []
        for part in x.split(rows):
            full = torch.cat([part, part[-1:].expand(rows - len(part), *part.shape[1:])])
            outs.append(self.predictor(full)[: len(part)])
        return torch.cat(outs)

    def _windows(self, x: Images, window: Sequence[int]) -> Tensor:
        axes = [axis_weights(s, w, OVERLAP) for s, w in zip(x.shape[2:], window, strict=True)]
        blended: Tensor | None = None
        for corners in batched(product(*axes), TOGETHER):
            boxes: list[tuple[slice, ...]] = []
            for corner in corners:
                spans = zip(corner, window, strict=True)
                boxes.append(
                    (slice(None), slice(None), *(slice(at, at + w) for (at, _), w in spans))
                )
            outs = self._run(torch.cat([x[box] for box in boxes]))
            if outs.ndim != x.ndim:
                raise UsageError(
                    f"images of {by(x.shape[2:])} must be cropped to {by(window)}: the predictor "
                    f"takes no other size, and its answers are not images that can be joined"
                )
            for corner, box, out in zip(corners, boxes, outs.split(len(x)), strict=True):
                for axis, (_, weight) in enumerate(corner, start=2):
                    shape = [-1 if n == axis else 1 for n in range(x.ndim)]
                    out = out * torch.from_numpy(weight).to(out.device).view(shape)
                if blended is None:
                    blended = out.new_zeros(len(x), out.shape[1], *x.shape[2:])
                blended[box] += out
        assert blended is not None  # product() of non-empty axes has at least one corner
        return blended
