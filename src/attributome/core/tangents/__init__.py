"""Tangents of the functions that networks call; see `core/secants.py` for what a tangent is.

Each takes the call and its tensor arguments as pairs, in order, and returns the tangent, or None
where nothing depends on the input. A function of one number is in `core/rescale.py`. What is in
neither has none: the caller refuses it. A UsageError says what a call would have to be.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from attributome.core.rules import Call
from attributome.core.secants import Pair
from attributome.core.tangents.attention import ATTENTION
from attributome.core.tangents.maxima import MAXIMA
from attributome.core.tangents.norms import NORMS
from attributome.core.tangents.products import PRODUCTS

Tangent = Callable[[Call, Sequence[Pair]], Tensor | None]

TANGENTS: Mapping[str, Tangent] = {**PRODUCTS, **ATTENTION, **NORMS, **MAXIMA}
"""By the plain name of the function."""
