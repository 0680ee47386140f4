"""Studies by name, and all that the runs allow."""

from collections.abc import Callable, Sequence

from attributome.core.errors import Refusal
from attributome.core.files import read_json, write_json
from attributome.pipeline.study.ablation import ablation
from attributome.pipeline.study.answers import correctness
from attributome.pipeline.study.confidence import confidence
from attributome.pipeline.study.dremi import dremi
from attributome.pipeline.study.gallery import gallery
from attributome.pipeline.study.groups import groups
from attributome.pipeline.study.knobs import noise, threshold
from attributome.pipeline.study.methods import methods
from attributome.pipeline.study.opening import Studies
from attributome.pipeline.study.panel import panel
from attributome.pipeline.study.perturbations import perturbations
from attributome.pipeline.study.regions import regions
from attributome.pipeline.study.saving import FOLDER, save, sum_up
from attributome.pipeline.study.scores import efficacy, scores
from attributome.pipeline.study.spatial import spatial
from attributome.studies.catalogue import CATALOGUE
from attributome.studies.found import Found

STUDIES: dict[str, Callable[[Studies], Found]] = {
    "scores": scores,
    "noise": noise,
    "threshold": threshold,
    "efficacy": efficacy,
    "groups": groups,
    "methods": methods,
    "regions": regions,
    "spatial": spatial,
    "perturbations": perturbations,
    "dremi": dremi,
    "ablation": ablation,
    "gallery": gallery,
    "panel": panel,
    "confidence": confidence,
    "correctness": correctness,
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
    path = studies.run.root / FOLDER / "left_out.json"
    before = read_json(path) if path.is_file() else {}
    others = {name: why for name, why in before.items() if name not in names}
    write_json(path, others | {name: str(why) for name, why in left.items()})
    sum_up(studies.run.root)
    return left
