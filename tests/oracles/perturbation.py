"""Perturbation attributions once more, slowly: one sample, one version, one pixel at a time.

`f` takes one image `(c, *s)` in float64 and gives one number.
"""

from itertools import product
from math import ceil, floor

import numpy as np


def occlusion(f, x, window, stride, baseline):
    space = x.shape[1:]
    total, count = np.zeros(space), np.zeros(space)
    starts = [[0] for _ in space]
    for axis, size in enumerate(space):
        while starts[axis][-1] + window[axis] < size:
            starts[axis].append(starts[axis][-1] + stride[axis])
    for corner in product(*starts):
        box = tuple(slice(s, s + w) for s, w in zip(corner, window, strict=True))
        hidden = x.copy()
        hidden[(slice(None), *box)] = baseline
        total[box] += f(x) - f(hidden)
        count[box] += 1
    return total / count


def ablation(f, x, labels, baseline):
    maps = np.zeros(labels.shape)
    for label in np.unique(labels):
        maps[labels == label] = f(x) - f(np.where(labels == label, baseline, x))
    return maps


def rise(f, x, masks, baseline):
    """`masks` are those that were drawn, `(m, *s)`."""
    scores = np.array([f(m * x + (1 - m) * baseline) for m in masks])
    maps = np.zeros(x.shape[1:])
    for pixel in np.ndindex(maps.shape):
        seen = masks[(slice(None), *pixel)]
        maps[pixel] = np.mean(scores * seen) / np.mean(seen) - np.mean(scores)
    return maps


def smooth_mask(drawn, space, cells, keep):
    """A mask from uniform numbers: the shift along each axis, then the cells of the grid."""
    dims = len(space)
    grid = (drawn[dims:] < keep).astype(float).reshape([cells + 1] * dims)
    mask = np.zeros(space)
    for pixel in np.ndindex(mask.shape):
        near = []
        for axis, place in enumerate(pixel):
            cell = ceil(space[axis] / cells)
            at = (place + floor(drawn[axis] * cell) + 0.5) / cell - 0.5
            at = min(max(at, 0.0), float(cells))
            low = min(int(at), cells - 1)
            near.append([(low, 1 - (at - low)), (low + 1, at - low)])
        for corner in product(*near):
            weight = np.prod([w for _, w in corner])
            mask[pixel] += weight * grid[tuple(i for i, _ in corner)]
    return mask
