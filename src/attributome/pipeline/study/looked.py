"""What every study starts from: one field, what is predicted of it, and what the mask leaves.

Made once for each field and kept on disk, so that a study of another kind does not predict again.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from attributome.core.arrays import mask_size, mix
from attributome.core.errors import DataError
from attributome.core.types import Predictor
from attributome.masks.signature import signature
from attributome.pipeline.fields import Field
from attributome.pipeline.looking import agreement_of, explainer_over, fill_of, predictor_over
from attributome.pipeline.study.opening import Opened, Studies

STAGE = "look"


@dataclass(frozen=True, kw_only=True, eq=False)
class Hand:
    """A field at hand, to ask the predictor about versions of it: images are `(1, c, *s)`.

    What is expensive is computed when it is first asked for, and kept while the field is.
    """

    one: Opened
    name: str
    given: Field = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "given", self.one.judged.load(self.name))

    @property
    def x(self) -> Tensor:
        """The normalised image."""
        return self.given.x

    @cached_property
    def f(self) -> Predictor:
        """The predictor for a field of this size."""
        return predictor_over(self.one.work, self.one.study, self.given)

    @cached_property
    def prediction(self) -> Tensor:
        """`f(x)`."""
        return self.f(self.x)

    @cached_property
    def maps(self) -> Tensor:
        """The learned importance `(1, 1, *s)`, ranked from 0 to 1."""
        one = self.one
        over = explainer_over(one.work, one.study, self.given, one.mask, one.study.target)
        return over(self.x)

    @cached_property
    def mask(self) -> Tensor:
        """The signature of the run: 1 is kept."""
        return signature(self.maps, self.one.threshold, per=self.one.per)

    @cached_property
    def fill(self) -> Tensor:
        """The one noise draw of the field, which every mask and method sees."""
        return fill_of(self.given, self.one.goal)

    def noised(self, mask: Tensor) -> Tensor:
        """The prediction where `fill` replaces what the mask leaves out."""
        return self.f(mix(self.x, mask, self.fill))

    def efficacy(self, out: Tensor) -> float:
        """How far an output agrees with the prediction."""
        spread = float((self.one.work.run.load("choices") or {}).get("spread", 1.0))
        return agreement_of(self.one.study, spread)(out, self.prediction).item()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looked:
    """The same from disk, without the leading axis: `(c, *s)` arrays, mapped and read-only.

    `truth` is None where the field has no target image. `note` has `efficacy` and `size` of the
    signature, `pcc` of the prediction with the truth (None without one), `channels`,
    `target_channels` and `pixel_size`.
    """

    x: Float[np.ndarray, "c *s"]
    prediction: Float[np.ndarray, "k ..."]
    truth: Float[np.ndarray, "k *s"] | None
    maps: Float[np.ndarray, "1 *s"]
    mask: Bool[np.ndarray, "1 *s"]
    noised: Float[np.ndarray, "k ..."]
    note: dict[str, Any]


def look(studies: Studies, one: Opened, name: str) -> Looked:
    """What was seen of a field, from disk, or seen now and written there."""
    unit = f"{one.name}/{name}"
    if not studies.run.has(STAGE, unit):
        _write(studies, one, name, unit)
    run, names = studies.run, studies.run.arrays(STAGE, unit)
    told = {key: run.array(STAGE, unit, key) for key in names}
    return Looked(
        x=told["x"],
        prediction=told["prediction"],
        truth=told.get("truth"),
        maps=told["maps"],
        mask=told["mask"],
        noised=told["noised"],
        note=run.note(STAGE, unit),
    )


def _write(studies: Studies, one: Opened, name: str, unit: str) -> None:
    hand = Hand(one=one, name=name)
    noised = hand.noised(hand.mask)
    arrays = {
        "x": hand.x[0].numpy(),
        "prediction": hand.prediction[0].numpy(),
        "maps": hand.maps[0].numpy(),
        "mask": hand.mask[0].numpy().astype(bool),
        "noised": noised[0].numpy(),
    }
    for key in ("prediction", "maps", "noised"):
        if not np.isfinite(arrays[key]).all():
            raise DataError(f"the {key} of field {name!r} by {one.root} is not finite everywhere")
    sample, y = hand.given.sample, hand.given.y
    image = studies.job.truth and isinstance(sample.target, np.ndarray) and y is not None
    if image and y is not None:
        arrays["truth"] = y[0].numpy()
    studies.run.write(
        STAGE,
        unit,
        arrays=arrays,
        note={
            "predictor": one.name,
            "field": name,
            "efficacy": hand.efficacy(noised),
            "size": mask_size(hand.mask).item(),
            "pcc": _pcc(arrays["prediction"], arrays["truth"]) if image else None,
            "channels": list(sample.channels),
            "target_channels": list(sample.target_channels),
            "pixel_size": list(sample.pixel_size) if sample.pixel_size else None,
            "meta": dict(sample.meta),
        },
    )


def _pcc(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson correlation over all voxels; None where one is constant."""
    flat = [each.astype(np.float64).ravel() - each.mean(dtype=np.float64) for each in (a, b)]
    power = [float(np.sqrt(each @ each)) for each in flat]
    return float(flat[0] @ flat[1] / power[0] / power[1]) if min(power) > 0 else None
