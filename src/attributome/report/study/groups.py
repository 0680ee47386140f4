"""Figures of groups: every field by its group, and how far pairs of groups lie apart."""

import pandas as pd

from attributome.report.study.drawing import INK, MUTED, Drawn, canvas, hue, shape, strip
from attributome.report.study.facts import Told

LABELS = {"efficacy": "efficacy of the signature", "pcc": "correlation with the truth"}
MOST_GROUPS, MOST_PAIRS = 20, 12


def groups(told: Told) -> list[Drawn]:
    """A row of dots for each group, by column and score, and the surest pairs as effects."""
    table = told.table("fields", "predictor", *LABELS)
    drawn = [
        _dots(told, table, str(column), value)
        for column in told.options["by"]
        for value in LABELS
        if table[value].notna().any()
    ]
    pairs = told.table("pairs")
    known = pairs[pairs["hedges_g"].notna()] if "hedges_g" in pairs else pairs
    return [*drawn, _effects(told, known)] if len(known) else drawn


def _dots(told: Told, table: pd.DataFrame, column: str, value: str) -> Drawn:
    names = [str(name) for name in table["predictor"].unique()]
    order = table.groupby(column)[value].median().sort_values(ascending=False).index
    shown = [str(name) for name in order[:MOST_GROUPS]]
    height = 0.7 + len(names) * (0.5 + 0.4 * len(shown))
    figure, axes = canvas(height, len(names), 1, sharex=True, squeeze=False)
    for one, name in zip(axes.flat, names, strict=True):
        part = table[table["predictor"] == name]
        values = [(group, part.loc[part[column] == group, value].tolist()) for group in shown]
        strip(one, values, LABELS[value] if name == names[-1] else "", colours=False)
        one.set_title(name, loc="left", fontsize=10)
    left = len(order) - len(shown)
    return Drawn(
        key=f"{told.name}_{value}_{told.options['by'].index(column) + 1}",
        title=f"{LABELS[value].capitalize()} by {column}",
        figure=figure,
        shows=f"The {LABELS[value]} of fields by {column}, for each predictor. One mark for each "
        "field; the bar is the median, the shade the quartiles."
        + (f" The {left} lowest groups are not drawn." if left else ""),
        bad="A group far to the left of the others: what was learned does not hold there.",
    )


def _effects(told: Told, known: pd.DataFrame) -> Drawn:
    rows = known.sort_values("p", kind="stable").head(MOST_PAIRS).reset_index(drop=True)
    figure, axes = canvas(1.3 + 0.55 * len(rows))
    labels = []
    for at, row in rows.iterrows():
        sure = row["holm"] <= 0.05
        axes.plot([row["hedges_low"], row["hedges_high"]], [at, at], color=MUTED, lw=2)
        axes.plot(
            row["hedges_g"], at, shape(0 if sure else 1), ms=8, color=hue(0), mew=1.5,
            mfc=hue(0) if sure else "white",
        )  # fmt: skip
        where = f" at {row['level']}" if row["level"] else ""
        labels.append(
            f"{row['predictor']}, {row['value']}{where}\n{row['first']} − {row['second']}"
        )
    axes.axvline(0, color=INK, lw=1)
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlabel("Hedges' g of units")
    return Drawn(
        key=f"{told.name}_effects",
        title="How far groups lie apart",
        figure=figure,
        shows=f"The {len(rows)} surest of {len(known)} pairs of groups: difference of units in "
        "standard deviations, with 95 % intervals where both groups have three units. Filled "
        "circles are differences that hold after Holm's correction (p up to 0.05), open squares "
        "are not, or were not tested.",
        bad="Filled circles to the left: a group that is explained or predicted worse.",
    )
