"""The inception network near the words of a pair: elsewhere its image is empty, and known.

An image has some tens of words in thousands of pixels. Behind the first convolution all places
without a word nearby hold the same values, so the wide convolutions that follow are their answer
to a constant, which one channel tells, and that to the places near words, which are few.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from attributome.sequence.images import Image

SPARSE = 0.2
"""The share of places near words up to which this is faster than all places."""

Places = Int[Tensor, " places"]


def around(images: Image) -> Places:
    """Flat places whose 3 x 3 neighbourhood holds a word of any image of the batch."""
    there = (images != 0).any(0, keepdim=True).any(1, keepdim=True).float()
    return F.max_pool2d(there, 3, 1, 1).flatten().nonzero()[:, 0]


def inception_near(
    conv1: nn.Module, branches: nn.ModuleList, x: Image, places: Places
) -> Float[Tensor, "b d n n"]:
    """The inception block behind `conv1`, in evaluation.

    Equal to all places for images that are empty but near `places`; the gradient is right for
    the pixels that have words, and leaves out what a word elsewhere would do.
    """
    hidden = conv1(x)
    nothing = conv1(torch.zeros_like(x[:1, :, :3, :3]))[0, :, 1, 1]
    apart = hidden.flatten(2)[:, :, places] - nothing[:, None]
    return torch.cat([_block(block, apart, nothing, hidden, places) for block in branches], 1)


def _block(
    block: nn.Module, apart: Tensor, nothing: Tensor, hidden: Tensor, places: Places
) -> Tensor:
    conv, *after = block.children()
    assert isinstance(conv, nn.Conv2d)
    rows, columns = hidden.shape[2:]
    width, size = conv.out_channels, conv.kernel_size[0]
    pad = size // 2
    flat = (conv.weight * nothing[None, :, None, None]).sum(1, keepdim=True)
    ground = F.conv2d(hidden.new_ones(1, 1, rows, columns), flat, conv.bias, padding=pad)
    spread = apart.transpose(1, 2) @ conv.weight.permute(1, 2, 3, 0).flatten(1)
    # what a place adds at each offset, on a canvas with room for what falls over the edge
    wide = columns + 2 * pad
    step = torch.arange(size, device=places.device)
    offset = (-step[:, None] * wide - step[None, :]).flatten() + 2 * pad * (wide + 1)
    at = (places // columns * wide + places % columns)[:, None] + offset
    canvas = spread.new_zeros(len(spread), (rows + 2 * pad) * wide, width)
    canvas = canvas.index_add(1, at.flatten(), spread.unflatten(2, (-1, width)).flatten(1, 2))
    made = canvas.unflatten(1, (rows + 2 * pad, wide))[:, pad : pad + rows, pad : pad + columns]
    out: Tensor = made.permute(0, 3, 1, 2) + ground
    for layer in after:
        out = layer(out)
    return out
