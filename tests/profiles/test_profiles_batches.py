"""A planted batch is found in profiles and its removal seen; replicates stand out."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_score

from attributome.core.errors import DataError, UsageError
from attributome.profiles.wells.batches import batch_predictability, replicability, silhouettes


def wells(batch=0.0, treatment=0.0, plates=4, treatments=12, features=8, seed=0):
    draw = np.random.default_rng(seed)
    plate = np.arange(plates).repeat(treatments)
    kind = np.tile(np.arange(treatments), plates)
    x = draw.standard_normal((len(plate), features))
    x += batch * draw.standard_normal((plates, features))[plate]
    x += treatment * draw.standard_normal((treatments, features))[kind]
    table = pd.DataFrame(
        {
            "Metadata_plate": [f"p{i}" for i in plate],
            "Metadata_treatment": [f"t{i:02d}" for i in kind],
            "Metadata_well": [f"p{p}/w{w}" for p, w in zip(plate, kind, strict=True)],
        }
    )
    return table, x


def test_a_planted_batch_is_predicted_and_noise_is_not():
    for strength, above in ((3.0, True), (0.0, False)):
        table, x = wells(batch=strength)
        found = batch_predictability(
            x, table["Metadata_plate"].to_numpy(), table["Metadata_well"].to_numpy(), k=5, draws=100
        )
        assert found["protocol"].tolist() == ["leave well out", "well folds", "linear, well folds"]
        assert (found["chance"] == 0.25).all()
        assert (found["units"] == 48).all()
        assert (found["low"] > 0.6).all() if above else (found["low"] < 0.25).all()
    with pytest.raises(DataError, match="well 'w' is in several batches"):
        batch_predictability(x, table["Metadata_plate"].to_numpy(), np.full(48, "w"))


def test_copies_of_a_well_do_not_tell_its_batch():
    """Rows of one well are alike; judged by other wells they are at chance."""
    table, x = wells()
    x, table = x.repeat(3, 0), table.loc[table.index.repeat(3)]
    found = batch_predictability(
        x, table["Metadata_plate"].to_numpy(), table["Metadata_well"].to_numpy(), k=2, draws=100
    )
    assert (found["balanced"] < 0.45).all()


@pytest.mark.parametrize("similarity", ["correlation", "cosine"])
def test_replicates_are_medians_of_pairs_and_stand_out(similarity):
    table, x = wells(treatment=2.0)
    found = replicability(table, x, similarity=similarity, draws=300)
    z = x - x.mean(1, keepdims=True) if similarity == "correlation" else x
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    for i in range(12):
        own = z[i::12]
        wanted = np.median((own @ own.T)[np.triu_indices(4, 1)])
        assert found["median"][i] == pytest.approx(wanted, abs=1e-12)
    assert (found["n"] == 4).all()
    assert (found["q"] < 0.05).mean() > 0.7
    assert found["null_median"].abs().max() < 0.2
    assert (found["median"] > found["null_95"]).mean() > 0.7
    noise = replicability(*wells(treatments=60), similarity=similarity, draws=300)
    assert (noise["p"] < 0.05).mean() < 0.12
    assert 0.4 < noise["p"].mean() < 0.6
    assert (noise["q"] >= noise["p"]).all()


def test_groups_of_one_row_have_no_replicates():
    table, x = wells(treatment=1.0)
    table.loc[0, "Metadata_treatment"] = "single"
    found = replicability(table, x, draws=50)
    assert "single" not in found["Metadata_treatment"].tolist()
    assert found["n"].tolist() == [3] + [4] * 11
    with pytest.raises(DataError, match="none of 48 groups"):
        replicability(table, x, ["Metadata_well"])
    with pytest.raises(DataError, match="48 rows, more than the 1 groups"):
        replicability(table.assign(one=1), x, ["one"])
    with pytest.raises(UsageError, match="no column 'drug'"):
        replicability(table, x, ["drug"])
    with pytest.raises(UsageError, match="no similarity 'euclidean'"):
        replicability(table, x, similarity="euclidean")
    with pytest.raises(UsageError, match="0 draws"):
        replicability(table, x, draws=0)
    with pytest.raises(DataError, match="47 profiles"):
        replicability(table, x[1:])
    x[0, 0] = np.nan
    with pytest.raises(DataError, match="undefined features"):
        replicability(table, x)


def test_silhouettes_are_those_of_scikit_learn_and_say_what_is_chance():
    table, x = wells(batch=3.0, treatment=1.0)
    labels = {name: table[f"Metadata_{name}"].to_numpy() for name in ("plate", "treatment")}
    found = silhouettes(x, labels).set_index("label")
    for name, of in labels.items():
        wanted = silhouette_score(x, of, metric="cosine")
        assert found.loc[name, "silhouette"] == pytest.approx(wanted, abs=1e-9)
        assert found.loc[name, "low"] < wanted < found.loc[name, "high"]
        assert found.loc[name, "chance"] < 0
    assert found.loc["plate", "low"] > 0.2 > 0 > found.loc["treatment", "silhouette"]
    assert found["groups"].tolist() == [4, 12]
    drawn = silhouettes(x, labels, units=labels["plate"])
    assert (drawn["high"] - drawn["low"])[0] > 0
    assert silhouettes(x, labels, units=np.arange(48) % 2)["low"].isna().all()


def test_silhouettes_that_cannot_be_are_refused():
    table, x = wells()
    with pytest.raises(DataError, match="'well' makes 48 groups of 48"):
        silhouettes(x, {"well": table["Metadata_well"].to_numpy()})
    with pytest.raises(DataError, match="48 profiles came with 47 'plate'"):
        silhouettes(x, {"plate": table["Metadata_plate"].to_numpy()[1:]})
    with pytest.raises(UsageError, match="0 permutations"):
        silhouettes(x, {}, permutations=0)
    x[0, 0] = np.nan
    with pytest.raises(DataError, match="undefined"):
        silhouettes(x, {})
