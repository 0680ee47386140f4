"""Overlaps are counts, changes are of wells on their plate, and agreement is judged by chance."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from attributome.core.errors import DataError, UsageError
from attributome.studies.groups import compare_groups
from attributome.studies.perturbations import change_agreement, changes, overlap, overlaps

EFFECTS = {"brefeldin": 3.0, "paclitaxol": 1.5, "rapamycin": 0.0, "staurosporine": -2.0}


def fields(predictors=("er", "golgi"), seed=0, plates=3):
    """Drugs move the masks of every predictor alike; efficacy falls where masks grow."""
    draw = np.random.default_rng(seed)
    rows = []
    for predictor in predictors:
        for plate in range(plates):
            level = 4 * draw.standard_normal()
            for drug in [*EFFECTS, "vehicle"]:
                for well in range(3):
                    moved = level + EFFECTS.get(drug, 0.0) + 0.5 * draw.standard_normal()
                    for _ in range(2):
                        rows.append(
                            {
                                "predictor": predictor,
                                "plate": plate,
                                "well": f"{drug}{well}",
                                "drug": drug,
                                "size": moved + 0.1 * draw.standard_normal(),
                                "efficacy": -moved + 0.1 * draw.standard_normal(),
                            }
                        )
    return pd.DataFrame(rows)


KEYS = {"by": "drug", "control": "vehicle", "unit": ["plate", "well"], "block": "plate"}


def test_overlap_counts_voxels():
    a, b = np.zeros((2, 10, 10), bool), np.zeros((2, 10, 10), bool)
    a[:, :5, :], b[:, 3:6, :] = True, True  # 100 and 60 of 200, 40 in both
    found = overlap(a, b)
    assert (found["size_first"], found["size_second"]) == pytest.approx((0.5, 0.3))
    assert found["iou"] == pytest.approx(40 / 120)
    assert found["dice"] == pytest.approx(80 / 160)
    assert found["of_first"] == pytest.approx(0.4)
    assert found["of_second"] == pytest.approx(40 / 60)
    assert found["iou_chance"] == pytest.approx(0.15 / 0.65)
    assert overlap(a, a)["iou"] == overlap(a, a)["dice"] == 1.0
    empty = overlap(np.zeros_like(a), np.zeros_like(a))
    assert np.isnan([empty[key] for key in ("iou", "dice", "of_first", "iou_chance")]).all()


def test_masks_that_know_nothing_of_each_other_overlap_by_chance():
    a, b = (np.random.default_rng(s).random((200, 200)) < q for s, q in ((0, 0.3), (1, 0.6)))
    found = overlap(a, b)
    assert found["iou"] == pytest.approx(found["iou_chance"], abs=0.01)


def test_overlaps_are_by_field():
    draw = np.random.default_rng(0)
    first, second = ({name: draw.random((6, 6)) < 0.5 for name in "abc"} for _ in range(2))
    found = overlaps(first, second)
    assert found["field"].tolist() == ["a", "b", "c"]
    assert found["iou"][1] == overlap(first["b"], second["b"])["iou"]


def test_changes_are_those_of_the_groups_of_each_predictor():
    table = fields()
    found = changes(table, ["size", "efficacy"], draws=200, **KEYS)
    assert len(found) == 2 * 2 * 4
    one = found[(found["predictor"] == "golgi") & (found["value"] == "size")]
    alone = compare_groups(table[table["predictor"] == "golgi"], "size", draws=200, **KEYS).pairs
    assert one["first"].tolist() == [*EFFECTS]
    np.testing.assert_allclose(one["difference"], alone["difference"])
    np.testing.assert_allclose(one["difference"], [*EFFECTS.values()], atol=0.6)
    assert (found["holm"] >= found["p"]).all()
    np.testing.assert_allclose(found["q"], stats.false_discovery_control(found["p"]))
    assert (found["n1"] == 9).all()


def test_predictors_that_move_alike_agree():
    found = changes(fields(("er", "golgi", "actin")), ["size", "efficacy"], draws=20, **KEYS)
    size = found[found["value"] == "size"]
    agreed = change_agreement(size)
    assert agreed[["first", "second"]].values.tolist() == [
        ["actin", "er"],
        ["actin", "golgi"],
        ["er", "golgi"],
    ]
    assert (agreed["n"] == 4).all()
    assert (agreed["rank"] > 0.7).all()
    assert (agreed["same_sign"] >= 0.75).all()
    er = found[found["predictor"] == "er"]
    within = change_agreement(er, between="value")
    assert within["rank"].item() == pytest.approx(-1.0)
    assert within["same_sign"].item() <= 0.25
    assert within[["low", "high"]].isna().all(axis=None)


def test_rank_and_its_p_are_those_of_scipy():
    draw = np.random.default_rng(3)
    x = draw.standard_normal(12)
    effects = {"a": x, "b": x + draw.standard_normal(12)}
    table = pd.DataFrame(
        [
            {"predictor": name, "first": f"drug {i}", "hedges_g": value}
            for name, values in effects.items()
            for i, value in enumerate(values)
        ]
    )
    table.loc[len(table)] = {"predictor": "a", "first": "drug 12", "hedges_g": 1.0}
    found = change_agreement(table, draws=4000).iloc[0]
    expected = stats.spearmanr(*effects.values())
    assert found["rank"] == pytest.approx(expected.statistic)
    assert found["p"] == pytest.approx(expected.pvalue, abs=0.01)
    reach = stats.norm.ppf(0.975) * np.sqrt((1 + found["rank"] ** 2 / 2) / 9)
    middle = np.arctanh(found["rank"])
    assert [found["low"], found["high"]] == pytest.approx(np.tanh([middle - reach, middle + reach]))
    mirrored = table.assign(hedges_g=table["hedges_g"] * np.where(table["predictor"] == "a", 1, -1))
    turned = change_agreement(mirrored, draws=4000).iloc[0]
    assert turned["rank"] == pytest.approx(-found["rank"])
    assert turned["p"] == pytest.approx(found["p"])
    assert (found["n"], found["undefined"]) == (12, 1)


def test_agreement_by_chance_is_not_believed_too_often():
    p = []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        table = pd.DataFrame(
            {
                "predictor": np.repeat(["a", "b"], 6),
                "first": np.tile(np.arange(6), 2),
                "hedges_g": draw.standard_normal(12),
            }
        )
        p.append(change_agreement(table, draws=99, seed=seed)["p"].item())
    assert np.mean(np.array(p) <= 0.1) <= 0.1 + 2.6 * np.sqrt(0.09 / 200)


def test_two_treatments_have_no_rank():
    table = pd.DataFrame(
        {"predictor": [*"aabb"], "first": [0, 1, 0, 1], "hedges_g": [1.0, 2.0, 1.0, -1.0]}
    )
    found = change_agreement(table).iloc[0]
    assert np.isnan(found[["rank", "low", "high", "p", "holm", "q"]].to_numpy(float)).all()
    assert found["same_sign"] == 0.5


def test_what_cannot_be_meant_is_refused():
    table = fields()
    with pytest.raises(DataError, match="not of one field"):
        overlap(np.ones((2, 2), bool), np.ones((2, 3), bool))
    with pytest.raises(DataError, match="2 fields have one mask and not the other, such as 'a'"):
        overlaps({"a": np.ones((2, 2), bool)}, {"b": np.ones((2, 2), bool)})
    with pytest.raises(UsageError, match="need a column 'organelle'"):
        changes(table, ["size"], predictor="organelle", **KEYS)
    with pytest.raises(UsageError, match="one or more values"):
        changes(table, [], **KEYS)
    with pytest.raises(DataError, match="no group beside 'vehicle'"):
        changes(table[table["drug"] == "vehicle"], ["size"], **KEYS)
    found = changes(table, ["size", "efficacy"], draws=20, **KEYS)
    with pytest.raises(DataError, match="choose one value"):
        change_agreement(found)
    with pytest.raises(DataError, match="agrees with nobody"):
        change_agreement(found[(found["predictor"] == "er") & (found["value"] == "size")])
    with pytest.raises(UsageError, match="no column 'fold_change'"):
        change_agreement(found, effect="fold_change")
    with pytest.raises(UsageError, match="0 draws"):
        change_agreement(found[found["value"] == "size"], draws=0)
