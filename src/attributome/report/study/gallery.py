"""Fields and their signatures: a figure for each field, and for the planes of deep ones."""

from attributome.report.study.drawing import Drawn
from attributome.report.study.facts import Told
from attributome.report.study.tiles import CONTRAST, MOST, OUTLINE, TITLES, Shown, grid, shown

KINDS = (("input", "prediction", "truth"), ("signature", "left", "noised"))
DOWN = ("signature", "truth", "prediction", "noised")
BAD = (
    "A signature that lies where a biologist sees nothing, or a prediction from it that has lost "
    "what the prediction shows."
)


def gallery(told: Told) -> list[Drawn]:
    """Every field with what is predicted of it, and planes and sections of deep ones."""
    every = shown(told)
    found = []
    fields = [one for one in every if one.row["part"] == "field"]
    for number, one in enumerate(fields):
        rows = [[(one, kind, TITLES[kind]) for kind in row if kind in one.kinds] for row in KINDS]
        found.append(
            Drawn(
                key=f"gallery_{number:02d}",
                title=f"{one.row['predictor']}: {one.row['field']}",
                figure=grid([[*row] for row in rows if row]),
                shows=f"{_where(one)} {OUTLINE} {CONTRAST}",
                bad=BAD,
            )
        )
    for at, name in enumerate(dict.fromkeys(str(one.row["predictor"]) for one in every)):
        mine = [one for one in every if one.row["predictor"] == name]
        planes = [one for one in mine if one.row["part"] == "planes"]
        for start in range(0, len(planes), MOST):
            found.append(_deep(planes[start : start + MOST], "planes", f"{at}_{start // MOST}"))
        if sections := [one for one in mine if one.row["part"] == "sections"]:
            found.append(_deep(sections, "sections", f"{at}"))
    return found


def _deep(some: list[Shown], part: str, number: str) -> Drawn:
    """Planes from left to right, and what is seen and said of each from top to bottom."""
    name = some[0].row["predictor"]
    kinds = [kind for kind in DOWN if kind in some[0].kinds]
    rows = [[(one, kind, _title(one, kind, part)) for one in some] for kind in kinds]
    order = ", ".join(TITLES[kind] for kind in kinds)
    what = "its three middle sections" if part == "sections" else "planes from top to bottom"
    return Drawn(
        key=f"gallery_{part}_{number}",
        title=f"{name}: {what}",
        figure=grid([[*row] for row in rows]),
        shows=f"Field {some[0].row['field']}, {what}; rows: {order}. The numbers are those of the "
        f"whole field. {OUTLINE} {CONTRAST}",
        bad="A signature that is the same in every plane, whether anything is in focus or not.",
    )


def _title(one: Shown, kind: str, part: str) -> str:
    if kind != "signature":
        return ""
    if part == "sections":
        return f"{one.row['view']}"
    return f"z {int(one.row['plane']) + 1} of {one.row['planes']}"


def _where(one: Shown) -> str:
    told = f"Input {one.row['channel']}" if one.row["channel"] else "The input"
    told += f", stain {one.row['stain']}" if one.row["stain"] else ""
    if one.row["planes"] > 1:
        told += f", plane {int(one.row['plane']) + 1} of {one.row['planes']}"
    return f"{told}."
