"""What is known about a predictor besides its weights: `predictor.json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from attributome.core.errors import DataError
from attributome.core.files import read_json, write_json

Task = Literal["image", "regression", "classification"]
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """How to build a predictor and what to feed it.

    `task`, `dims`, `inputs` and `outputs` are empty where nobody said: a program from elsewhere
    brings no card. `input_scaling` is what images are normalised by, where it is that of the
    training images ("training"); `target_scaling` turns outputs back into the units of the target.
    """

    factory: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    task: Task | None = None
    dims: Literal[2, 3] | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    normalise: Literal["zscore", "percentile", "none", "training"] = "none"
    input_scaling: Mapping[str, Any] | None = None
    target_scaling: Mapping[str, Any] | None = None
    pixel_size: tuple[float, ...] | None = None
    weights_sha256: str = ""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)


def write_card(path: Path, card: Card) -> None:
    """Write the card as JSON."""
    write_json(path, {"format": FORMAT, **asdict(card)})


def read_card(path: Path) -> Card:
    """Read a card, or say which of its keys is wrong."""
    values = read_json(path)
    version = values.pop("format", None)
    if version != FORMAT:
        raise DataError(f"{path} has format {version!r}; this attributome reads format {FORMAT}")
    try:
        return TypeAdapter(Card).validate_json(json.dumps(values))  # whose lists are tuples
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: key {key!r}: {first['msg']}") from error
