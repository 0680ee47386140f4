"""One field as every predictor sees it: a row for each."""

from attributome.report.study.drawing import Drawn
from attributome.report.study.facts import Told
from attributome.report.study.tiles import CONTRAST, OUTLINE, TITLES, Shown, grid, shown

KINDS = ("signature", "truth", "prediction", "noised")


def panel(told: Told) -> list[Drawn]:
    """The input, then the predictors from top to bottom."""
    every = shown(told)
    rows: list[list[tuple[Shown, str, str] | None]] = [
        [(every[0], "input", f"input: {told.numbers['field']}"), *[None] * (len(KINDS) - 1)]
    ]
    for one in every:
        rows.append([
            (one, kind, str(one.row["predictor"]) if kind == "signature" else TITLES[kind])
            for kind in KINDS
        ])  # fmt: skip
    return [
        Drawn(
            key="panel",
            title=told.entry.title,
            figure=grid(rows),
            shows="Above the input; then a row for each predictor: its signature on the input, the "
            f"truth, the prediction, and the prediction from the signature. {OUTLINE} {CONTRAST}",
            bad="Predictors of different structures whose signatures are the same: they may show "
            "what is easy to see, and not what each goes by.",
        )
    ]
