"""What happens inside a region: methods that explain its output alone, and its correlations."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from scipy import ndimage
from torch import Tensor

from attributome.core.arrays import mask_size, pearson, top_share
from attributome.core.errors import UsageError
from attributome.core.targets import Weighted
from attributome.core.windows import windowed
from attributome.explain import CONTROLS, METHODS, method, need, parameters
from attributome.pipeline.checking import SUPPLIED
from attributome.pipeline.looking import as_ranking, seen_at_once
from attributome.pipeline.methods import Backgrounds, explainer_for
from attributome.pipeline.study.drawn import drawn, options_of
from attributome.pipeline.study.looked import Hand, look
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies
from attributome.studies.regions import slice_pcc

Where = Bool[np.ndarray, "*s"]


def check_methods(studies: Studies) -> None:
    """Say before anything is measured which method cannot explain a region, and why."""
    for name, params in studies.job.regions.methods.items():
        if name in CONTROLS:
            raise UsageError(f"regions.methods names {name}, which asks nothing of the predictor")
        supplied = {key: None for key in SUPPLIED if name in METHODS and key in parameters(name)}
        method(name, **(supplied | params))
        for one in studies.opened:
            reason = one.study.inspection.possible.get(need(name))
            if one.study.inspection.output != "image":
                reason = "it does not answer with images, and a region of its output is no place"
            if reason is not None:
                raise UsageError(f"{name} cannot explain a region by {one.root}: {reason}")


def map_inside(
    hand: Hand, name: str, params: Mapping[str, Any], where: Where, backgrounds: Backgrounds
) -> Tensor:
    """Importance `(1, 1, *s)` for the sum of the outputs inside a region alone.

    In windows where the field is larger than the device: each explains what of the region it
    holds, so that a region may be larger than a window.
    """
    one, field = hand.one, hand.given
    explainer = explainer_for(one.work, one.study, backgrounds, name, dict(params), field)
    channels = hand.x.shape[1]

    def inside(both: Tensor) -> Tensor:
        x, region = both[:, :channels], both[:, channels:]
        outputs = hand.prediction.shape[1]
        weights = region.expand(len(x), outputs, *region.shape[2:])
        return as_ranking(explainer(one.study.model, x.contiguous(), Weighted(weights)))

    asked = one.work.job.explain
    over = windowed(
        inside,
        window=seen_at_once(one.work, one.study, field),
        overlap=asked.overlap,
        batch=asked.batch,
        compute=one.work.compute,
    )
    region = torch.from_numpy(np.ascontiguousarray(where))[None, None].to(hand.x)
    return over(torch.cat([hand.x, region], 1))


def explained(studies: Studies) -> pd.DataFrame:
    """Methods that explain the region beside the same ones that explain the whole output.

    `target` is "region" or "field", `inside` the share of the importance that lies in the region,
    `volume` what is noised (as much as by the signature), and `efficacy` the correlation with the
    prediction inside the region, when the method's most important voxels are kept.
    """
    asked = studies.job.regions
    backgrounds = {one.root: Backgrounds(one.work) for one in studies.opened}

    def ask(one: Opened, field: str) -> Rows:
        hand, where = Hand(one=one, name=field), np.array(drawn(studies, one, field).where)
        if not where.any():
            told = {"inside": np.nan, "volume": np.nan, "efficacy": np.nan}
            return [{"method": name, "target": "region"} | told for name in asked.methods]
        size = mask_size(hand.mask).item()
        rows = []
        for name, params in asked.methods.items():
            for target, over in (("region", where), ("field", np.ones_like(where))):
                maps = map_inside(hand, name, params, over, backgrounds[one.root])
                kept = top_share(maps, size)
                rows.append(
                    {
                        "method": name,
                        "target": target,
                        "inside": _share(maps, where),
                        "volume": 1 - mask_size(kept).item(),
                        "efficacy": _agreement(hand, hand.noised(kept), where),
                    }
                )
        return rows

    options = {**options_of(asked), "methods": asked.methods}
    return measured(studies, "regions_explained", ask, options=options)


def slices(studies: Studies) -> pd.DataFrame:
    """Correlations plane by plane (`z` is −1: all together), in the field and in the region.

    `of` is "truth" (prediction and truth) or "signature" (prediction, and that from the signature
    alone); `weighted` has the labels, widened, for weights, and is NaN where none are known.
    """
    asked = studies.job.regions

    def ask(one: Opened, field: str) -> Rows:
        seen, region = look(studies, one, field), drawn(studies, one, field)
        if seen.prediction.shape[1:] != seen.x.shape[1:]:
            return [{"of": "signature", "inside": "field", "channel": 0, "z": -1, "n": 0}]
        weight = None if region.labels is None else widened(region.labels > 0, asked.dilate)
        pairs = {"signature": seen.noised}
        if seen.truth is not None and seen.truth.shape == seen.prediction.shape:
            pairs["truth"] = seen.truth
        rows: Rows = []
        for of, other in pairs.items():
            for channel, (a, b) in enumerate(zip(seen.prediction, other, strict=True)):
                for inside, where in (("field", None), ("region", np.asarray(region.where))):
                    found = slice_pcc(np.asarray(a), np.asarray(b), weight=weight, region=where)
                    if weight is None:
                        found = found.assign(weighted=np.nan, weight=np.nan)
                    key = {"of": of, "inside": inside, "channel": channel}
                    for row in found.to_dict("records"):
                        rows.append(key | {str(name): value for name, value in row.items()})
        return rows

    options = {**options_of(asked), "dilate": asked.dilate}
    return measured(studies, "regions_slices", ask, options=options)


def widened(cells: Where, size: int) -> Where:
    """Cells and what lies within half a square of `size` pixels around, plane by plane."""
    square = np.ones((1,) * (cells.ndim - 2) + (size, size), bool)
    found: np.ndarray = ndimage.binary_dilation(cells, square)
    return found


def _share(maps: Tensor, where: Where) -> float:
    values = maps[0, 0].double().numpy()
    total = float(values.sum())
    return float(values[where].sum()) / total if total > 0 else float("nan")


def _agreement(hand: Hand, out: Tensor, where: Where) -> float:
    weight = torch.from_numpy(where)[None, None].to(out).expand_as(out)
    return pearson(out, hand.prediction, weight).item()
