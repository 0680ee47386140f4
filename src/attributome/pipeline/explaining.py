"""The verb that makes maps: one field at a time, each written once, in any number of processes."""

import time

import numpy as np

from attributome.core.errors import DataError
from attributome.core.targets import describe
from attributome.core.types import Explainer
from attributome.explain import HALF
from attributome.masks.fit import mask_explainer
from attributome.masks.generator import load_generator
from attributome.pipeline.checking import LEARNED
from attributome.pipeline.forecasting import tell_costs
from attributome.pipeline.looking import explainer_over, predictor_over, seen_at_once
from attributome.pipeline.methods import (
    Backgrounds,
    explained_target,
    explainer_for,
    refuse_impossible,
)
from attributome.pipeline.work import Subject, Work, subject
from attributome.store import shard

STAGE = "explain"


def explain(work: Work, *, part: tuple[int, int] = (1, 1)) -> dict[str, str]:
    """Explain the fields of the job that are not explained yet; returns the fields that failed.

    `part` is (i, N) for shard i of N: the numbers are those of one process.
    """
    names = shard(work.fields.part(work.job.explain.split), *part)
    todo = [name for name in names if not work.run.has(STAGE, name)]
    failed: dict[str, str] = {}
    if not todo:
        return failed
    study = subject(work)
    refuse_impossible(work, study)
    backgrounds = Backgrounds(work)
    mask = learned_mask(work, study) if LEARNED in work.job.explain.methods else None
    tell_costs(work, study, mask, backgrounds, todo)
    with work.timed(STAGE) as progress:
        for done, name in enumerate(todo):
            progress(done / len(todo), f"{name} ({done + 1} of {len(todo)})")
            try:
                explain_field(work, study, mask, backgrounds, name)
            except DataError as error:
                failed[name] = str(error)
        progress(1.0, f"{len(todo) - len(failed)} fields explained")
    return failed


def explain_field(
    work: Work, study: Subject, mask: Explainer | None, backgrounds: Backgrounds, name: str
) -> None:
    """Every map of one field, and the prediction that they explain."""
    started = time.monotonic()
    field = work.fields.load(name)
    sample = field.sample
    f = predictor_over(work, study, field)
    prediction = f(field.x)
    target = explained_target(work, study, field, prediction)
    arrays = {"prediction": prediction[0].numpy()}
    for named, params in work.job.explain.methods.items():
        if named == LEARNED and mask:
            maps = explainer_over(work, study, field, mask, study.target)(field.x)[0].numpy()
        else:
            explainer = explainer_for(work, study, backgrounds, named, params, field)
            over = explainer_over(work, study, field, explainer, target, half=named in HALF)
            maps = over(field.x)[0].numpy()
        if not np.isfinite(maps).all():
            raise DataError(f"{named} gave numbers that are not finite for sample {name!r}")
        arrays[f"map_{named}"] = maps
    work.run.write(
        STAGE,
        name,
        arrays=arrays,
        note={
            "methods": {m: dict(p) for m, p in work.job.explain.methods.items()},
            "target": describe(target),
            "channels": list(sample.channels),
            "target_channels": list(sample.target_channels),
            "pixel_size": list(sample.pixel_size) if sample.pixel_size else None,
            "size": list(sample.space),
            "padding": study.model.note(seen_at_once(work, study, field)),
            "meta": dict(sample.meta),
            "seconds": round(time.monotonic() - started, 3),
        },
    )


def learned_mask(work: Work, study: Subject) -> Explainer:
    """The mask generator of this run as an explainer."""
    folder = work.run.root / "masks"
    if not (folder / "generator.json").is_file():
        raise DataError(
            f"{work.run.root} has no mask generator yet: run `attributome train masks` first"
        )
    generator = load_generator(folder, predictor=study.mark)
    return mask_explainer(work.compute.place(generator, study.inspection.dims).eval())
