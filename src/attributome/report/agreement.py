"""Where methods disagree: every pair in one matrix, and what the efficacy says of the worst."""

from dataclasses import dataclass

from attributome.report.facts import Facts
from attributome.report.looks import look, the
from attributome.report.numbers import num, plural

CLOSE = 0.01  # medians nearer than this decide nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two methods over all fields; a median is NaN where no field had a value."""

    a: str
    b: str
    rank: float
    overlap: float
    fields: int
    undefined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A number of the matrix, its shade in percent, and the whole of it in words."""

    text: str
    kind: str
    shade: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Methods against methods: rank agreement above the diagonal, overlap below it."""

    names: list[str]
    rows: list[tuple[str, list[Cell | None]]]
    n: str
    lowest: str


def pairs(facts: Facts) -> list[Pair]:
    """Every pair of methods that was compared, in the order of the table."""
    table = facts.tables["agreement"]
    if table.empty:
        return []
    return [
        Pair(
            a=str(a),
            b=str(b),
            rank=float(rows["rank"].median()),
            overlap=float(rows["overlap"].median()),
            fields=int(rows["rank"].count()),
            undefined=int(rows["rank"].isna().sum()),
        )
        for (a, b), rows in table.groupby(["a", "b"], sort=True)
    ]


def lowest(facts: Facts) -> Pair | None:
    """The pair that agrees least."""
    known = [pair for pair in pairs(facts) if pair.fields]
    return min(known, key=lambda pair: pair.rank) if known else None


def matrix(facts: Facts) -> Matrix | None:
    """The pairs as a matrix; None where nothing was compared."""
    found = {frozenset((pair.a, pair.b)): pair for pair in pairs(facts)}
    names = [key for key in facts.methods if any(key in both for both in found)]
    if not names:
        return None
    rows: list[tuple[str, list[Cell | None]]] = []
    for i, a in enumerate(names):
        cells = [
            None if i == j else _cell(found.get(frozenset((a, b))), upper=i < j)
            for j, b in enumerate(names)
        ]
        rows.append((look(a).label, cells))
    fields = max(pair.fields + pair.undefined for pair in found.values())
    undefined = sum(pair.undefined for pair in found.values())
    lost = f"; {undefined} comparisons of a field were undefined" if undefined else ""
    return Matrix(
        names=[look(key).label for key in names],
        rows=rows,
        n=f"{plural(fields, 'field')}{lost}",
        lowest=_sentence(facts),
    )


def _cell(pair: Pair | None, *, upper: bool) -> Cell:
    if pair is None:
        return Cell(text="–", kind="none", shade=0, words="not compared")
    value = pair.rank if upper else pair.overlap
    known = value == value
    kind = "overlap" if not upper else "rank" if not known or value >= 0 else "opposed"
    what = "rank agreement" if upper else "overlap of the top pixels"
    return Cell(
        text=num(value),
        kind=kind if known else "none",
        shade=round(60 * min(abs(value), 1.0)) if known else 0,
        words=f"{look(pair.a).label} and {look(pair.b).label}: {what} {num(value)}, "
        f"{plural(pair.fields, 'field')}",
    )


def _sentence(facts: Facts) -> str:
    """The pair that agrees least, and which of the two keeps more of the prediction."""
    pair = lowest(facts)
    if pair is None:
        return "No pair of methods could be compared: their maps are constant."
    a, b = the(pair.a), the(pair.b)
    said = (
        f"{a[0].upper()}{a[1:]} and {b} agree least: median rank agreement {num(pair.rank)} over "
        f"{plural(pair.fields, 'field')}, and their top pixels overlap by {num(pair.overlap)}. "
    )
    return said + support(facts, pair.a, pair.b)


def support(facts: Facts, a: str, b: str) -> str:
    """Which of two methods has the higher efficacy at equal area, field by field."""
    table = facts.efficacies("signature", "method")
    if a not in table or b not in table:
        return "There is no efficacy to decide between them."
    difference = (table[a] - table[b]).dropna()
    if difference.empty:
        return "There is no efficacy to decide between them."
    median, fields = float(difference.median()), plural(len(difference), "field")
    if abs(median) < CLOSE:
        return (
            f"Efficacy at equal area does not decide between them: their median difference is "
            f"{num(median)} ({fields})."
        )
    better = a if median > 0 else b
    return f"Efficacy at equal area supports {the(better)} by {num(abs(median))} ({fields})."
