"""Distances are those of a loop over cells; more varied proteins score more, and fields cannot."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.profiles.proteins.variability import variability


def cells(spreads=(1.0, 1.0, 2.5), fields=6, number=20, apart=0.0, leak=0.0, f=12, seed=0):
    """Proteins with fields of their own, that differ in spread, in place and between fields."""
    draw = np.random.default_rng(seed)
    tables = []
    for p, spread in enumerate(spreads):
        middle = apart * draw.standard_normal(f)
        for field in range(fields):
            n = number + draw.integers(5)
            x = middle + leak * draw.standard_normal(f) + spread * draw.standard_normal((n, f))
            table = pd.DataFrame(x, columns=[f"conv3_1_max_{i:03d}" for i in range(f)])
            table.insert(0, "Metadata_field", f"{p}_{field}")
            table.insert(0, "Metadata_group", f"P{p}")
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def slow(table):
    """Every cell to every centre, with a loop; squared distances within and between."""
    x = table.filter(like="conv").to_numpy()
    x = x[:, np.ptp(x, 0) > 0]
    z = (x - x.mean(0)) / x.std(0)
    labels, fields = (table[f"Metadata_{n}"].to_numpy() for n in ("group", "field"))
    names = [p for p in np.unique(labels) if len(np.unique(fields[labels == p])) > 1]

    def centre(label, without):
        return z[(labels == label) & (fields != without)].mean(0)

    rows = []
    for cell, label, field in zip(z, labels, fields, strict=True):
        if label not in names:
            rows.append((label, np.nan, np.nan))
            continue
        between = []
        for other in names:
            if other == label:
                continue
            theirs = np.unique(fields[labels == other])
            left = [field] if field in theirs else theirs
            between.append(np.mean([((cell - centre(other, f)) ** 2).mean() for f in left]))
        within = ((cell - centre(label, field)) ** 2).mean()
        rows.append((label, within, np.mean(between) if between else np.nan))
    frame = pd.DataFrame(rows, columns=["label", "within", "between"])
    return np.sqrt(frame.groupby("label").agg(lambda v: v.mean(skipna=False)))


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("size", [None, 7])
def test_distances_are_those_of_a_loop(mixed, size):
    table = cells(fields=3, number=5, apart=1, leak=0.5, f=4)
    table["conv3_1_max_000"] += 1000
    table["conv3_1_max_004"] = 3.0
    if mixed:  # fields that hold several proteins, and a protein in one field only
        table["Metadata_field"] = [f"f{i % 4}" for i in range(len(table))]
        table.loc[[0, 4, 8], "Metadata_group"] = "alone"
    given = table
    if size:
        given = (table.iloc[i : i + size] for i in range(0, len(table), size))
    found = variability(given, "group").set_index("label")
    wanted = slow(table)
    np.testing.assert_allclose(found[["within", "between"]], wanted, rtol=1e-9)
    assert found["within"].isna().sum() == int(mixed)
    sizes = table.groupby("Metadata_group")
    assert list(found["cells"]) == list(sizes.size())
    assert list(found["fields"]) == list(sizes["Metadata_field"].nunique())


def test_a_protein_of_varied_cells_scores_more():
    found = variability(cells(), "group")
    assert found["within"][2] > 1.8 * found["within"][:2].max()
    assert found["within_low"][2] > found["within_high"][:2].max()
    assert (
        (found["within_low"] < found["within"]) & (found["within"] < found["within_high"])
    ).all()


@pytest.mark.parametrize("leak", [0.0, 1.5])
def test_where_proteins_do_not_differ_own_and_other_centres_are_equally_far(leak):
    ratios = []
    for seed in range(20):
        found = variability(cells((1, 1, 1), fields=3, leak=leak, seed=seed), "group", draws=1)
        ratios += [*(found["within"] / found["between"])]
    assert abs(np.mean(ratios) - 1) < 3 * np.std(ratios) / np.sqrt(len(ratios) / 3) + 0.01
    found = variability(cells((1, 1, 1), apart=2, leak=leak), "group")
    assert (found["within"] < found["between"]).all()


def test_a_label_of_one_field_is_undefined_and_one_of_two_has_no_interval():
    table = cells()
    table.loc[table["Metadata_group"] == "P0", "Metadata_field"] = "0_0"
    two = table["Metadata_group"] == "P1"
    table.loc[two, "Metadata_field"] = np.where(np.arange(two.sum()) % 2, "1_0", "1_1")
    found = variability(table, "group")
    assert found["fields"].tolist() == [1, 2, 6]
    assert found["within"].isna().tolist() == [True, False, False]
    assert found["between"].isna().tolist() == [True, False, False]
    assert found["within_low"].isna().tolist() == [True, True, False]
    assert found["cells"].notna().all()


def test_cells_that_lack_a_feature_are_counted_and_change_nothing_else():
    table = cells()
    holes = table.iloc[:9].assign(conv3_1_max_000=np.nan, conv3_1_max_001=1e6)
    found = variability([table, holes], "group")
    assert found["undefined"].tolist() == [9, 0, 0]
    pd.testing.assert_frame_equal(
        found.drop(columns="undefined"), variability(table, "group").drop(columns="undefined")
    )


def test_intervals_are_drawn_by_the_seed_for_each_label_by_itself():
    table = cells()
    one, again, other = (variability(table, "group", seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one, again)
    assert (one["within_low"] != other["within_low"]).any()
    assert (one["within"] == other["within"]).all()


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        (lambda t: t, {"label": "gene"}, UsageError, "no column 'Metadata_gene'"),
        (lambda t: t, {"unit": "group"}, UsageError, "cannot be told apart"),
        (lambda t: t, {"draws": 0}, UsageError, "0 draws"),
        (lambda t: t.assign(conv3_1_max_000=np.nan), {}, DataError, "cells lack a feature"),
        (lambda t: t.iloc[:, :3].assign(conv3_1_max_000=2.0), {}, DataError, "the same for every"),
    ],
)
def test_what_has_no_spread_is_refused(change, options, error, words):
    with pytest.raises(error, match=words):
        variability(change(cells()), **{"label": "group"} | options)
