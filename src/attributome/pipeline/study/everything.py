"""Studies by name, and all that the runs allow."""

from collections.abc import Callable, Sequence

from attributome.core.errors import Refusal
from attributome.core.files import write_json
from attributome.pipeline.study.knobs import noise, threshold
from attributome.pipeline.study.opening import Studies
from attributome.pipeline.study.saving import FOLDER, save, sum_up
from attributome.pipeline.study.scores import efficacy, scores
from attributome.studies.catalogue import CATALOGUE
from attributome.studies.found import Found

STUDIES: dict[str, Callable[[Studies], Found]] = {
    "scores": scores,
    "noise": noise,
    "threshold": threshold,
    "efficacy": efficacy,
}


def study(studies: Studies, names: Sequence[str], *, command: str) -> dict[str, Refusal]:
    """Do some studies, write what each found, and the summary; returns those left out, and why.

    One study is done or refused. Of several, one that these runs do not allow is left out.
    """
    left: dict[str, Refusal] = {}
    for name in names:
        studies.tell(f"{CATALOGUE[name].title}: {CATALOGUE[name].question}")
        try:
            found = STUDIES[name](studies)
        except Refusal as error:
            if len(names) == 1:
                raise
            left[name] = error
            continue
        save(studies, name, found, command=command)
    write_json(
        studies.run.root / FOLDER / "left_out.json", {name: str(why) for name, why in left.items()}
    )
    sum_up(studies)
    return left
