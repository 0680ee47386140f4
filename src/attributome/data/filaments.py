"""Filters that answer to tubes and dots in a volume `(z, y, x)`, and smoothing that keeps edges."""

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

Volume = Float32[np.ndarray, "z y x"]

AT_ONCE = 2**22
"""Voxels whose eigenvalues are in memory together."""


def keep_edges(volume: Volume, *, steps: int = 10, conductance: float = 1.2) -> Volume:
    """Anisotropic diffusion (Perona & Malik 1990): neighbours that are alike become more so.

    What flows between two voxels is their difference d times exp(-d² / (2 k² m)), where m is the
    mean of all d² and k the `conductance`; a sixteenth of it in each of the `steps`.
    """
    made = volume.copy()
    for _ in range(steps):
        differences = [np.diff(made, axis=axis) for axis in range(3)]
        count = sum(one.size for one in differences)
        mean = sum(float((one.astype(np.float64) ** 2).sum()) for one in differences) / count
        if mean == 0:
            break  # nothing is left to flow
        scale = np.float32(-1 / (2 * conductance**2 * mean))
        for axis, one in enumerate(differences):
            flow = np.float32(1 / 16) * one * np.exp(scale * one**2)
            made[_but(axis, last=True)] += flow
            made[_but(axis, last=False)] -= flow
    return made


def tubes_3d(volume: Volume, sigma: float) -> Volume:
    """How much each voxel is inside of a bright tube of width `sigma`, from 0 to 1.

    The measure of Jerman et al. 2016 with tau = 1: of the eigenvalues of the Hessian, the two that
    bend across a bright tube are negative and the third is the smallest in size; with b the weaker
    of the two and m the strongest of the volume, 27 b² (m - b) / (b + m)³, and 1 from b = m / 2.
    """
    xx, yy, zz, xy, xz, yz = _hessian(volume, sigma)
    middle = np.empty_like(volume)
    along = np.empty_like(volume)
    strongest = 0.0
    planes = max(1, AT_ONCE // volume[0].size)
    for start in range(0, len(volume), planes):
        part = slice(start, start + planes)
        small, mid, large = _eigenvalues(*(one[part] for one in (xx, yy, zz, xy, xz, yz)))
        middle[part], along[part] = -mid, large
        strongest = max(strongest, float(-small.min()))
    return _jerman(np.where(along > middle, np.float32(0), middle), strongest)


def tubes_2d(volume: Volume, sigma: float) -> Volume:
    """The same for lines in each plane: b is what bends across the line.

    m is the strongest of the volume and not of the plane: a plane without a line has none.
    """
    yy, xx, xy = (
        np.float32(sigma**2) * ndimage.gaussian_filter(volume, (0, sigma, sigma), order)
        for order in ((0, 2, 0), (0, 0, 2), (0, 1, 1))
    )
    middle, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    across = spread - middle  # the lower eigenvalue, and its sign is turned
    along = spread + middle
    across = np.where(along > across, np.float32(0), across)
    return _jerman(across, float(across.max(initial=0)))


def dots_3d(volume: Volume, sigma: float) -> Volume:
    """The Laplacian of a Gaussian of width `sigma`: above 0 where a bright dot of it is."""
    made: np.ndarray = np.float32(-(sigma**2)) * ndimage.gaussian_laplace(volume, sigma)
    return made


def dots_2d(volume: Volume, sigma: float) -> Volume:
    """The same in each plane."""
    sigmas = (0, sigma, sigma)
    second = [ndimage.gaussian_filter(volume, sigmas, order) for order in ((0, 2, 0), (0, 0, 2))]
    made: np.ndarray = np.float32(-(sigma**2)) * (second[0] + second[1])
    return made


def without_small(mask: Bool[np.ndarray, "z y x"], smallest: int) -> Bool[np.ndarray, "z y x"]:
    """Only the pieces, joined over faces, that have `smallest` voxels or more."""
    labels, _ = ndimage.label(mask)
    large = np.bincount(labels.ravel()) >= smallest
    large[0] = False
    kept: np.ndarray = large[labels]
    return kept


def filled(mask: Bool[np.ndarray, "z y x"], largest: int) -> Bool[np.ndarray, "z y x"]:
    """Holes of at most `largest` pixels are filled, plane by plane; what touches a side is none."""
    made = mask.copy()
    for plane in made:
        labels, _ = ndimage.label(~plane)
        small = np.bincount(labels.ravel()) <= largest
        small[0] = False
        for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            small[side] = False
        plane |= small[labels]
    return made


def _hessian(volume: Volume, sigma: float) -> list[Volume]:
    """Second derivatives at a scale, times its square: xx, yy, zz, xy, xz, yz."""
    orders = ((0, 0, 2), (0, 2, 0), (2, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0))
    scale = np.float32(sigma**2)
    return [scale * ndimage.gaussian_filter(volume, sigma, order) for order in orders]


def _eigenvalues(
    xx: Volume, yy: Volume, zz: Volume, xy: Volume, xz: Volume, yz: Volume
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those of symmetric 3 x 3 matrices, rising, in closed form (Smith 1961)."""
    a, b, c, d, e, f = (one.astype(np.float64) for one in (xx, yy, zz, xy, xz, yz))
    mean = (a + b + c) / 3
    a, b, c = a - mean, b - mean, c - mean
    size = np.sqrt((a**2 + b**2 + c**2 + 2 * (d**2 + e**2 + f**2)) / 6)
    half = a * (b * c - f**2) - d * (d * c - f * e) + e * (d * f - b * e)
    cube = np.where(size > 0, 2 * size**3, 1)  # where it is 0, all three are the mean
    angle = np.arccos(np.clip(half / cube, -1, 1)) / 3
    large = mean + 2 * size * np.cos(angle)
    small = mean + 2 * size * np.cos(angle + 2 * np.pi / 3)
    return small, 3 * mean - small - large, large


def _jerman(across: Volume, strongest: float) -> Volume:
    """27 b² (m - b) / (b + m)³, 1 from b = m / 2, and 0 where nothing bends."""
    if strongest <= 0:
        return np.zeros_like(across)
    share = np.clip(across / np.float32(strongest), 0, 1)
    made = 27 * share**2 * (1 - share) / (1 + share) ** 3
    return np.where(share >= 0.5, np.float32(1), made)


def _but(axis: int, *, last: bool) -> tuple[slice, ...]:
    """All along an axis but the last one, or the first."""
    kept = slice(None, -1) if last else slice(1, None)
    return tuple(kept if place == axis else slice(None) for place in range(3))
