"""What a run of explanations will cost, told before it begins."""

from torch import Tensor

from attributome.core.errors import DataError
from attributome.core.types import Explainer
from attributome.explain import METHODS, parameters
from attributome.explain.cost import (
    Cost,
    Measured,
    break_even,
    forecast,
    in_words,
    measure,
    memory,
    seconds,
)
from attributome.pipeline.checking import LEARNED
from attributome.pipeline.fields import Field
from attributome.pipeline.looking import seen_at_once
from attributome.pipeline.methods import Backgrounds, given_parameters, layer_of
from attributome.pipeline.work import Subject, Work


def tell_costs(
    work: Work, study: Subject, mask: Explainer | None, backgrounds: Backgrounds, names: list[str]
) -> None:
    """A line per method of the job, from one forward pass that is measured on a real field."""
    measured = _measured(work, study, names)
    if measured is None:  # every field is about to fail, each with its own reason
        return
    field, x, ran = measured
    size = seen_at_once(work, study, field)
    costs: dict[str, Cost] = {}
    for name, params in work.job.explain.methods.items():
        if name == LEARNED:
            continue
        given = parameters(name) | given_parameters(work, study, backgrounds, name, params, field)
        cost = forecast(name, given, size, channels=_channels(work, study, name))
        line = in_words(name, cost, ran, len(names))
        if cost is not None:
            costs[name] = cost
            line += f", {memory(cost, ran, x) / 2**20:.0f} MiB at once"
        work.tell(line)
    if mask is not None:
        _tell_break_even(work, costs, ran)


def _measured(
    work: Work, study: Subject, names: list[str]
) -> tuple[Field, Tensor, Measured] | None:
    """The first sound field, what of it is seen at once, and a forward pass over that."""
    for name in names:
        try:
            field = work.fields.load(name)
            box = [slice(0, n) for n in seen_at_once(work, study, field)]
            x = work.compute.move(field.x[(slice(None), slice(None), *box)])
            with work.compute.autocast():
                return field, x, measure(study.model, x)
        except DataError:  # told where it is explained
            continue
    return None


def _tell_break_even(work: Work, costs: dict[str, Cost], ran: Measured) -> None:
    """From how many images on the training of the mask generator has paid for itself."""
    trained = (work.run.load("times/train_masks") or {}).get("seconds")
    if not trained:
        return
    for name, cost in costs.items():
        images = break_even(trained, seconds(cost, ran, 1), ran.seconds)
        if images is not None:
            work.tell(
                f"{LEARNED}: its {trained:.0f} s of training cost as much as {name} on {images} "
                f"images"
            )


def _channels(work: Work, study: Subject, name: str) -> int | None:
    """Channels of the layer that a method looks at."""
    if name not in METHODS or "layer" not in parameters(name):
        return None
    asked = work.job.explain.methods[name].get("layer") or layer_of(work, study)
    found = [layer.channels for layer in study.inspection.layers if layer.name == asked]
    return found[0] if found else None
