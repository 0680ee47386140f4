"""Scores against right and wrong: scikit-learn and scipy, loops, and planted scores."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, precision_score, roc_auc_score

from attributome.core.bootstrap import group_weights
from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import benjamini_hochberg
from attributome.studies.correctness import NAMES, efficacy_and_correctness
from attributome.studies.roc import auroc, exchanged, permuted, point_biserial, weighted_median


def planted(seed=0, images=60, efficacy=2.0, probability=0.5, groups=("fog", "snow")):
    """Each image in every group; scores rise with correctness by so many standard deviations."""
    draw = np.random.default_rng(seed)
    rows = []
    for split, many in (("validate", images), ("test", images)):
        for image in range(many):
            for group in groups:
                right = int(draw.random() < 0.6)
                rows.append({
                    "unit": f"{split}{image}", "split": split, "corruption": group,
                    "severity": 1 + (group == "snow"), "correct": right,
                    "efficacy": round(draw.normal(efficacy * right), 2),
                    "probability": round(draw.normal(probability * right), 2),
                })  # fmt: skip
    return pd.DataFrame(rows)


def judge(table, **words):
    return efficacy_and_correctness(table, **{"unit": "unit", "draws": 200, **words})


@pytest.fixture(scope="module")
def found():
    return judge(planted(), groups=["corruption", "severity"])


def test_numbers_are_those_of_scipy_and_scikit_learn(found):
    table = planted()
    test = table[table["split"] == "test"]
    for row in found.scores[found.scores["scope"] != "within groups"].to_dict("records"):
        mine = test if row["scope"] == "all" else test[test["corruption"] == row["corruption"]]
        score, right = mine[row["score"]], mine["correct"]
        cut = {cut.score: cut for cut in found.cuts}[row["score"]]
        taken = score >= cut.threshold
        assert row["n"] == len(mine)
        assert row["right"] == right.sum()
        assert row["units"] == mine["unit"].nunique() == 60
        wanted = {
            "accuracy": right.mean(),
            "r": stats.pointbiserialr(right, score).statistic,
            "auroc": roc_auc_score(right, score),
            "median_right": score[right == 1].median(),
            "median_wrong": score[right == 0].median(),
            "balanced_accuracy": balanced_accuracy_score(right, taken),
            "precision": precision_score(right, taken),
            "coverage": taken.mean(),
        }
        assert {name: row[name] for name in NAMES} == pytest.approx(wanted, rel=1e-12)
        for name in NAMES:
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert found.scores["severity"].tolist()[2:6] == [1, 1, 2, 2]


def test_the_mean_within_groups_is_that_of_the_groups(found):
    for name in ("efficacy", "probability"):
        mine = found.scores[found.scores["score"] == name].set_index("scope")
        wanted = mine.loc["group", "auroc"].mean()  # of equally many images
        assert mine.loc["within groups", "auroc"] == pytest.approx(wanted)
        assert np.isnan(mine.loc["within groups", "p"])


def test_draws_of_units_are_rows_repeated(found):
    table = planted()
    test = table[table["split"] == "test"].sort_values("corruption", kind="stable")
    index, again = group_weights(test["unit"].to_numpy(), draws=200, seed=0)
    values, right = test["efficacy"].to_numpy(), test["correct"].to_numpy()
    weights = again[:, index]
    for number, one in enumerate(weights[:20]):
        rows = np.repeat(np.arange(len(test)), one)
        score, label = values[rows], right[rows]
        assert auroc(values, right, weights)[number] == pytest.approx(roc_auc_score(label, score))
        r = np.corrcoef(score, label)[0, 1]
        assert point_biserial(values, right * 1.0, weights)[number] == pytest.approx(r)
        middle = np.median(score[label == 1])
        assert weighted_median(values, weights * (right > 0))[number] == pytest.approx(middle)
    ends = np.quantile(auroc(values, right, weights), [0.025, 0.975])
    row = found.scores.iloc[0]
    assert (row["auroc_low"], row["auroc_high"]) == pytest.approx(tuple(ends))


@pytest.mark.parametrize("seed", range(5))
def test_the_cut_is_the_best_of_all_observed_values(seed):
    table = planted(seed, images=15, efficacy=0.7)
    cuts = judge(table, draws=1).cuts
    chosen = table[table["split"] == "validate"]
    for cut in cuts:
        tried = {
            value: balanced_accuracy_score(chosen["correct"], chosen[cut.score] >= value)
            for value in sorted(chosen[cut.score].unique())
        }
        best = max(tried.values())
        assert cut.balanced_accuracy == pytest.approx(best)
        assert cut.threshold == min(v for v, got in tried.items() if got >= best - 1e-12)
        assert (cut.n, cut.right) == (len(chosen), chosen["correct"].sum())


def test_the_cut_never_sees_the_test_images():
    table = planted()
    other = table.assign(
        correct=np.where(table["split"] == "test", 1 - table["correct"], table["correct"])
    )
    assert judge(table, draws=1).cuts == judge(other, draws=1).cuts


def test_a_score_that_knows_beats_one_that_does_not(found):
    row = found.scores.iloc[0]
    assert (row["scope"], row["score"]) == ("all", "efficacy")
    assert row["auroc"] > 0.85
    assert row["auroc_low"] > 0.7
    assert row["p"] == pytest.approx(1 / 201)
    assert (found.scores.loc[found.scores["scope"] == "group", "q"].dropna() >= 1 / 201).all()
    gains = found.gains.set_index("scope")
    assert gains.loc["all", "difference"] > 0.1
    assert gains.loc["all", "low"] > 0
    assert gains.loc["all", "p"] < 0.05
    assert [*gains.index] == ["all", "group", "group", "within groups"]


def test_a_score_that_knows_the_groups_and_nothing_else():
    table = planted(1, images=80)
    easy = table["corruption"] == "fog"
    draw = np.random.default_rng(2)
    table["correct"] = (draw.random(len(table)) < np.where(easy, 0.9, 0.2)).astype(int)
    table["efficacy"] = easy + 0.01 * draw.normal(size=len(table))
    found = judge(table, groups=["corruption"]).scores
    mine = found[found["score"] == "efficacy"].set_index("scope")["auroc"]
    assert mine["all"] > 0.8
    assert abs(mine["within groups"] - 0.5) < 0.12


def test_q_is_over_groups_and_scores(found):
    groups = found.scores[found.scores["scope"] == "group"]
    np.testing.assert_allclose(groups["q"], benjamini_hochberg(groups["p"].to_numpy()))
    assert found.scores.loc[found.scores["scope"] != "group", "q"].isna().all()
    alone = judge(planted(), draws=50)
    np.testing.assert_allclose(alone.scores["q"], benjamini_hochberg(alone.scores["p"].to_numpy()))


def test_p_of_images_that_are_units_is_that_of_a_rank_test():
    table = planted(3, images=40, efficacy=0.6, groups=("fog",))
    test = table[table["split"] == "test"]
    right = test["correct"] == 1
    for name, row in judge(table, draws=4000).scores.set_index("score").iterrows():
        wanted = stats.mannwhitneyu(test[name][right], test[name][~right]).pvalue
        assert row["p"] == pytest.approx(wanted, abs=0.025)


def test_p_is_uniform_where_scores_know_nothing_though_units_repeat_themselves():
    """Each image ten times, almost the same: images as units would find something all the time."""
    found = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        image, alone = np.repeat(np.arange(12), 10), np.arange(120)
        one, other = (draw.normal(size=12)[image] + 0.1 * draw.normal(size=120) for _ in range(2))
        right = (draw.random(120) < draw.random(12)[image]).astype(float)
        rest = 99, seed, ("null",)
        found.append([
            *(permuted(one, right, units, *rest) for units in (image, alone)),
            *(exchanged(one, other, right, units, *rest) for units in (image, alone)),
        ])  # fmt: skip
    ours, rows, gains, row_gains = (np.array(found) <= 0.1).mean(0)
    assert ours <= 0.22  # 0.1 and three standard errors
    assert gains <= 0.22
    assert rows > 0.3
    assert row_gains > 0.3


def test_undefined_images_are_counted_and_left_out_for_every_score():
    table = planted()
    lost = (table["split"] == "test") & (table["unit"].isin(["test0", "test1"]))
    holed = table.assign(efficacy=table["efficacy"].where(~lost))
    found = judge(holed, groups=["corruption"])
    without = judge(table[~lost], groups=["corruption"])
    assert found.scores["undefined"].tolist() == [4, 4, 2, 2, 2, 2, 4, 4]
    same = found.scores.drop(columns="undefined")
    pd.testing.assert_frame_equal(same, without.scores.drop(columns="undefined"))


def test_a_group_without_a_mistake_has_no_auroc():
    table = planted()
    table.loc[(table["split"] == "test") & (table["corruption"] == "fog"), "correct"] = 1
    found = judge(table, groups=["corruption"]).scores
    fog = found[found["corruption"] == "fog"].iloc[0]
    for name in ("r", "auroc", "median_wrong", "balanced_accuracy"):
        assert np.isnan(fog[name])
        assert np.isnan(fog[f"{name}_low"])
    assert np.isnan(fog["p"])
    assert np.isnan(fog["q"])
    assert (fog["accuracy"], fog["precision"]) == (1, 1)
    snow = found[found["corruption"] == "snow"].iloc[0]
    within = found[(found["scope"] == "within groups")].iloc[0]
    assert within["auroc"] == pytest.approx(snow["auroc"])


def test_two_units_have_no_interval():
    table = planted(images=2, groups=tuple("abcdefgh"))
    row = judge(table).scores.iloc[0]
    assert np.isnan(row["auroc_low"])
    assert np.isfinite(row["auroc"])


def test_the_same_call_gives_the_same_and_the_order_of_rows_does_not_matter(found):
    table = planted().sample(frac=1, random_state=0)
    again = judge(table, groups=["corruption", "severity"])
    for name in ("n", "auroc", "auroc_low", "r_high", "coverage_low", "median_right"):
        np.testing.assert_allclose(again.scores[name], found.scores[name], rtol=1e-9)
    assert again.cuts == found.cuts
    once = judge(planted(), groups=["corruption", "severity"])
    pd.testing.assert_frame_equal(once.scores, found.scores)
    pd.testing.assert_frame_equal(once.gains, found.gains)


def test_without_baselines_there_is_no_gain():
    found = judge(planted(), baselines=())
    assert found.gains.empty
    assert len(found.scores) == 1


@pytest.mark.parametrize(
    ("change", "words", "error", "says"),
    [
        ({}, {"unit": "well"}, UsageError, "no column 'well'"),
        ({"correct": 0.5}, {}, DataError, "neither 0 .wrong. nor 1"),
        ({"efficacy": np.inf}, {}, DataError, "infinite"),
        ({"efficacy": "high"}, {}, DataError, "not numbers"),
        ({"efficacy": np.nan}, {}, DataError, "no image of the part 'test' has a value"),
        ({"correct": 1}, {}, DataError, "a threshold needs both"),
        ({"split": "test"}, {}, DataError, "no image is of the part 'validate'"),
        ({"unit": "u"}, {}, DataError, "'u' stands in the part 'validate' and in 'test'"),
        ({"corruption": None}, {"groups": ["corruption"]}, DataError, "240 rows have no"),
        ({}, {"draws": 0}, UsageError, "0 draws"),
        ({}, {"confidence": 1.0}, UsageError, "confidence 1.0"),
        ({}, {"baselines": ["efficacy"]}, UsageError, "name one twice"),
    ],
)
def test_what_cannot_be_judged_is_refused(change, words, error, says):
    with pytest.raises(error, match=says):
        judge(planted().assign(**change), **words)


def test_a_group_that_has_no_values_is_refused():
    table = planted()
    table["efficacy"] = table["efficacy"].where(table["corruption"] == "fog")
    with pytest.raises(DataError, match="no image of the group .*snow"):
        judge(table, groups=["corruption"])
