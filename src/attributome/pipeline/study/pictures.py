"""Fields as small grey pictures: what is seen, what is said of it, and what the signature leaves.

Contrast is cut at the 0.1 and 99.9 percentiles of the whole field: truth, prediction and the
prediction from the signature share one range, and so do the input and what is left of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from attributome.core.arrays import mix
from attributome.pipeline.looking import fill_of
from attributome.pipeline.study.looked import Hand, Looked
from attributome.pipeline.study.opening import Opened

MOST = 512
"""Pixels of a side."""
CUT = (0.1, 99.9)
"""Percentiles that become black and white."""
SECTIONS = ("xy", "xz", "yz")

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One plane of a field: across which axis, and where; a flat field has no axis."""

    view: str
    axis: int | None = None
    at: int = 0

    def of(self, values: np.ndarray) -> np.ndarray:
        """The plane of `(*s)`, as `(h, w)`."""
        return values if self.axis is None else np.take(values, self.at, axis=self.axis)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ready:
    """A field to be drawn: grey images `(*s)` by kind, and the range of each; `mask` is 0 or 1."""

    images: dict[str, np.ndarray]
    ranges: dict[str, Range]
    mask: np.ndarray
    about: dict[str, Any]
    pixel: tuple[float, ...] | None


def middle_plane(space: tuple[int, ...]) -> Plane:
    """The only plane of a flat field, or the middle one of a deep one."""
    return planes(space, 1)[0]


def planes(space: tuple[int, ...], count: int) -> list[Plane]:
    """Planes at even distances, from top to bottom and never the same twice."""
    if len(space) == 2:
        return [Plane(view="xy")]
    places = (np.arange(count) + 0.5) * space[0] / count
    return [Plane(view="xy", axis=0, at=int(z)) for z in dict.fromkeys(places.astype(int))]


def sections(space: tuple[int, ...]) -> list[Plane]:
    """The three middle sections of a deep field; a flat one has none."""
    if len(space) == 2:
        return []
    return [Plane(view=view, axis=axis, at=space[axis] // 2) for axis, view in enumerate(SECTIONS)]


def ready(one: Opened, field: str, seen: Looked) -> Ready:
    """What is drawn of a field, with its ranges; predictions only where they are images.

    Of several input channels the middle one is shown, such as the plane in focus of three; of
    several outputs the first.
    """
    channel = (len(seen.x) - 1) // 2
    hand = Hand(one=one, name=field)
    mask = np.asarray(seen.mask)
    left = mix(hand.x, hand.x.new_tensor(mask[None]), fill_of(hand.given, one.goal))
    images = {"input": np.asarray(seen.x[channel]), "left": left[0, channel].numpy()}
    ranges = dict.fromkeys(images, _range([images["input"]]))
    note, names = seen.note, list(seen.note["channels"])
    about = {
        "channel": str(names[channel]) if len(names) > channel else "",
        "stain": str((list(note["target_channels"]) or [""])[0]),
        "pcc": float("nan") if note["pcc"] is None else float(note["pcc"]),
        "efficacy": float(note["efficacy"]),
        "size": float(note["size"]),
    }
    if seen.prediction.ndim == seen.x.ndim:
        said = {"prediction": np.asarray(seen.prediction[0]), "noised": np.asarray(seen.noised[0])}
        if seen.truth is not None:
            said["truth"] = np.asarray(seen.truth[0])
        both = _range([said[key] for key in ("truth", "prediction") if key in said])
        images |= said
        ranges |= dict.fromkeys(said, both)
    pixel = note["pixel_size"]
    return Ready(
        images=images,
        ranges=ranges,
        mask=mask[0],
        about=about,
        pixel=None if pixel is None else tuple(float(each) for each in pixel),
    )


def drawn(field: Ready, plane: Plane) -> tuple[UInt8[np.ndarray, "kinds h w"], dict[str, Any]]:
    """The pictures of one plane, and a row about them.

    `kinds` names them in their order; the last is the signature, as the share of each pixel that
    is kept. `pixel_y` and `pixel_x` are micrometres of a pixel of the picture (NaN: unknown), and
    `step_y` and `step_x` how many pixels of the field it stands for.
    """
    steps = [-(-side // MOST) for side in plane.of(field.mask).shape]
    shown = [
        _grey(_shrunk(plane.of(image), steps), field.ranges[kind])
        for kind, image in field.images.items()
    ]
    shown.append(_grey(_shrunk(plane.of(field.mask), steps), (0.0, 1.0)))
    axes = [axis for axis in range(field.mask.ndim) if axis != plane.axis]
    pixel = field.pixel or (float("nan"),) * field.mask.ndim
    row = field.about | {
        "kinds": " ".join([*field.images, "signature"]),
        "view": plane.view,
        "plane": plane.at,
        "planes": 1 if plane.axis is None else field.mask.shape[plane.axis],
        "step_y": steps[0],
        "step_x": steps[1],
        "pixel_y": pixel[axes[0]] * steps[0],
        "pixel_x": pixel[axes[1]] * steps[1],
    }
    return np.stack(shown), row


def _range(images: list[np.ndarray]) -> Range:
    low, high = np.percentile(np.concatenate([each.ravel() for each in images]), CUT)
    return float(low), float(high)


def _shrunk(plane: np.ndarray, steps: list[int]) -> Float[np.ndarray, "h w"]:
    """Means of blocks; what is over at the far border is left out."""
    high, wide = (side // step for side, step in zip(plane.shape, steps, strict=True))
    whole = plane[: high * steps[0], : wide * steps[1]].astype(np.float64)
    means: np.ndarray = whole.reshape(high, steps[0], wide, steps[1]).mean((1, 3))
    return means


def _grey(plane: np.ndarray, shown: Range) -> UInt8[np.ndarray, "h w"]:
    """From black to white over a range; a range of nothing is all black."""
    low, high = shown
    share = (plane - low) / (high - low) if high > low else np.zeros(plane.shape)
    return (share.clip(0, 1) * 255).round().astype(np.uint8)
