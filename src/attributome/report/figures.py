"""Every chart of the page with its caption: what it shows, n, and what would be bad news."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from attributome.report.charts import Row, Rule, Series, curves, rows
from attributome.report.facts import MASK, Facts
from attributome.report.looks import in_order, look
from attributome.report.numbers import listing, median_of, num, plural, share
from attributome.report.svg import Axis, around
from attributome.report.words import measure

AIR = 0.05  # below the lowest efficacy, where one is negative
CURVES, DOTS = 8, 14  # more curves, or rows of dots, than this are no longer told apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart, the methods of its legend, and its caption in three parts."""

    title: str
    drawing: Markup
    shows: str
    n: str
    bad: str
    legend: tuple[str, ...] = ()


def curve(facts: Facts) -> Figure | None:
    """Efficacy against mask size, median and quartiles, of the leading method and the controls."""
    chosen, left = legible(facts, [facts.lead, *controls_of(facts, "curve")], CURVES)
    return curves_of(
        facts,
        chosen,
        title="How much must be kept?",
        bad="A control curve that runs on or above the learned mask, above all the brightest "
        "contrast: then position, shape or plain contrast explains as much."
        if facts.lead == MASK
        else f"A control curve that runs on or above {look(facts.lead).label}: then position, "
        f"shape or plain contrast explains as much.",
        left=left,
    )


def curves_of(
    facts: Facts, keys: list[str], *, title: str, bad: str, left: list[str]
) -> Figure | None:
    """Efficacy against mask size, median and quartiles, of the methods and controls named."""
    table = facts.tables["curve"]
    table = table[(table["area"] > 0) & table["method"].isin(keys)] if not table.empty else table
    if table.empty:
        return None
    name, methods = measure(facts), in_order([str(m) for m in table["method"].unique()])
    series = [_quartiles(method, table[table["method"] == method], facts) for method in methods]
    series = [each for each in series if each.x]
    lowest = min([0.0, *(value for each in series for value in each.low)])
    log = bool(table["area"].max() / table["area"].min() > 12)
    x = Axis(
        label="share of the field that is kept",
        low=float(table["area"].min()) * (0.95 if log else 0),
        high=min(1.0, float(table["area"].max()) * 1.05),
        log=log,
        percent=True,
    )
    y = Axis(label=f"efficacy ({name})", low=lowest, high=1.0)
    rules = _asked(facts, "y")
    if size := facts.summary.get("mask_size_median"):
        rules.append(Rule(value=size, label="this mask", along="x"))
    ends = [f"{look(s.key).label} {num(s.y[0])} at {share(s.x[0])}" for s in series]
    return Figure(
        title=title,
        drawing=curves(
            list(reversed(series)), x, y, rules, f"Efficacy against kept area: {', '.join(ends)}."
        ),
        shows=f"Median {name} between the prediction from the whole field and from the field "
        "where all but this share is replaced; bands are the quartiles over fields. 1 = unchanged.",
        n=f"{plural(table['sample'].nunique(), 'field')}.{left_out(left)}",
        bad=bad,
        legend=tuple(methods),
    )


def distribution(facts: Facts) -> Figure | None:
    """Efficacy of every field at the area of its own signature."""
    table = facts.efficacies("signature", "control")
    if table.empty:
        return None
    return dots(
        facts,
        table,
        title="Every field, every control",
        x=unit_axis(f"efficacy ({measure(facts)}) at the same kept area", table),
        rules=[]
        if facts.floor is None
        else [Rule(value=facts.floor, label="asked for", along="x")],
        shows="One mark per field; the bar is the median, the shade the quartiles. "
        "Thin lines join the same field. Every control keeps as many pixels as the mask.",
        bad="Dots of a control right of the mask's, or mask dots spread far below the asked line.",
    )


def smallest(facts: Facts) -> Figure | None:
    """The smallest area at which a method keeps what was asked."""
    table = facts.tables["smallest"]
    if table.empty:
        return None
    wide = table.pivot_table(
        index="sample", columns="method", values="area", aggfunc="mean", dropna=False
    )
    wide, left = fewer(facts, wide)
    known = [float(v) for v in wide.to_numpy().ravel() if np.isfinite(v) and v > 0]
    low, high = (min(known), max(known)) if known else (0.01, 1.0)
    log = high / low > 12
    asked = "the asked efficacy" if facts.floor is None else f"{measure(facts)} {num(facts.floor)}"
    lost = int(wide.isna().to_numpy().sum())
    return dots(
        facts,
        wide,
        title="The smallest area that is enough",
        x=Axis(
            label="share of the field, smaller is better",
            low=low / 1.15 if log else 0.0,
            high=min(1.0, high * 1.15),
            log=log,
            percent=True,
        ),
        rules=[],
        shows=f"The smallest share of each field with which a method still reaches {asked}. "
        f"At the right: fields in which no tried area was enough ({lost} of {wide.size}); a dash "
        "stands for a median among them.",
        bad="Brightest contrast or edges as far left as the learned mask; many fields lost.",
        missing=("not reached", np.inf),
        left=left,
    )


def planted(facts: Facts) -> list[Figure]:
    """Against the answer that is known."""
    table = facts.tables["planted"]
    names = [c for c in ("recall", "precision") if c in table]
    weights = [c for c in ("region_importance", "decoy_importance") if c in table]
    found = []
    if names:
        found.append(
            dots(
                facts,
                table.set_index("sample")[names],
                title="Does it find what was planted?",
                x=Axis(label="share", low=0, high=1),
                rules=[],
                shows="Recall: how much of the region that truly matters is in the signature. "
                "Precision: how much of the signature lies in that region.",
                bad="Recall below 0.8: it misses the cause. Precision below 0.6: it marks more.",
            )
        )
    if weights:
        found.append(
            dots(
                facts,
                table.set_index("sample")[weights],
                title="Does it resist the decoy?",
                x=unit_axis("share that the signature keeps", table[weights]),
                rules=[],
                shows="How much of the region that truly matters is kept, and how much of a decoy "
                "that looks related and has no effect.",
                bad="A decoy kept more than a third as much as the region: a look-alike is taken "
                "for a cause.",
            )
        )
    return found


def soft(facts: Facts) -> Figure | None:
    """Soft masks beside the binary one."""
    table = facts.efficacies("signature", "soft")
    if [str(name) for name in table.columns] in ([], [facts.lead]) or table.empty:
        return None
    return dots(
        facts,
        table,
        title="A grey mask that selects nothing",
        x=unit_axis(f"efficacy ({measure(facts)})", table),
        rules=[],
        shows="The binary signature beside soft masks. The uniform one has the same value at "
        "every pixel, the mean of the learned map.",
        bad="Nothing here is good news: a high dot of the uniform mask says that soft efficacy "
        "cannot be trusted for this network, at this noise.",
    )


def training(log: pd.DataFrame) -> list[Figure]:
    """Training curves, as far as they were logged."""
    found = []
    epochs = log["epoch"] if "epoch" in log else pd.Series(range(1, len(log) + 1))
    for title, columns, bad in (
        ("Loss", ("loss", "val_loss"), "Validation loss that rises while training loss falls."),
        ("Held-out quality", ("val_pcc", "val_size"), "Curves that have not levelled off."),
    ):
        series = [
            Series(key=c, x=epochs.astype(float).tolist(), y=log[c].astype(float).tolist())
            for c in columns
            if c in log and log[c].notna().any()
        ]
        if not series:
            continue
        across = around(list(series[0].x), "epoch")
        values = [value for each in series for value in each.y if np.isfinite(value)]
        ends = listing([f"{look(s.key).label} ends at {s.y[-1]:.3g}" for s in series])
        found.append(
            Figure(
                title=title,
                drawing=curves(series, across, around(values, ""), [], ends),
                shows=f"{ends[0].upper()}{ends[1:]}.",
                n=plural(len(log), "epoch") + ".",
                bad=bad,
                legend=tuple(each.key for each in series),
            )
        )
    return found


def legible(facts: Facts, keys: list[str], most: int) -> tuple[list[str], list[str]]:
    """As many as a chart holds, the leading method and then the best ones; and those left out."""
    if len(keys) <= most:
        return keys, []
    best = [facts.lead, *facts.ranked, *keys]
    chosen = list(dict.fromkeys(key for key in best if key in keys))[:most]
    return chosen, [key for key in keys if key not in chosen]


def controls_of(facts: Facts, table: str) -> list[str]:
    """Whatever a table holds that is no method of the job."""
    rows = facts.tables[table]
    found = [] if rows.empty else [str(key) for key in rows["method"].unique()]
    return in_order([key for key in found if key not in facts.methods])


def fewer(facts: Facts, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The columns that a chart of rows can hold, and the names of the others."""
    chosen, left = legible(facts, [str(name) for name in table.columns], DOTS)
    return table[chosen], left


def left_out(keys: list[str]) -> str:
    """What a chart does not show, said beside it."""
    if not keys:
        return ""
    names = listing([look(key).label for key in in_order(keys)])
    return f" Left out, to keep the chart legible: {names}; the tables have their numbers."


def _quartiles(method: str, table: pd.DataFrame, facts: Facts) -> Series:
    quartiles = table.groupby("area")["efficacy"].quantile(np.array([0.25, 0.5, 0.75]))
    groups = quartiles.unstack().dropna()
    low, half, high = (groups[q].astype(float).tolist() for q in (0.25, 0.5, 0.75))
    areas = [float(str(area)) for area in groups.index]
    return Series(key=method, x=areas, y=half, low=low, high=high, main=method == facts.lead)


def _asked(facts: Facts, along: str) -> list[Rule]:
    return [] if facts.floor is None else [Rule(value=facts.floor, label="asked for", along=along)]


def unit_axis(label: str, table: pd.DataFrame) -> Axis:
    """Up to 1, from 0 or from a little below what is lowest."""
    lowest = float(table.min().min())
    return Axis(label=label, low=lowest - AIR if lowest < 0 else 0.0, high=1.0)


def dots(
    facts: Facts,
    table: pd.DataFrame,
    *,
    title: str,
    x: Axis,
    rules: list[Rule],
    shows: str,
    bad: str,
    missing: tuple[str, float] = ("undefined", -np.inf),
    left: list[str] | None = None,
) -> Figure:
    """A row of marks per column of a table, one mark per field."""
    samples = [str(sample) for sample in table.index]
    data = [
        Row(
            key=key,
            samples=samples,
            values=table[key].astype(float).tolist(),
            main=key == facts.lead,
        )
        for key in in_order([str(name) for name in table.columns])
    ]
    medians = listing(
        [f"{look(row.key).label} {num(median_of(row.values, missing[1]))}" for row in data]
    )
    return Figure(
        title=title,
        drawing=rows(data, x, rules, f"{title} Medians: {medians}.", missing),
        shows=shows,
        n=f"{plural(len(samples), 'field')}.{left_out(left or [])}",
        bad=bad,
    )
