"""How much two channels show the same: Pearson correlation over pixels, averaged over images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer, Shaped

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng

PERFECT = np.nextafter(1.0, 0.0)
"""A correlation of 1 has an infinite z; this is the largest below it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelCorrelation:
    """Correlations of channels: the mean of Fisher's z over images, as a correlation.

    `low` and `high` draw fields again, with their images (NaN below three fields that count). `n`
    is how many images count for a pair, and `undefined` in how many one of both channels was
    constant. All are channels × channels; on the diagonal is 1 wherever a channel varies at all.
    """

    channels: tuple[str, ...]
    mean: Float[np.ndarray, "c c"]
    low: Float[np.ndarray, "c c"]
    high: Float[np.ndarray, "c c"]
    n: Integer[np.ndarray, "c c"]
    undefined: Integer[np.ndarray, "c c"]
    fields: int

    def table(self) -> pd.DataFrame:
        """A row for each pair of channels."""
        first, second = np.triu_indices(len(self.channels), 1)
        told = {
            "first": [self.channels[i] for i in first],
            "second": [self.channels[i] for i in second],
        }
        for name in ("mean", "low", "high", "n", "undefined"):
            told[name] = getattr(self, name)[first, second]
        return pd.DataFrame(told).assign(fields=self.fields)


def correlate_channels(
    image: Float[np.ndarray, "c *s"], mask: Bool[np.ndarray, "*s"] | None = None
) -> Float[np.ndarray, "c c"]:
    """Pearson r of each pair of channels over all pixels of an image, or over those in a mask.

    NaN (undefined, to be counted and not averaged) for a channel that is constant there, and for
    all where fewer than two pixels are left.
    """
    pixels = image.reshape(len(image), -1).astype(np.float64)
    if mask is not None:
        pixels = pixels[:, mask.ravel()]
    if not np.isfinite(pixels).all():
        raise DataError(f"{(~np.isfinite(pixels)).sum()} pixels are undefined; leave the image out")
    if pixels.shape[1] < 2:
        return np.full((len(image),) * 2, np.nan)
    varies = pixels.max(1) > pixels.min(1)
    pixels -= pixels.mean(1, keepdims=True)
    lengths = np.where(varies, np.linalg.norm(pixels, axis=1), np.nan)
    r: np.ndarray = np.clip((pixels @ pixels.T) / np.outer(lengths, lengths), -1.0, 1.0)
    np.fill_diagonal(r, np.where(varies, 1.0, np.nan))
    return r


def mean_correlation(
    correlations: Float[np.ndarray, "n c c"],
    channels: Sequence[str],
    *,
    fields: Shaped[np.ndarray, " m"] | None = None,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> ChannelCorrelation:
    """Average the correlations of images; `fields` names that of each, else every image is one.

    The mean is tanh of the mean of arctanh r (Fisher 1915), over the images where it is defined.
    """
    if not 0 < confidence < 1 or draws < 1:
        raise UsageError(f"confidence {confidence} and {draws} draws; such as 0.95 and 1000")
    count = correlations.shape[1]
    if not len(correlations) or len(channels) != count:
        raise DataError(
            f"{len(correlations)} images of {count} channels came with {len(channels)} names"
        )
    if fields is not None and len(fields) != len(correlations):
        raise DataError(f"{len(correlations)} images came with {len(fields)} fields")
    if (np.abs(correlations) > 1 + 1e-9).any():
        raise DataError("a correlation is beyond 1")
    of = np.arange(len(correlations))
    if fields is not None:
        of = np.unique(fields, return_inverse=True)[1]
    flat = correlations.reshape(len(correlations), -1)
    defined = ~np.isnan(flat)
    z = np.where(defined, np.arctanh(np.clip(np.where(defined, flat, 0), -PERFECT, PERFECT)), 0.0)
    sums, counts = np.zeros((2, int(of.max()) + 1, count * count))
    np.add.at(sums, of, z)
    np.add.at(counts, of, defined)
    mean = _mean(sums.sum(0), counts.sum(0))
    low = high = np.full(count * count, np.nan)
    if len(counts) >= 3:
        draw = rng(seed, "bootstrap of channels")
        weights = draw.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=draws)
        again = _mean(weights @ sums, weights @ counts)
        enough = (counts > 0).sum(0) >= 3  # else drawing again says nothing
        low, high = np.full((2, count * count), np.nan)
        tail = (1 - confidence) / 2
        if enough.any():
            low[enough], high[enough] = np.nanquantile(again[:, enough], [tail, 1 - tail], axis=0)
    square = (count, count)
    own = np.eye(count, dtype=bool).ravel() & (counts.sum(0) > 0)
    for values in (mean, low, high):
        values[own & ~np.isnan(values)] = 1.0
    return ChannelCorrelation(
        channels=tuple(channels),
        mean=mean.reshape(square),
        low=low.reshape(square),
        high=high.reshape(square),
        n=defined.sum(0).reshape(square),
        undefined=(~defined).sum(0).reshape(square),
        fields=len(counts),
    )


def _mean(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    mean = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    values: np.ndarray = np.tanh(mean)
    return values
