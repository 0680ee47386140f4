"""What enters and what leaves: NumPy in host memory, so that a run can be read without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Integer

from attributome.core.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """One image and what is known about it.

    `image` is `(c, *s)` in the file's own units, `target` an image `(k, *s)` or one number,
    `regions` a label image (0 is background), `pixel_size` micrometres per pixel along each
    spatial axis where the file says so; it is never guessed.
    """

    id: str
    image: Float[np.ndarray, "c *s"]
    channels: tuple[str, ...]
    target: Float[np.ndarray, "k *s"] | float | None = None
    target_channels: tuple[str, ...] = ()
    regions: Integer[np.ndarray, "*s"] | None = None
    pixel_size: tuple[float, ...] | None = None
    meta: Mapping[str, str | float | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.channels) != self.image.shape[0]:
            raise DataError(
                f"sample {self.id!r} names {len(self.channels)} channels {self.channels} but its "
                f"image has {self.image.shape[0]} (shape {self.image.shape})"
            )
        for name, array in (("target", self.target), ("regions", self.regions)):
            if isinstance(array, np.ndarray) and array.shape[-len(self.space) :] != self.space:
                raise DataError(
                    f"the {name} of sample {self.id!r} has shape {array.shape}, which is not "
                    f"registered to its image of shape {self.image.shape}: the spatial sizes must "
                    f"be equal"
                )

    @property
    def space(self) -> tuple[int, ...]:
        """Spatial shape, `(y, x)` or `(z, y, x)`."""
        return self.image.shape[1:]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """One importance map with enough provenance to make it again."""

    sample_id: str
    method: str
    params: Mapping[str, object]
    target: str
    map: Float[np.ndarray, "k *s"]
