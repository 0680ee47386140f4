"""The learned mask beside other methods and controls, all of which may leave the same share.

Each map is ranked within its whole field and thresholded at the same noised volumes; then all see
the same noise. So no method gains or loses by its scale, by its windows or by a luckier draw.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attributome.core.errors import DataError, UsageError
from attributome.explain import CONTROLS, HALF, METHODS, method, need, parameters
from attributome.pipeline.checking import LEARNED, SUPPLIED
from attributome.pipeline.looking import as_ranking, explainer_over
from attributome.pipeline.methods import Backgrounds, explained_target, explainer_for
from attributome.pipeline.study.comparing import SHOWN, compared
from attributome.pipeline.study.looked import Hand
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies, marked
from attributome.studies.found import POOLED, Found
from attributome.studies.methods import field_ranks, thresholds_for

STAGE = "methods"
NOTHING_KNOWN = ("random", "intensity", "edges")
"""Controls: what a method does not beat, it need not have asked the predictor for."""
SIDE = 256  # pixels of the middle of a field that is shown


def methods(studies: Studies) -> Found:
    """Efficacy of the learned mask, of every method of the job and of controls, at equal volume.

    Raises `UsageError` where a predictor does not allow a method, or the volumes make no axis.
    """
    asked = studies.job.methods
    _check(studies)
    names = [LEARNED, *asked.methods, *(one for one in NOTHING_KNOWN if one not in asked.methods)]
    options = {"methods": asked.methods, "volumes": list(asked.volumes), "names": names}
    backgrounds = {one.root: Backgrounds(one.work) for one in studies.opened}
    shown = {name: studies.fields(name)[0] for name in studies.names}

    def ask(one: Opened, field: str) -> Rows:
        hand = Hand(one=one, name=field)
        keep = shown[one.name] == (one, field)
        ends = {
            0.0: hand.efficacy(hand.prediction),
            1.0: hand.efficacy(hand.noised(torch.zeros_like(hand.x[:, :1]))),
        }
        ranks, rows = {}, []
        for name, importance in maps_of(hand, names, asked.methods, backgrounds[one.root]):
            rows += curve_of(hand, name, importance, asked.volumes, ends)
            if keep:
                ranks[name] = middle(field_ranks(importance))
        if keep:
            _write_shown(studies, options, hand, ranks)
        return rows

    table = measured(studies, STAGE, ask, options=options)
    return compared(studies, table, options)


def maps_of(
    hand: Hand,
    names: list[str],
    params: Mapping[str, Mapping[str, Any]],
    backgrounds: Backgrounds,
) -> Iterator[tuple[str, np.ndarray]]:
    """The importance of each voxel of a field `(*s)` to each method, one after the other.

    Methods run in windows where the field is larger than the device; controls, which know nothing
    of the predictor, see the field as a whole.
    """
    one, field = hand.one, hand.given
    target = explained_target(one.work, one.study, field, hand.prediction)
    for name in names:
        if name == LEARNED:
            yield name, _plain(hand.maps, hand, name)
            continue
        given = dict(params.get(name, {}))
        explainer = explainer_for(one.work, one.study, backgrounds, name, given, field)
        if name in CONTROLS:
            maps = explainer(hand.f, hand.x, target)
        else:
            half = name in HALF
            over = explainer_over(one.work, one.study, field, explainer, target, half=half)
            maps = over(hand.x)
        yield name, _plain(as_ranking(maps), hand, name)


def curve_of(
    hand: Hand,
    name: str,
    importance: np.ndarray,
    volumes: tuple[float, ...],
    ends: Mapping[float, float],
) -> Rows:
    """A row for each noised volume that a map can reach, from nothing to everything noised.

    `wanted` is the volume asked for and `volume` the one reached, to which the efficacy belongs.
    Voxels of equal importance stay together, so that a map with ties reaches fewer. `ends` holds
    the efficacy at the volumes 0 and 1, where all methods are one.
    """
    asked = [0.0, *volumes, 1.0]
    rows: Rows = []
    for wanted, mask in zip(asked, thresholds_for(importance, asked), strict=True):
        volume = 1 - float(mask.mean())
        if rows and rows[-1]["volume"] == volume:
            continue
        score = ends.get(volume)
        if score is None:
            kept = torch.from_numpy(mask)[None, None].to(hand.x)
            score = hand.efficacy(hand.noised(kept))
        rows.append({"method": name, "wanted": wanted, "volume": volume, "efficacy": score})
    return rows


def _check(studies: Studies) -> None:
    """Say before anything is measured what cannot be compared, and why."""
    asked = studies.job.methods
    volumes = asked.volumes
    inside = all(0 < volume < 1 for volume in volumes)
    if len(volumes) < 2 or not inside or any(a >= b for a, b in pairwise(volumes)):
        raise UsageError(
            f"methods.volumes is {list(volumes)}: give two or more between 0 and 1, rising"
        )
    if POOLED in studies.names:
        raise UsageError(f"a predictor is named {POOLED!r}, which is what all together are called")
    if not asked.methods:
        raise UsageError(f"methods.methods is empty: name what to compare the {LEARNED} with")
    for name, params in asked.methods.items():
        if name == LEARNED:
            raise UsageError(f"methods.methods names {LEARNED}, which is always compared")
        supplied = {key: None for key in SUPPLIED if name in METHODS and key in parameters(name)}
        method(name, **(supplied | params))
        for one in studies.opened:
            if (reason := one.study.inspection.possible.get(need(name))) is not None:
                raise UsageError(f"{name} cannot explain the predictor of {one.root}: {reason}")


def _plain(maps: Tensor, hand: Hand, name: str) -> np.ndarray:
    """`(1, 1, *s)` as `(*s)`, all of it finite."""
    found: np.ndarray = maps[0, 0].numpy()
    if not np.isfinite(found).all():
        raise DataError(f"{name} gave numbers that are not finite for field {hand.name!r}")
    return found


def middle(field: np.ndarray) -> np.ndarray:
    """The middle of a plane, or of the middle plane of a stack: values of 0 to 1 as 0 to 255."""
    plane = field[len(field) // 2] if field.ndim == 3 else field
    cut = tuple(
        slice((size - min(size, SIDE)) // 2, (size + min(size, SIDE)) // 2) for size in plane.shape
    )
    found: np.ndarray = (plane[cut] * 256).clip(0, 255).astype(np.uint8)
    return found


def _write_shown(
    studies: Studies, options: Mapping[str, Any], hand: Hand, ranks: Mapping[str, np.ndarray]
) -> None:
    """What a figure needs of one field of a predictor: the maps themselves are not kept."""
    image = hand.prediction.ndim == hand.x.ndim
    arrays = {"ranks": np.stack([*ranks.values()]), "input": _grey(hand.x)}
    arrays |= {"prediction": _grey(hand.prediction)} if image else {}
    size = hand.given.sample.pixel_size
    studies.run.write(
        marked(SHOWN, options),
        hand.one.name,
        arrays=arrays,
        note={
            "predictor": hand.one.name,
            "field": hand.name,
            "methods": [*ranks],
            "pixel_size": list(size) if size else None,
        },
    )


def _grey(images: Tensor) -> np.ndarray:
    """The middle of the first channel, between its percentiles 1 and 99, as 0 to 255."""
    whole = images[0, 0].float().numpy()
    low, high = np.percentile(whole, [1, 99])
    scaled = (whole - low) / max(float(high - low), 1e-12)
    return middle(np.clip(scaled, 0, 1))
