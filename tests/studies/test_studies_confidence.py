"""Scores of prediction quality: their order, their numbers, what trusting them gains, their map."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

from attributome.core.bootstrap import group_weights
from attributome.core.errors import DataError, UsageError
from attributome.studies.confidence import ErrorMap, fit_error_map, judge_confidence


def fields(random, n=60, wells=12, noise=0.1):
    error = random.uniform(0, 0.6, n)
    claimed = error + noise * random.standard_normal(n)
    well = [f"w{i % wells:02d}" for i in range(n)]
    return pd.DataFrame({"score": 1 - claimed, "claimed": claimed, "error": error, "well": well})


def judge(table, **more):
    return judge_confidence(table, unit="well", **({"draws": 200} | more))


def mean_risks(claimed, error):
    """By definition, averaged over every order of equal claims."""
    found = []
    for order in itertools.permutations(range(len(claimed))):
        ranked = [claimed[i] for i in order]
        if ranked == sorted(ranked):
            found.append([np.mean([error[i] for i in order[:k]]) for k in range(1, len(order) + 1)])
    return np.mean(found)


@pytest.mark.parametrize("rounded", [1, 8], ids=["ties", "no ties"])
def test_the_numbers_are_those_of_scipy_and_of_loops(random, rounded):
    table = fields(random)
    table["score"] = table["score"].round(rounded)
    claimed, error = 1 - table["score"], table["error"]
    row = judge(table).scores.iloc[0]
    assert row["spearman"] == pytest.approx(spearmanr(claimed, error)[0], abs=1e-12)
    assert row["bias"] == pytest.approx((error - claimed).mean(), abs=1e-12)
    assert (row["n"], row["undefined"], row["units"], row["scope"]) == (60, 0, 12, "all")


@pytest.mark.parametrize("claimed", [[0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.2, 0.2, 0.1, 0.4], [0] * 5])
def test_the_area_is_the_mean_over_every_order_of_equal_claims(claimed):
    error = [0.3, 0.05, 0.2, 0.6, 0.5]
    table = pd.DataFrame({"score": np.array(claimed, float), "error": error, "well": list("abcde")})
    row = judge(table, claims="error").scores.iloc[0]
    assert row["area"] == pytest.approx(mean_risks(claimed, error), abs=1e-12)
    assert row["oracle"] == pytest.approx(mean_risks(error, error), abs=1e-12)
    assert row["random"] == pytest.approx(np.mean(error), abs=1e-12)
    wanted = (row["random"] - row["area"]) / (row["random"] - row["oracle"])
    assert row["gain"] == pytest.approx(wanted, abs=1e-9)


def test_intervals_are_those_of_tables_whose_wells_are_drawn_again(random):
    """The weighted formulas equal scores of tables in which rows really stand several times."""
    table = fields(random, n=15, wells=5, noise=0.2)
    table["score"] = table["score"].round(1)
    row = judge(table, draws=40, bins=3).scores.iloc[0]
    index, again = group_weights(table["well"].to_numpy().astype(str), draws=40, seed=0)
    copies = [table.loc[np.repeat(table.index, w[index])] for w in again]
    told = [judge(copy, draws=1, bins=3).scores.iloc[0] for copy in copies]
    for name in ("spearman", "area", "random", "oracle", "gain", "bias"):
        values = [one[name] for one in told if not np.isnan(one[name])]
        ends = np.quantile(values, [0.025, 0.975])
        assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(ends, abs=1e-12), name


def test_perfect_reversed_and_blind_scores(random):
    table = fields(random, n=400, wells=40, noise=0.0)
    perfect = judge(table).scores.iloc[0]
    for name, wanted in (("spearman", 1), ("gain", 1), ("bias", 0), ("ece", 0)):
        assert perfect[name] == pytest.approx(wanted, abs=1e-12)
    assert judge(table, claims="error").scores["spearman"][0] == pytest.approx(-1)
    blind = judge(table.assign(score=random.uniform(0.4, 1, 400))).scores.iloc[0]
    assert abs(blind["spearman"]) < 0.2
    assert abs(blind["gain"]) < 0.2


def test_intervals_cover_and_know_that_fields_of_a_well_are_alike():
    """Wells of equal fields are worth no more than one field each."""
    hits, wide, narrow = 0, [], []
    for trial in range(60):
        random = np.random.default_rng(trial)
        error = random.standard_normal(40)
        score = -0.6 * error + 0.8 * random.standard_normal(40)
        one = pd.DataFrame({"score": score, "error": error, "well": range(40)})
        four = pd.concat([one] * 4, ignore_index=True)
        row = judge(four).scores.iloc[0]
        alone = judge(four.assign(well=range(160))).scores.iloc[0]
        hits += row["spearman_low"] <= 6 / np.pi * np.arcsin(0.3) <= row["spearman_high"]
        wide.append(row["spearman_high"] - row["spearman_low"])
        narrow.append(alone["spearman_high"] - alone["spearman_low"])
    assert 51 <= hits <= 60  # 95 % of 60 are 57
    assert np.mean(wide) / np.mean(narrow) == pytest.approx(2, rel=0.15)


def test_calibration_finds_a_shift_and_its_bins_hold_everybody(random):
    table = fields(random, n=300, wells=30, noise=0.02)
    found = judge(table.assign(score=table["score"] + 0.1), bins=5)
    row, bins = found.scores.iloc[0], found.calibration
    assert row["bias"] == pytest.approx(0.1, abs=0.01)
    assert row["ece"] == pytest.approx(0.1, abs=0.01)
    assert row["ece_noise"] < 0.01
    assert bins["n"].tolist() == [60] * 5
    assert (bins["low"] <= bins["error"]).all()
    assert (bins["error"] <= bins["high"]).all()
    assert (bins["from"].iloc[1:].to_numpy() > bins["to"].iloc[:-1].to_numpy()).all()
    gaps = np.abs(bins["error"] - bins["claimed"])
    assert row["ece"] == pytest.approx((gaps * bins["n"]).sum() / 300, abs=1e-12)


def test_the_calibration_error_of_a_calibrated_score_is_what_chance_gives():
    ratio = []
    for trial in range(30):
        random = np.random.default_rng(trial)
        claimed = random.uniform(0.1, 0.5, 80)
        error = claimed + random.uniform(-0.1, 0.1, 80)
        table = pd.DataFrame({"score": claimed, "error": error, "well": range(80)})
        row = judge(table, claims="error").scores.iloc[0]
        ratio.append(row["ece"] / row["ece_noise"])
    assert np.mean(ratio) == pytest.approx(1, abs=0.2)


def test_equal_claims_share_a_bin(random):
    table = fields(random).assign(score=0.5)
    found = judge(table)
    assert found.calibration["n"].tolist() == [60]
    row = found.scores.iloc[0]
    assert np.isnan([row["spearman"], row["spearman_low"], row["spearman_high"]]).all()
    assert row["gain"] == pytest.approx(0, abs=1e-12)


def test_the_curve_ends_at_the_mean_error_and_lies_between_oracle_and_random(random):
    table = fields(random, noise=0.05)
    curve = judge(table, points=60).coverage
    error = table["error"].to_numpy()
    assert curve["risk"].iloc[-1] == pytest.approx(error.mean())
    assert curve["oracle"].to_numpy() == pytest.approx(np.cumsum(np.sort(error)) / range(1, 61))
    assert (curve["risk"] >= curve["oracle"] - 1e-12).all()
    assert (curve["low"] <= curve["high"]).all()
    assert (curve["random"] == error.mean()).all()
    ranked = error[np.argsort(table["claimed"].to_numpy())]
    assert curve["risk"].to_numpy() == pytest.approx(np.cumsum(ranked) / range(1, 61))
    assert curve["risk"].mean() == pytest.approx(judge(table).scores["area"][0])


def test_a_score_that_knows_only_the_organelle_is_found_out(random):
    error = np.concatenate([random.uniform(0, 0.2, 60), random.uniform(0.5, 0.7, 60)])
    claimed = np.repeat([0.1, 0.6], 60) + 0.01 * random.standard_normal(120)
    table = pd.DataFrame({"score": claimed, "error": error, "well": np.arange(120) // 2})
    table["organelle"] = np.repeat(["actin", "nuclei"], 60)
    rows = judge(table, claims="error", by="organelle").scores.set_index(["scope", "group"])
    assert rows.loc[("all", ""), "spearman"] > 0.6
    within = rows.loc[("within groups", "")]
    assert within["spearman_low"] < 0 < within["spearman_high"]
    groups = rows.loc["group"]
    assert within["spearman"] == pytest.approx(groups["spearman"].mean())
    assert groups["n"].tolist() == [60, 60]


def test_undefined_rows_are_counted_and_do_not_count(random):
    table = fields(random)
    more = pd.concat([table, table.iloc[:3].assign(score=np.nan)], ignore_index=True)
    found, wanted = judge(more).scores.iloc[0], judge(table).scores.iloc[0]
    assert (found["n"], found["undefined"]) == (60, 3)
    names = [name for name in wanted.index if name not in ("undefined", "scope", "group")]
    assert found[names].tolist() == wanted[names].tolist()


def test_two_wells_have_no_interval(random):
    found = judge(fields(random, wells=2))
    row = found.scores.iloc[0]
    assert row["spearman"] > 0.5
    assert np.isnan([row["spearman_low"], row["gain_high"], row["ece_noise"]]).all()
    assert found.coverage["low"].isna().all()
    assert found.calibration["high"].isna().all()


def test_many_rows_are_drawn_in_parts_with_the_same_numbers(random, monkeypatch):
    table = fields(random)
    whole = judge(table)
    monkeypatch.setattr("attributome.studies.confidence.BLOCK", 700)
    parts = judge(table)
    pd.testing.assert_frame_equal(parts.scores, whole.scores)
    pd.testing.assert_frame_equal(parts.coverage, whole.coverage)


@pytest.mark.parametrize(
    ("change", "more", "kind", "message"),
    [
        ({}, {"score": "nothing"}, UsageError, "no column 'nothing' among"),
        ({}, {"claims": "both"}, UsageError, "claims quality or error, not 'both'"),
        ({}, {"bins": 0}, UsageError, "0 bins"),
        ({}, {"confidence": 1.0}, UsageError, "confidence 1.0"),
        ({"well": None}, {}, DataError, "60 rows have no 'well'"),
        ({"score": np.nan}, {}, DataError, "nothing to judge"),
        ({"error": np.inf}, {}, DataError, "infinite"),
        ({"score": "high"}, {}, DataError, "no numbers"),
    ],
)
def test_bad_input_is_refused(random, change, more, kind, message):
    with pytest.raises(kind, match=message):
        judge(fields(random).assign(**change), **more)


def test_a_table_without_rows_is_refused(random):
    with pytest.raises(DataError, match="without rows"):
        judge(fields(random).iloc[:0])


def measured(random, n=60):
    efficacy = random.uniform(0, 1, n)
    error = 0.8 * (1 - efficacy) ** 2 + 0.05 * random.standard_normal(n)
    split = np.where(np.arange(n) % 12 < 6, "validate", "test")
    well = [f"w{i % 12}" for i in range(n)]
    return pd.DataFrame({"efficacy": efficacy, "error": error, "split": split, "well": well})


def test_the_map_is_fitted_on_validation_fields_and_on_nothing_else(random):
    table = measured(random)
    found = fit_error_map(table, unit="well")
    mine = table["split"] == "validate"
    other = fit_error_map(table.assign(error=table["error"].where(mine, 0.9)), unit="well")
    assert found == other
    assert (found.n, found.units, found.undefined, found.falls) == (30, 6, 0, True)
    reference = IsotonicRegression(increasing=False, out_of_bounds="clip")
    reference.fit(table["efficacy"][mine], table["error"][mine])
    at = np.linspace(-0.5, 1.5, 41)
    assert found.claims(at) == pytest.approx(reference.predict(at))
    assert (np.diff(found.claims(at)) <= 0).all()


def test_its_claims_are_calibrated_on_test_fields(random):
    table = measured(random, n=600)
    found = fit_error_map(table, unit="well")
    test = table[table["split"] == "test"]
    test = test.assign(claimed=found.claims(test["efficacy"].to_numpy()))
    row = judge(test, score="claimed", claims="error").scores.iloc[0]
    assert row["spearman"] > 0.9
    assert row["ece"] < 0.02


def test_an_undefined_efficacy_has_no_claim_and_trains_nothing(random):
    table = measured(random)
    hole = table.assign(efficacy=table["efficacy"].mask(table.index == 0))
    found = fit_error_map(hole, unit="well")
    assert found.undefined == 1
    assert found == ErrorMap(**(fit_error_map(table.drop(index=0), unit="well").to_dict())
                             | {"undefined": 1})  # fmt: skip
    assert np.isnan(found.claims(np.array([np.nan, 0.5]))).tolist() == [True, False]


@pytest.mark.parametrize(("direction", "falls"), [("rises", False), ("either", False)])
def test_errors_may_rise(random, direction, falls):
    table = measured(random)
    found = fit_error_map(table.assign(error=-table["error"]), unit="well", direction=direction)
    assert found.falls is falls
    assert (np.diff(found.errors) >= 0).all()


@pytest.mark.parametrize(
    ("change", "more", "kind", "message"),
    [
        ({}, {"direction": "up"}, UsageError, "direction 'up'"),
        ({}, {"of": "calibrate"}, DataError, "0 fields of the part 'calibrate'"),
        ({"efficacy": 0.5}, {}, DataError, "not two of them differ"),
        ({"well": "a"}, {}, DataError, "well 'a' stands in the part 'validate' and in another"),
    ],
)
def test_no_map_from_what_cannot_make_one(random, change, more, kind, message):
    with pytest.raises(kind, match=message):
        fit_error_map(measured(random).assign(**change), unit="well", **more)
