"""Means over blocks are those of pandas over everything, and each step weighs its units alike."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.profiles.proteins.averages import average, sums_of

FEATURES = ["conv3_1_max_000", "conv3_1_max_001", "conv3_1_masked_max_000"]


def cells(n=200, seed=0, lost=0.1):
    """Cells of proteins with several antibodies, those with several fields, of unlike numbers."""
    draw = np.random.default_rng(seed)
    protein = draw.choice(["B", "A", "C"], n, p=[0.6, 0.3, 0.1])
    antibody = np.array([f"{p}{draw.integers(3)}" for p in protein])
    field = np.array([f"{a}_{draw.integers(1 + int(a[1]))}" for a in antibody])  # 1, 2 or 3
    table = pd.DataFrame(
        {
            "Metadata_id": [f"cell {i}" for i in range(n)],
            "Metadata_protein": protein,
            "Metadata_antibody": antibody,
            "Metadata_field": field,
        }
    )
    features = draw.standard_normal((n, 3)).astype(np.float32) + 5
    features[draw.random(n) < lost, 2] = np.nan
    return pd.concat([table, pd.DataFrame(features, columns=FEATURES)], axis=1)


def blocks(table, size):
    return [table.iloc[i : i + size].reset_index(drop=True) for i in range(0, len(table), size)]


def oracle(table, by, through):
    names = [f"Metadata_{name}" for name in (by, *reversed(through))]
    wide = table.astype(dict.fromkeys(FEATURES, float))
    means = wide.groupby(names)[FEATURES].mean()
    for depth in range(len(through), 0, -1):
        means = means.groupby(level=list(range(depth))).mean()
    return means


@pytest.mark.parametrize("size", [1, 7, 200])
@pytest.mark.parametrize("through", [(), ("field",), ("field", "antibody"), ("antibody",)])
def test_means_are_those_of_pandas_however_the_cells_come(through, size):
    table = cells()
    found = average(blocks(table, size), "protein", through=through)
    wanted = oracle(table, "protein", through)
    assert list(found["Metadata_protein"]) == ["A", "B", "C"]
    np.testing.assert_allclose(found[FEATURES], wanted.to_numpy(), rtol=1e-12)
    grouped = table.groupby("Metadata_protein")
    assert list(found["Metadata_cells"]) == list(grouped.size())
    assert list(found["Metadata_fields"]) == list(grouped["Metadata_field"].nunique())
    lost = table[FEATURES].isna().any(axis=1).groupby(table["Metadata_protein"]).sum()
    assert list(found["Metadata_undefined"]) == list(lost)
    outer = f"Metadata_{through[-1]}" if through else "Metadata_id"
    assert list(found["Metadata_units"]) == list(grouped[outer].nunique())


def test_a_crowded_field_decides_only_where_cells_weigh_alike():
    table = cells(11, lost=0).assign(Metadata_protein="A")
    table["Metadata_field"] = ["crowded"] * 10 + ["alone"]
    table[FEATURES] = np.array([[0.0]] * 10 + [[1.0]]) + np.zeros(3)
    assert average([table], "protein")[FEATURES[0]].item() == pytest.approx(1 / 11)
    assert average([table], "protein", through=["field"])[FEATURES[0]].item() == 0.5


def test_two_labels_of_one_field_are_two_units():
    table = cells(4, lost=0).assign(Metadata_field="f", Metadata_protein=["A", "A", "B", "B"])
    found = average([table], "protein", through=["field"])
    wanted = table.astype(dict.fromkeys(FEATURES, float)).groupby("Metadata_protein")[FEATURES]
    np.testing.assert_allclose(found[FEATURES], wanted.mean().to_numpy(), rtol=1e-12)


def test_what_is_defined_nowhere_stays_undefined_and_is_counted():
    table = cells(lost=0)
    table.loc[table["Metadata_protein"] == "C", FEATURES[2]] = np.nan
    for through in ((), ("field",)):
        found = average([table], "protein", through=through)
        assert list(found[FEATURES[2]].isna()) == [False, False, True]
        assert found["Metadata_undefined"].tolist() == [0, 0, found["Metadata_cells"][2]]
        assert found[FEATURES[:2]].notna().all(axis=None)


def test_sums_of_complete_cells_leave_the_others_out():
    table = cells(60)
    whole = table[table[FEATURES].notna().all(axis=1)]
    found = sums_of(blocks(table, 9), ["protein", "field"], squares=True, complete=True)
    groups = whole.astype(dict.fromkeys(FEATURES, float)).groupby(
        ["Metadata_protein", "Metadata_field"]
    )[FEATURES]
    for i, key in enumerate(found.keys):
        if key in groups.groups:
            np.testing.assert_allclose(found.total[i], groups.get_group(key).sum())
            np.testing.assert_allclose(found.squares[i], (groups.get_group(key) ** 2).sum())
            assert (found.count[i] == len(groups.get_group(key))).all()
        else:
            assert not found.count[i].any()
    assert found.cells.sum() == 60
    assert found.undefined.sum() == 60 - len(whole)
    np.testing.assert_allclose(found.least, whole[FEATURES].min())
    np.testing.assert_allclose(found.most, whole[FEATURES].max())


@pytest.mark.parametrize(
    ("change", "by", "through", "error", "words"),
    [
        (lambda t: t, "gene", (), UsageError, "no column 'Metadata_gene'; there is Metadata_id"),
        (lambda t: t, "protein", ("plate",), UsageError, "no column 'Metadata_plate'"),
        (lambda t: t, "protein", ("protein",), UsageError, "name one column twice"),
        (
            lambda t: t.assign(Metadata_protein=None),
            "protein",
            (),
            DataError,
            "20 cells of a block have no Metadata_protein",
        ),
        (lambda t: t.assign(conv3_1_max_000=np.inf), "protein", (), DataError, "infinite"),
        (lambda t: t.iloc[:0], "protein", (), DataError, "no cells"),
        (
            lambda t: t.assign(Metadata_protein=[1] + ["B"] * 19),
            "protein",
            (),
            DataError,
            "of several types",
        ),
    ],
)
def test_what_cannot_be_averaged_is_refused(change, by, through, error, words):
    with pytest.raises(error, match=words):
        average([change(cells(20))], by, through=through)


def test_blocks_of_other_features_are_refused():
    table = cells(20)
    with pytest.raises(DataError, match="not the 3 of the first"):
        average([table, table.drop(columns=FEATURES[0])], "protein")
