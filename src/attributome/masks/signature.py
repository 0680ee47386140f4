"""From importance to the binary signature: what is kept."""

from typing import Literal

from attributome.core.arrays import above, top_share
from attributome.core.types import Masks

Per = Literal["field", "data"]


def signature(maps: Masks, threshold: float, *, per: Per = "field") -> Masks:
    """Keep what ranks above `threshold`, as a 0/1 mask.

    `per` "field" ranks among the pixels of the same field, so 0.9 keeps its top tenth and every
    mask has the same size; "data" takes the map as it is, ranked among the fields that the
    generator has settled on, so a field with more evidence keeps more.
    """
    return top_share(maps, 1 - threshold) if per == "field" else above(maps, threshold)
