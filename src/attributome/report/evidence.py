"""Where the evidence of each method lies: on which region, and against that region's own size."""

from dataclasses import dataclass

import pandas as pd

from attributome.report.charts import Rule
from attributome.report.facts import Facts
from attributome.report.figures import DOTS, Figure, dots, legible
from attributome.report.looks import in_order, look, the
from attributome.report.numbers import listing, num, plural, share, times
from attributome.report.svg import Axis

BACKGROUND = "background"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one method has on one region; medians over the fields where it has any evidence."""

    method: str
    region: str
    share: float
    area: float
    fields: int
    undefined: int

    @property
    def enrichment(self) -> float:
        """Evidence per area: 1 is what a map that knows nothing has."""
        return self.share / self.area if self.area > 0 else float("nan")


def parts(facts: Facts) -> list[Part]:
    """Every method on every region, in the order of the job's regions."""
    table = facts.tables["regions"]
    if table.empty:
        return []
    methods = in_order([str(m) for m in table["method"].unique()])
    methods.sort(key=lambda key: key != facts.lead)
    return [
        _part(table[(table["region"] == region) & (table["method"] == method)], method, region)
        for region in regions(facts)
        for method in methods
    ]


def regions(facts: Facts) -> list[str]:
    """The regions as the job names them, then others."""
    asked = list((facts.job.get("score") or {}).get("regions") or {})
    found = [str(name) for name in facts.tables["regions"]["region"].unique()]
    return [*(name for name in asked if name in found), *sorted(set(found) - set(asked))]


def figures(facts: Facts) -> list[Figure]:
    """One chart per region: each field's share of evidence, beside the region's own share."""
    table = facts.tables["regions"]
    found = []
    for region in regions(facts) if not table.empty else []:
        rows = table[table["region"] == region]
        wide = rows.pivot_table(
            index="sample", columns="method", values="share", aggfunc="mean", dropna=False
        )
        keys, left = legible(facts, [str(name) for name in wide.columns], DOTS)
        covers = float(rows["area"].median())
        lost = int(wide.isna().to_numpy().sum())
        found.append(
            dots(
                facts,
                wide[keys],
                title=f"On the {region}",
                x=Axis(label="share of the positive evidence", low=0, high=1, percent=True),
                rules=[Rule(value=covers, label=f"its area, {share(covers)}", along="x")],
                shows=f"The share of each map's positive evidence that lies on the {region}, one "
                f"mark per field; the line is the median share of the field that it covers. A map "
                f"that knows nothing lies on the line."
                + (f" In {lost} cases a map had no positive evidence at all." if lost else ""),
                bad="Marks right of the line: the network reads something outside the cells, such "
                "as illumination, debris or the well."
                if is_background(region)
                else "Marks on the line or left of it: the region counts no more than its size.",
                missing=("undefined", float("nan")),
                left=left,
            )
        )
    return found


def sentence(facts: Facts) -> str:
    """Where the evidence of the leading method lies, in words."""
    mine = [p for p in parts(facts) if p.method == facts.lead and p.fields]
    if not mine:
        return ""
    mine.sort(key=lambda part: -part.share)
    first = mine[0]
    said = [
        f"Of the evidence of {the(facts.lead)}, {share(first.share)} (median over "
        f"{plural(first.fields, 'field')}) lies on the {first.region}, which covers "
        f"{share(first.area)} of the field: {times(first.enrichment)} times its share"
    ]
    said += [
        f"{share(part.share)} lies on the {part.region}, {times(part.enrichment)} times its share"
        for part in mine[1:]
    ]
    return f"{'; '.join(said)}."


def table(facts: Facts) -> list[dict[str, str | bool]]:
    """One line per method and region."""
    return [
        {
            "key": part.method,
            "label": look(part.method).label,
            "region": part.region,
            "share": share(part.share),
            "area": share(part.area),
            "enrichment": num(part.enrichment),
            "n": f"{part.fields}, {part.undefined} undefined"
            if part.undefined
            else str(part.fields),
            "bad": is_background(part.region) and part.enrichment > 1,
        }
        for part in parts(facts)
    ]


def on_background(facts: Facts) -> list[Part]:
    """Regions named background that hold more of the leading method's evidence than of area."""
    mine = [part for part in parts(facts) if part.method == facts.lead and part.fields]
    return [part for part in mine if is_background(part.region) and part.share > part.area]


def is_background(region: str) -> bool:
    """Whether the name of a region says that it is no cell."""
    return BACKGROUND in region.casefold()


def names(facts: Facts) -> str:
    """The regions as a person lists them."""
    return listing(regions(facts))


def _part(rows: pd.DataFrame, method: str, region: str) -> Part:
    known = rows.dropna(subset=["share"])
    return Part(
        method=method,
        region=region,
        share=float(known["share"].median()),
        area=float(known["area"].median()),
        fields=len(known),
        undefined=len(rows) - len(known),
    )
