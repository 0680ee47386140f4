"""Training: what was logged, and how pictures of the same pairs got better."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError
from attributome.report.charts import Rule, Series, curves
from attributome.report.figures import Figure
from attributome.report.inpaint.facts import InpaintFacts
from attributome.report.inpaint.strips import Strip, loaded, strip
from attributome.report.numbers import minutes, number, plural, short
from attributome.report.reading import csv_of
from attributome.report.svg import Axis, around

EXAMPLES, EPOCHS = 4, 4
"""Pairs of the strip, and epochs of which each is shown."""


def training(facts: InpaintFacts) -> dict[str, Any] | None:
    """Curves, time and pictures; None where no training was logged."""
    log = facts.log
    if log.empty:
        return None
    return {
        "figures": [figure for figure in (_held(log), _loss(log, facts)) if figure],
        "time": _time(facts),
        "strips": examples(facts),
        "words": _best(log),
    }


def examples(facts: InpaintFacts) -> list[Strip]:
    """The same pairs after several epochs, the last among them."""
    folder = facts.root / "network" / "examples"
    found = sorted(folder.glob("prediction-*.npy"))
    if not found:
        return []
    arrays = {name: loaded(folder / f"{name}.npy") for name in ("source", "marker", "truth")}
    at = dict.fromkeys(int(i) for i in np.linspace(0, len(found) - 1, EPOCHS).round())
    drawn = {_epoch(found[i]): loaded(found[i]) for i in at}
    pairs = csv_of(folder / "pairs.csv", ("source", "target"))
    strips = []
    for row in range(min(EXAMPLES, len(arrays["truth"]))):
        named = f"{pairs['target'].iloc[row]}" if row < len(pairs) else f"example {row + 1}"
        source = f" beside {pairs['source'].iloc[row]}" if row < len(pairs) else ""
        strips.append(
            strip(
                facts, f"{named}{source}", arrays, row, {f"epoch {e}": a for e, a in drawn.items()}
            )
        )
    return strips


def _epoch(path: Path) -> int:
    try:
        return int(path.stem.removeprefix("prediction-"))
    except ValueError as error:
        raise DataError(f"{path} does not say its epoch, as prediction-0001.npy does") from error


def _held(log: pd.DataFrame) -> Figure | None:
    if "val_mse" not in log or not log["val_mse"].notna().any():
        return None
    epochs, values = log["epoch"].tolist(), log["val_mse"].tolist()
    copied = number(log["val_copy_marker"].iloc[-1]) if "val_copy_marker" in log else float("nan")
    known = [v for v in (*values, copied) if np.isfinite(v)]
    log_scale = min(known) > 0 and max(known) / min(known) > 20
    rules = []
    if np.isfinite(copied):
        rules.append(Rule(value=copied, label=f"showing the marker: {short(copied)}"))
    at = _lowest(log)
    rules.append(Rule(value=epochs[at], label=f"lowest, epoch {epochs[at]:.0f}", along="x"))
    alt = f"Held-out mean squared error, from {short(values[0])} to {short(values[-1])}."
    # air above, where the reference and the lowest epoch are named
    y = around([*known, 1.12 * max(known)], "mean squared error", log=log_scale)
    return Figure(
        title="Held-out pairs: error of the painted protein",
        drawing=curves([Series(key="val_mse", x=epochs, y=values, main=True)], _epochs(epochs), y,
                       rules, alt),
        shows="Pairs of the validation fields, always the same ones. Dotted: what showing the "
        "marker instead reaches.",
        n=f"{plural(len(log), 'epoch')}.",
        bad="a curve that stays above the dotted line, or still falls at its end.",
    )  # fmt: skip


def _loss(log: pd.DataFrame, facts: InpaintFacts) -> Figure | None:
    epochs = log["epoch"].tolist()
    series = [
        Series(key=name, x=epochs, y=log[name].tolist())
        for name in ("loss", "val_loss")
        if name in log and log[name].notna().any()
    ]
    values = [v for each in series for v in each.y if np.isfinite(v)]
    if not values:
        return None
    named = str((facts.job.get("train") or {}).get("loss") or "the loss that was chosen")
    log_scale = min(values) > 0 and max(values) / min(values) > 20
    ends = ", ".join(f"{each.key} ends at {short(each.y[-1])}" for each in series)
    return Figure(
        title="Training against validation",
        drawing=curves(
            series, _epochs(epochs), around(values, "loss", log=log_scale), [], f"Losses: {ends}."
        ),
        shows=f"Loss: {named}.",
        n=f"{plural(len(log), 'epoch')}.",
        bad="validation loss that rises while training loss falls.",
        legend=tuple(each.key for each in series),
    )


def _epochs(epochs: list[float]) -> Axis:
    """From 0, and never so short that ticks would fall between epochs."""
    return Axis(label="epoch", low=0.0, high=max(1.02 * max(epochs), 6.0))


def _lowest(log: pd.DataFrame) -> int:
    """Which row has the lowest held-out error."""
    return int(np.nanargmin(log["val_mse"].to_numpy(np.float64)))


def _best(log: pd.DataFrame) -> str:
    if "val_mse" not in log or not log["val_mse"].notna().any():
        return f"{plural(len(log), 'epoch')} were logged, none with a held-out error."
    best = log.iloc[_lowest(log)]
    copied = number(best.get("val_copy_marker"))
    beside = f", against {short(copied)} for showing the marker" if np.isfinite(copied) else ""
    return (
        f"{plural(len(log), 'epoch')}; the lowest held-out error is {short(best['val_mse'])}, in "
        f"epoch {best['epoch']:.0f}{beside}."
    )


def _time(facts: InpaintFacts) -> str:
    """Seconds of the training, where something says them."""
    told = (facts.network.get("trained") or {}).get("seconds", facts.times.get("train"))
    if isinstance(told, int | float):
        return minutes(float(told))
    if "seconds" in facts.log and facts.log["seconds"].notna().any():
        return minutes(float(facts.log["seconds"].sum()))
    return ""
