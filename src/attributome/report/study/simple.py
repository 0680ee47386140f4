"""Figures of the studies that are one row of dots or one curve for each predictor."""

from matplotlib.figure import Figure

from attributome.report.study.drawing import Drawn, band, canvas, hue, strip
from attributome.report.study.facts import Told


def scores(told: Told) -> list[Drawn]:
    """Correlation with the truth, field by field."""
    return [
        _dots(
            told,
            "pcc",
            "correlation of prediction and truth",
            "One mark for each field; the bar is the median, the shade the quartiles.",
            "A predictor far below the others: what explains it explains a poor prediction.",
        )
    ]


def efficacy(told: Told) -> list[Drawn]:
    """Efficacy of the signature, field by field, and its size."""
    return [
        _dots(
            told,
            "efficacy",
            "efficacy of the signature",
            "Correlation between the prediction from the whole field and from what the signature "
            "keeps. One mark for each field; the bar is the median, the shade the quartiles.",
            "Marks far to the left: fields of which the signature holds little.",
        )
    ]


def noise(told: Told) -> list[Drawn]:
    """Efficacy against the scale of noise that is added to a whole field."""
    return [
        _curves(
            told,
            "standard deviation of the noise, in those of the image",
            "Median agreement with the prediction when noise is added to the whole field; bands "
            "are 95 % intervals, dotted lines the scale that the runs were trained with.",
            "A curve that is still high at the scale of the runs: noise of that scale hides "
            "nothing, and any mask looks faithful.",
        )
    ]


def threshold(told: Told) -> list[Drawn]:
    """Efficacy of the signature against the threshold."""
    return [
        _curves(
            told,
            "threshold on the ranked map",
            "Median efficacy of what ranks above the threshold; bands are 95 % intervals, dotted "
            "lines the threshold that the runs chose on other fields.",
            "A curve that falls long before the threshold of the runs.",
        )
    ]


def _dots(told: Told, of: str, label: str, shows: str, bad: str) -> Drawn:
    table = told.table("fields", "predictor", of)
    groups = [(str(n), part[of].tolist()) for n, part in table.groupby("predictor", sort=False)]
    named = [name for name, _ in groups]  # a predictor has one colour, wherever its row stands
    groups.sort(key=lambda group: -sorted(group[1])[len(group[1]) // 2])
    figure, axes = canvas(0.9 + 0.55 * len(groups))
    strip(axes, groups, label, order=[named.index(name) for name, _ in groups])
    return Drawn(key=told.name, title=told.entry.title, figure=figure, shows=shows, bad=bad)


def _curves(told: Told, label: str, shows: str, bad: str) -> Drawn:
    table = told.table("curves", "predictor", "value", "median", "median_low", "median_high")
    figure: Figure
    figure, axes = canvas()
    for at, (name, part) in enumerate(table.groupby("predictor", sort=False)):
        band(
            axes, part, at, x="value", y="median", low="median_low", high="median_high",
            label=str(name),
        )  # fmt: skip
        for value in told.numbers[str(name)]["of_the_runs"]:
            axes.axvline(value, color=hue(at), lw=1, ls=":")
    axes.set_xlabel(label)
    axes.set_ylabel("median efficacy")
    axes.legend()
    return Drawn(key=told.name, title=told.entry.title, figure=figure, shows=shows, bad=bad)
