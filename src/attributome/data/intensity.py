"""Normalisation that is recorded, so that it can be applied again and undone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Float32

from attributome.core.errors import DataError, UsageError

Kind = Literal["zscore", "percentile", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Per channel, `(image - center) / scale`."""

    kind: Kind
    center: tuple[float, ...]
    scale: tuple[float, ...]

    def apply(self, image: Float[np.ndarray, "c *s"]) -> Float32[np.ndarray, "c *s"]:
        """The file's units to normalised ones."""
        center, scale = self._columns(image)
        return np.asarray((image - center) / scale, np.float32)

    def invert(self, image: Float[np.ndarray, "c *s"]) -> Float32[np.ndarray, "c *s"]:
        """Normalised units back to the file's."""
        center, scale = self._columns(image)
        return np.asarray(image * scale + center, np.float32)

    def _columns(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(image) != len(self.center):
            raise DataError(
                f"this scaling was measured on {len(self.center)} channels and the image has "
                f"{len(image)} (shape {image.shape})"
            )
        shape = (-1, *[1] * (image.ndim - 1))
        return np.reshape(self.center, shape), np.reshape(self.scale, shape)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> "Scaling":
        """From JSON; refused unless it is what `to_dict` wrote."""
        try:
            kind, center, scale = said["kind"], tuple(said["center"]), tuple(said["scale"])
        except (KeyError, TypeError) as error:
            raise DataError(f"a scaling needs kind, center and scale, not {said!r}") from error
        _check_kind(kind)
        if len(center) != len(scale) or not all(scale):
            raise DataError(f"a scaling needs one center and one scale per channel, not {said!r}")
        return cls(kind=kind, center=center, scale=scale)


def measure(
    image: Float[np.ndarray, "c *s"],
    kind: Kind,
    *,
    low: float = 0.1,
    high: float = 99.9,
    where: str = "the image",
) -> Scaling:
    """How to normalise an image, from the image itself; a constant channel is refused.

    `zscore` uses the population standard deviation, `percentile` maps the percentiles `low` and
    `high` to 0 and 1, both over the whole field or stack in float64.
    """
    _check_kind(kind)
    if not 0 <= low < high <= 100:
        raise UsageError(f"percentiles {low} and {high} are not 0 <= low < high <= 100")
    pairs = [_pair(c.astype(np.float64), kind, low, high) for c in image]
    for number, (channel, (_, spread)) in enumerate(zip(image, pairs, strict=True)):
        if spread == 0 or channel.min() == channel.max():
            flat = channel.min() == channel.max()
            between = "" if flat else f" between its percentiles {low} and {high}"
            raise DataError(
                f"channel {number} of {where} is constant{between} (value {channel.flat[0]:g}): "
                f"there is nothing in it to normalise or to explain"
            )
    return Scaling(kind=kind, center=tuple(c for c, _ in pairs), scale=tuple(s for _, s in pairs))


def _pair(values: np.ndarray, kind: Kind, low: float, high: float) -> tuple[float, float]:
    if kind == "zscore":
        return float(values.mean()), float(values.std())
    if kind == "percentile":
        bottom, top = np.percentile(values, [low, high])
        return float(bottom), float(top - bottom)
    return 0.0, 1.0


def _check_kind(kind: str) -> None:
    if kind not in get_args(Kind):
        raise UsageError(f"no normalisation {kind!r}: there are {', '.join(get_args(Kind))}")
