"""Sphering: profiles in which negative controls have no direction that matters more than another.

What varies among controls is not biology. A transform that makes their covariance the identity
shrinks those directions and leaves the rest; it is fitted on negative controls of the training side
only, which the caller names, and keeps which wells they were.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped

from attributome.core.errors import DataError, UsageError
from attributome.core.files import make_folder, read_json, write_json, write_whole

Profiles = Float[np.ndarray, "n d"]

METHODS = ("ZCA", "PCA", "ZCA-cor", "PCA-cor")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sphering:
    """z = (x − mean) @ matrix, and how it came about.

    `method` is one of Kessy et al. (2018). `regularisation` is how `lam`, the number added to every
    eigenvalue of the covariance, was chosen; `shrinkage` is what the covariance was multiplied by
    before (1 but for Ledoit–Wolf and OAS). `n` controls with `rank` directions of variance were
    used, by the name `wells` where names were given; `ddof` is 0 for a covariance of 1 / n and 1
    for 1 / (n − 1). `smallest` and `largest` are the ends of the eigenvalues before λ.
    """

    mean: Float64[np.ndarray, " d"]
    matrix: Float64[np.ndarray, "d d"]
    method: str
    regularisation: str
    lam: float
    shrinkage: float
    n: int
    rank: int
    ddof: int
    smallest: float
    largest: float
    wells: tuple[str, ...]


def fit_sphering(
    controls: Profiles,
    *,
    lam: float | str = "relative",
    relative: float = 0.01,
    method: str = "ZCA",
    ddof: Literal[0, 1] = 0,
    wells: Sequence[str] | Shaped[np.ndarray, " w"] = (),
) -> Sphering:
    """Fit on profiles of negative controls: rows of training wells, each counted once.

    With C = V diag(s) Vᵀ their covariance, ZCA is V diag(1 / √(s + λ)) Vᵀ and PCA leaves out the
    last Vᵀ, with the direction of most variance first; the sign of each column of V makes its
    largest entry positive. `-cor` does so with the correlation matrix, after dividing by standard
    deviations. λ is `lam` itself, or `relative` times the mean eigenvalue, or what Ledoit and Wolf
    (2004) or the oracle approximating shrinkage (Chen et al. 2010) find: (1 − a) C + a · mean
    eigenvalue. λ = 0 makes the covariance of these controls the identity, and is refused where
    they do not span all features: it would make noise out of nothing.
    """
    if method not in METHODS:
        raise UsageError(f"no method {method!r}; there are {', '.join(METHODS)}")
    _check(controls, wells)
    mean = controls.mean(0, dtype=np.float64)
    centred = controls - mean
    scale = np.ones(len(mean))
    if method.endswith("-cor"):
        scale = np.sqrt((centred**2).sum(0) / (len(centred) - ddof))
        constant = controls.max(0) == controls.min(0)
        if constant.any():
            raise DataError(f"{constant.sum()} features are constant over controls; drop them")
        centred = centred / scale
    s, v, rank = _axes(centred / np.sqrt(len(centred) - ddof))
    shrinkage, added = _regularised(centred, s, lam, relative)
    if added == 0 and rank < len(s):
        raise UsageError(
            f"λ = 0 with {len(controls)} controls that span {rank} of {len(s)} features; give "
            f"lam='relative' or 'ledoit_wolf', or fewer features"
        )
    matrix = v / np.sqrt(shrinkage * s + added)
    if method.startswith("ZCA"):
        matrix = matrix @ v.T
    return Sphering(
        mean=mean,
        matrix=matrix / scale[:, None],
        method=method,
        regularisation=f"relative {relative}" if lam == "relative" else str(lam),
        lam=added,
        shrinkage=shrinkage,
        n=len(controls),
        rank=rank,
        ddof=ddof,
        smallest=float(s[-1]),
        largest=float(s[0]),
        wells=tuple(map(str, wells)),
    )


def sphere(fitted: Sphering, profiles: Profiles) -> Float64[np.ndarray, "n d"]:
    """Profiles through a sphering: also those it was not fitted on."""
    if profiles.shape[1] != len(fitted.mean):
        raise DataError(
            f"profiles of {profiles.shape[1]} features came to a sphering of {len(fitted.mean)}"
        )
    if not np.isfinite(profiles).all():
        raise DataError("undefined features would spread to all others: drop them before")
    sphered: np.ndarray = (profiles - fitted.mean) @ fitted.matrix
    return sphered


def align_plates(
    profiles: Profiles,
    plates: Shaped[np.ndarray, " p"],
    controls: Bool[np.ndarray, " c"],
    *,
    least: int = 2,
) -> Float64[np.ndarray, "n d"]:
    """Give the controls of every plate the covariance of all: typical variation normalisation.

    For sphered profiles z, per plate b: z (C_b + I)^(−1/2) (C + I)^(1/2), where C_b is the second
    moment, about 0, of the plate's controls and C that of all (Ando et al. 2017). `controls` marks
    the rows that are negative controls of the training side; a plate with fewer than `least` is
    refused. Rows stay in place.
    """
    if len(plates) != len(profiles) or len(controls) != len(profiles):
        raise DataError(
            f"{len(profiles)} profiles came with {len(plates)} plates and {len(controls)} marks"
        )
    if not np.isfinite(profiles).all():
        raise DataError("undefined features would spread to all others: drop them before")
    chosen = controls
    names = np.unique(plates)
    poor = [name for name in names if (chosen & (plates == name)).sum() < least]
    if poor:
        raise DataError(
            f"{len(poor)} of {len(names)} plates have fewer than {least} controls, such as "
            f"{str(poor[0])!r}: leave them out, and report how many"
        )
    whole = _power(_moment(profiles[chosen]), 0.5)
    aligned = np.empty(profiles.shape)
    for name in names:
        here = plates == name
        turn = _power(_moment(profiles[chosen & here]), -0.5) @ whole
        aligned[here] = profiles[here] @ turn
    return aligned


def save_sphering(fitted: Sphering, folder: Path) -> None:
    """Write `sphering.json`, `mean.npy` and `matrix.npy`."""
    make_folder(folder)
    for name in ("mean", "matrix"):
        array = getattr(fitted, name)
        write_whole(folder / f"{name}.npy", _saver(array))
    told = {k: v for k, v in asdict(fitted).items() if k not in ("mean", "matrix")}
    write_json(folder / "sphering.json", told)


def load_sphering(folder: Path) -> Sphering:
    """Read what `save_sphering` wrote."""
    told = read_json(folder / "sphering.json")
    arrays = {}
    for name in ("mean", "matrix"):
        try:
            arrays[name] = np.load(folder / f"{name}.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {folder / name}.npy: {error}") from error
    size = arrays["mean"].shape
    if len(size) != 1 or arrays["matrix"].shape != size * 2:
        raise DataError(f"{folder} holds a mean of {size} and a matrix {arrays['matrix'].shape}")
    try:
        return Sphering(**arrays, **{**told, "wells": tuple(told["wells"])})
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / 'sphering.json'} is no sphering: {error}") from error


def _axes(centred: Profiles) -> tuple[np.ndarray, np.ndarray, int]:
    """Eigenvalues of the covariance, falling, their vectors as columns, and how many are not 0.

    From singular values: those of the covariance lose half of their digits.
    """
    n, d = centred.shape
    _, values, rows = np.linalg.svd(centred, full_matrices=n < d)
    rank = int((values > values[0] * max(n, d) * np.finfo(np.float64).eps).sum())
    s = np.zeros(d)
    s[:rank] = values[:rank] ** 2
    signs = np.sign(rows[np.arange(d), np.abs(rows).argmax(1)])
    return s, (rows * signs[:, None]).T, rank


def _regularised(
    centred: np.ndarray, s: np.ndarray, lam: float | str, relative: float
) -> tuple[float, float]:
    """What eigenvalues are multiplied by, and what is added to them."""
    if lam == "relative":
        if not relative > 0:
            raise UsageError(f"relative = {relative}; give a share of the mean eigenvalue above 0")
        return 1.0, float(relative * s.mean())
    if lam in ("ledoit_wolf", "oas"):
        from sklearn.covariance import ledoit_wolf_shrinkage, oas

        found = (
            ledoit_wolf_shrinkage(centred, assume_centered=True)
            if lam == "ledoit_wolf"
            else oas(centred, assume_centered=True)[1]
        )
        return 1.0 - float(found), float(found * s.mean())
    if isinstance(lam, str) or not 0 <= lam < np.inf:
        raise UsageError(f"λ = {lam!r}; give 0 or more, 'relative', 'ledoit_wolf' or 'oas'")
    return 1.0, float(lam)


def _moment(z: np.ndarray) -> np.ndarray:
    moment: np.ndarray = z.T @ z / len(z)
    return moment


def _power(moment: np.ndarray, power: float) -> np.ndarray:
    """(moment + I) to a power."""
    s, v = np.linalg.eigh(moment + np.eye(len(moment)))
    raised: np.ndarray = (v * s**power) @ v.T
    return raised


def _saver(array: np.ndarray) -> Callable[[Path], None]:
    return lambda part: np.save(part, array, allow_pickle=False)


def _check(controls: np.ndarray, wells: Sequence[str] | np.ndarray) -> None:
    if len(controls) < 2 or controls.shape[1] < 1:
        raise DataError(f"{controls.shape} controls × features; at least two controls are needed")
    if not np.isfinite(controls).all():
        raise DataError(
            f"{(~np.isfinite(controls).all(1)).sum()} of {len(controls)} controls have undefined "
            f"features: drop those features or those wells before"
        )
    if (controls == controls[0]).all():
        raise DataError(f"{len(controls)} controls are all the same: they have no covariance")
    if len(wells) not in (0, len(controls)):
        raise DataError(f"{len(controls)} controls came with {len(wells)} names of wells")
    if len({*map(str, wells)}) < len(wells):
        raise DataError("a well is named twice among the controls; each counts once")
