"""What a job names, looked up before anything is written: a slip must not cost an hour."""

from attributome.config import Job
from attributome.core.errors import UsageError
from attributome.core.fills import FILLS
from attributome.core.targets import target_named
from attributome.explain import CONTROLS, METHODS, method, parameters
from attributome.masks.objective import PRESETS
from attributome.metrics.copies import flipped, translated
from attributome.pipeline.fields import Fields
from attributome.predictors.networks import NETWORKS

LEARNED = "learned_mask"
PREDICTED = "predicted"  # the class that a classifier prefers
SUPPLIED = ("layer", "background")  # found in the predictor and in the training fields
UNET_FROM = 16  # below, its deepest level has no pixel left
COPIES = {"translated": translated, "flipped": flipped}


def check(job: Job, fields: Fields) -> None:
    """Refuse names that nothing answers to, and sizes that do not fit the axes of the images."""
    methods, known = job.explain.methods, job.score.known
    if not methods:
        raise UsageError(f"explain.methods is empty: name at least one, such as {LEARNED}")
    for name, params in methods.items():
        _one_of("explain.methods", name, {*METHODS, LEARNED})
        if name != LEARNED:
            method(name, **{key: None for key in SUPPLIED if key in parameters(name)} | params)
        elif params:
            raise UsageError(f"{LEARNED} takes no parameters, not {sorted(params)}")
    if job.explain.target not in ("", PREDICTED) and not job.explain.target.startswith("region:"):
        target_named(job.explain.target)
    for name in job.score.controls:
        _one_of("score.controls", name, {*COPIES, *CONTROLS})
    _one_of("masks.noise", job.masks.noise, set(FILLS))
    _one_of("masks.preset", job.masks.preset, {"", *PRESETS})
    _one_of("predictor.network", job.predictor.network, {"", *NETWORKS})
    _one_of("explain.split", job.explain.split, {"all", *fields.splits})
    if known and ("evidence" not in known or known.keys() - {"evidence", "decoy"}):
        raise UsageError(f"score.known names {sorted(known)}: it takes evidence, and maybe decoy")
    sizes = {"explain.window": job.explain.window}
    if not job.predictor.source:
        sizes["predictor.patch"] = job.predictor.patch
    if LEARNED in methods:
        sizes["masks.patch"] = job.masks.patch
    for key, size in sizes.items():
        if size and len(size) != fields.dims:
            raise UsageError(f"{key} is {size}, but the images are {fields.dims}-D")
    network = job.predictor.network or ("unet" if job.predictor.task == "image" else "cnn")
    patch = sizes.get("predictor.patch", ())
    if network == "unet" and patch and min(patch) < UNET_FROM:
        raise UsageError(
            f"predictor.patch is {patch}, but a U-Net takes {UNET_FROM} pixels or more along every "
            f"axis"
        )
    training = ("train", "validate") if len(sizes) > 1 else ()
    for part in (*training, job.explain.split):
        fields.part(part)


def _one_of(key: str, name: str, known: set[str]) -> None:
    if name not in known:
        raise UsageError(f"{key}: there is no {name!r}; choose from {sorted(known - {''})}")
