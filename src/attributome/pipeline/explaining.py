"""The verb that makes maps: one field at a time, each written once, in any number of processes."""

import time
from typing import Any

import numpy as np

from attributome.core.errors import DataError
from attributome.core.seeds import seed_of
from attributome.core.types import Explainer
from attributome.explain import method, parameters
from attributome.masks.fit import mask_explainer
from attributome.masks.generator import load_generator
from attributome.pipeline.checking import LEARNED
from attributome.pipeline.looking import explainer_over, predictor_over, seen_at_once
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
    mask = learned_mask(work, study) if LEARNED in work.job.explain.methods else None
    with work.timed(STAGE) as progress:
        for done, name in enumerate(todo):
            progress(done / len(todo), f"{name} ({done + 1} of {len(todo)})")
            try:
                explain_field(work, study, mask, name)
            except DataError as error:
                failed[name] = str(error)
        progress(1.0, f"{len(todo) - len(failed)} fields explained")
    return failed


def explain_field(work: Work, study: Subject, mask: Explainer | None, name: str) -> None:
    """Every map of one field, and the prediction that they explain."""
    started = time.monotonic()
    field = work.fields.load(name)
    sample = field.sample
    f = predictor_over(work, study, field)
    arrays = {"prediction": f(field.x)[0].numpy()}
    for named, params in work.job.explain.methods.items():
        explainer = mask if named == LEARNED and mask else seeded(work, named, params, name)
        maps = explainer_over(work, study, field, explainer)(field.x)[0].numpy()
        if not np.isfinite(maps).all():
            raise DataError(f"{named} gave numbers that are not finite for sample {name!r}")
        arrays[f"map_{named}"] = maps
    work.run.write(
        STAGE,
        name,
        arrays=arrays,
        note={
            "methods": {m: dict(p) for m, p in work.job.explain.methods.items()},
            "target": repr(study.target),
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


def seeded(work: Work, name: str, params: dict[str, Any], sample: str) -> Explainer:
    """A method of the table; what it draws comes from the sample's own seed."""
    if "seed" in parameters(name) and "seed" not in params:
        params = {**params, "seed": seed_of(work.job.seed, sample, name)}
    return method(name, **params)
