"""The verb that measures: the signature against controls of the same size, on held-out fields."""

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from attributome.config import Job
from attributome.core.arrays import mask_size, mix, top_share
from attributome.core.errors import DataError
from attributome.core.seeds import seed_of
from attributome.core.types import Predictor, Target
from attributome.explain import CONTROLS, parameters
from attributome.masks.objective import Objective
from attributome.masks.signature import signature
from attributome.metrics.faithfulness import (
    area_under,
    efficacy,
    efficacy_curve,
    smallest_size,
)
from attributome.metrics.localisation import context, mean_inside, precision, recall
from attributome.pipeline.checking import COPIES
from attributome.pipeline.comparing import agreements, checks, disagreement, evidence
from attributome.pipeline.explaining import STAGE as EXPLAINED
from attributome.pipeline.fields import Field
from attributome.pipeline.looking import agreement_of, as_ranking, fill_of, predictor_over
from attributome.pipeline.methods import explained_target
from attributome.pipeline.training import objective
from attributome.pipeline.work import Subject, Work, subject
from attributome.predictors.fit import score_predictor
from attributome.store import shard

STAGE, PANEL = "score", "panel"


def score(work: Work, *, part: tuple[int, int] = (1, 1)) -> dict[str, str]:
    """Score the explained fields that are not scored yet; returns the fields that failed."""
    names = shard(work.run.units(EXPLAINED), *part)
    if not work.run.units(EXPLAINED):
        raise DataError(f"{work.run.root} has no maps yet: run `attributome explain` first")
    todo = [name for name in names if not work.run.has(STAGE, name)]
    failed: dict[str, str] = {}
    if not todo:
        return failed
    study, chosen = subject(work), _chosen(work)
    goal = objective(work, study)
    shown = _spread(work.fields.part(work.job.explain.split), work.job.score.panels)
    with work.timed(STAGE) as progress:
        for done, name in enumerate(todo):
            progress(done / len(todo), f"{name} ({done + 1} of {len(todo)})")
            try:
                score_field(work, study, goal, chosen, name, panel=name in shown)
            except DataError as error:
                failed[name] = str(error)
        progress(1.0, f"{len(todo) - len(failed)} fields scored")
    return failed


def score_field(
    work: Work, study: Subject, goal: Objective, chosen: dict[str, Any], name: str, *, panel: bool
) -> None:
    """Every number about one field, written as one part."""
    field = work.fields.load(name)
    f = predictor_over(work, study, field)
    fill = fill_of(field, goal)
    agreement = agreement_of(study, chosen["spread"])
    reference = f(field.x)
    target = explained_target(work, study, field, reference)
    given: dict[str, Any] = {"reference": reference, "agreement": agreement}
    signed = {m: _stored(work, name, m) for m in work.job.explain.methods}
    maps = {m: as_ranking(each) for m, each in signed.items()}
    maps |= _controls(work, f, field, target, next(iter(maps.values())))
    lead = next(iter(maps))
    soft, threshold = maps[lead], chosen["threshold"]["value"]
    per = work.job.masks.per if lead == "learned_mask" else "field"
    kept = signature(soft, threshold, per=per)
    area = mask_size(kept).item()

    def row(method: str, kind: str, mask: Tensor) -> dict[str, Any]:
        value = efficacy(f, field.x, mask, fill, **given).item()
        size = mask_size(mask).item()
        return {"method": method, "kind": kind, "mask_size": size, "efficacy": value}

    scores = [row(lead, "signature", kept)]
    scores += [
        row(m, _kind(work.job, m), top_share(ranks, area)) for m, ranks in maps.items() if m != lead
    ]
    scores.append(row("uniform_soft", "soft", torch.full_like(kept, max(area, 1e-6))))
    if lead == "learned_mask":
        scores.append(row("learned_mask_soft", "soft", soft))
        same_mean = torch.full_like(soft, mask_size(soft).item())
        scores.append(row("uniform_as_soft", "soft", same_mean))
    sizes = work.job.score.sizes
    curves = {
        m: efficacy_curve(f, field.x, ranks, fill, sizes, **given) for m, ranks in maps.items()
    }
    curve = [
        {"method": m, "area": size, "efficacy": value}
        for m, each in curves.items()
        for size, value in zip(sizes, each[0].tolist(), strict=True)
    ]
    areas = [
        {"method": m, "curve_area": area_under(each, sizes).item()}
        for m, each in curves.items()
        if len(sizes) > 1  # one size has no area
    ]
    floor = work.job.masks.floor
    smallest = [
        {"method": m, "area": smallest_size(f, field.x, ranks, fill, floor=floor, **given).item()}
        for m, ranks in maps.items()
    ]
    tables = {"scores": scores, "curve": curve, "areas": areas, "smallest": smallest}
    own = {m: maps[m] for m in work.job.explain.methods}
    tables["agreement"] = agreements(own, area)
    tables["checks"] = checks(work, study, field, target, signed)
    if field.y is not None:
        tables["predictor"] = _against_truth(work, f, field)
    if work.job.score.known and field.sample.regions is not None:
        tables["planted"] = [_planted(work.job.score.known, kept, field)]
    if work.job.score.regions and field.sample.regions is not None:
        labels = torch.from_numpy(field.sample.regions.astype("int64"))[None, None]
        tables["regions"] = evidence(signed, labels, work.job.score.regions)
    if panel:
        noisy = mix(field.x, kept, fill)
        # a learned mask has no sign, and the panel's own map is it
        more = {f"map_{m}": each[0] for m, each in signed.items() if m != "learned_mask"}
        if len(own) > 1:
            more["disagreement"] = disagreement(own)
        _write_panel(work, field, soft, kept, reference, noisy, f(noisy), scores[0], goal, more)
    frames = {n: pd.DataFrame(rows).assign(sample=name) for n, rows in tables.items() if rows}
    work.run.write(STAGE, name, tables=frames, note={"threshold": threshold, "area": area})


def _chosen(work: Work) -> dict[str, Any]:
    chosen = work.run.load("choices") or {}
    if "learned_mask" in work.job.explain.methods and "threshold" not in chosen:
        raise DataError(
            f"{work.run.root} has no threshold yet: run `attributome train masks` to the end first"
        )
    return {"spread": 1.0, "threshold": {"value": 0.9}, **chosen}


def _spread(names: list[str], count: int) -> list[str]:
    """So many names, evenly over the list: tables are often sorted by class or by plate."""
    return [names[i * len(names) // count] for i in range(min(count, len(names)))]


def _stored(work: Work, sample: str, name: str) -> Tensor:
    """A map as it was explained, `(1, k, *s)`."""
    return torch.from_numpy(work.run.array(EXPLAINED, sample, f"map_{name}").copy())[None]


def _controls(
    work: Work, f: Predictor, field: Field, target: Target, lead: Tensor
) -> dict[str, Tensor]:
    """The control maps of a field, and copies of its leading map in the wrong place."""
    maps = {}
    for control in work.job.score.controls:
        seed = seed_of(work.job.seed, field.sample.id, control)
        if control in COPIES:
            maps[control] = COPIES[control](lead, seed)
        else:
            params = {"seed": seed} if "seed" in parameters(control) else {}
            maps[control] = CONTROLS[control](f, field.x, target, **params)
    return maps


def _kind(job: Job, method: str) -> str:
    return "method" if method in job.explain.methods else "control"


def _against_truth(work: Work, f: Any, field: Field) -> list[dict[str, Any]]:
    task = work.job.predictor.task
    y = field.y
    assert y is not None
    truth = y.flatten().long() if task == "classification" else y
    return list(score_predictor(f, [(field.x, truth)], task=task, compute=work.compute))


def _planted(known: dict[str, int], kept: Tensor, field: Field) -> dict[str, Any]:
    """Against the truth: the region that carries the answer, and the decoy that does not."""
    labels = torch.from_numpy(field.sample.regions.astype("int64"))[None, None]  # type: ignore[union-attr]
    region = labels == known["evidence"]
    row = {
        "recall": recall(kept, region).item(),
        "precision": precision(kept, region).item(),
        "region_importance": mean_inside(kept, region).item(),
        "context": context(kept, region).item(),
    }
    if "decoy" in known:
        row["decoy_importance"] = mean_inside(kept, labels == known["decoy"]).item()
    return row


def _write_panel(
    work: Work,
    field: Field,
    soft: Tensor,
    kept: Tensor,
    reference: Tensor,
    noisy: Tensor,
    answer: Tensor,
    scores: dict[str, Any],
    goal: Objective,
    more: dict[str, Tensor],
) -> None:
    sample = field.sample
    image = reference.ndim == field.x.ndim
    arrays = {
        "input": field.x[0],
        "map": soft[0],
        "signature": kept[0],
        "noisy_input": noisy[0],
        **more,
    }
    if image:
        arrays |= {"prediction": reference[0], "noisy_prediction": answer[0]}
        arrays |= {"target": field.y[0]} if field.y is not None else {}
    as_numpy = {name: value.numpy() for name, value in arrays.items()}
    if sample.regions is not None:
        as_numpy["regions"] = sample.regions
    numbers = (
        {}
        if image
        else {"prediction": reference[0].tolist(), "noisy_prediction": answer[0].tolist()}
    )
    work.run.write(
        PANEL,
        sample.id,
        arrays=as_numpy,
        note={
            "channels": list(sample.channels),
            "target_channels": list(sample.target_channels),
            "pixel_size": list(sample.pixel_size) if sample.pixel_size else None,
            "efficacy": scores["efficacy"],
            "mask_size": scores["mask_size"],
            "noise": f"{goal.noise} {goal.noise_scale:.2f}",
            "task": work.job.predictor.task,
            "meta": dict(sample.meta),
            **numbers,
        },
    )
