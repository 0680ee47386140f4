"""What the rest of this package asks of a data set."""

from typing import Protocol, runtime_checkable

from attributome.core.records import Sample


@runtime_checkable  # so that beartype can check it, and without reading a sample
class Samples(Protocol):
    """Samples by number: a `Manifest`, `planted` data, or a list. An item may be read anew."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...
