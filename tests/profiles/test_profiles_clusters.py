"""Trees, cuts and orders are those of scipy, and planted families are found and counted."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import adjusted_rand_score, silhouette_score

from attributome.core.errors import DataError, UsageError
from attributome.profiles.proteins.clusters import cluster


def averages(families=4, members=6, f=20, spread=0.2, seed=0):
    """Profiles of families; features lie far from 0 and are of very unlike size."""
    draw = np.random.default_rng(seed)
    middles = draw.standard_normal((families, f))
    of = np.arange(families * members) % families
    x = middles[of] + spread * draw.standard_normal((len(of), f))
    x = 50 + x * 10.0 ** np.linspace(-2, 1, f)
    names = [f"P{i:02d}" for i in draw.permutation(len(of))]
    table = pd.DataFrame(x, columns=[f"conv3_1_max_{i:03d}" for i in range(f)])
    table.insert(0, "Metadata_cells", 10)
    table.insert(0, "Metadata_group", names)
    return table, dict(zip(names, of.tolist(), strict=True))


def scaled(table):
    x = table.sort_values("Metadata_group").iloc[:, 2:].to_numpy()
    return (x - x.mean(0)) / x.std(0)


@pytest.mark.parametrize(("metric", "method"), [("correlation", "average"), ("euclidean", "ward")])
def test_planted_families_are_found_and_counted(metric, method):
    table, truth = averages()
    found = cluster(table, "group", metric=metric, method=method)
    assert found.labels == tuple(sorted(truth))
    assert found.chosen == "silhouette"
    assert max(found.clusters.values()) == 4
    wanted = [truth[label] for label in found.labels]
    assert adjusted_rand_score(wanted, [*found.clusters.values()]) == 1
    near = pdist(scaled(table), metric)
    np.testing.assert_allclose(found.distances, squareform(near), atol=1e-12)
    np.testing.assert_allclose(found.merges[:, 2], linkage(near, method)[:, 2])
    for k, silhouette in found.silhouettes.items():
        by = fcluster(linkage(near, method), k, "maxclust")
        slow = silhouette_score(found.distances, by, metric="precomputed")
        assert silhouette == pytest.approx(slow)


@pytest.mark.parametrize("count", [1, 2, 5, 11, 24])
def test_cuts_are_those_of_scipy_and_are_counted_along_the_leaves(count):
    table, _ = averages(spread=2)
    found = cluster(table, "group", count=count)
    wanted = fcluster(linkage(pdist(scaled(table), "correlation"), "average"), count, "maxclust")
    numbers = np.array([found.clusters[label] for label in found.labels])
    assert adjusted_rand_score(wanted, numbers) == 1
    along = numbers[found.order]
    assert along[0] == 1
    assert set(np.diff(along)) <= {0, 1}
    assert along[-1] == count
    assert found.chosen == "asked"


def test_leaves_lie_beside_near_ones():
    table, _ = averages(spread=2)
    found = cluster(table, "group")
    plain = linkage(pdist(scaled(table), "correlation"), "average")

    def walk(order):
        return sum(found.distances[a, b] for a, b in pairwise(order))

    assert walk(found.order) < walk(leaves_list(plain))
    assert sorted(found.order) == list(range(24))


def test_the_order_of_rows_changes_nothing():
    table, _ = averages(spread=2)
    one, other = cluster(table, "group"), cluster(table.sample(frac=1, random_state=1), "group")
    assert one.labels == other.labels
    assert one.clusters == other.clusters
    np.testing.assert_array_equal(one.merges, other.merges)


def test_without_scaling_features_that_are_large_for_all_make_all_alike():
    table, _ = averages()
    table.iloc[:, 2:] += 1e4 * np.arange(20)
    found = cluster(table, "group", scale=False, count=4)
    assert found.distances.max() < 1e-4
    assert cluster(table, "group").distances.max() > 1


def test_constant_features_are_dropped_and_counted():
    table, _ = averages()
    again = cluster(table.assign(conv3_1_max_100=3.0), "group")
    assert again.constant == 1
    np.testing.assert_array_equal(again.distances, cluster(table, "group").distances)


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        (lambda t: t, {"label": "gene"}, UsageError, "no column 'Metadata_gene'"),
        (lambda t: t, {"count": 25}, UsageError, "from 1 to 24"),
        (lambda t: t, {"method": "ward"}, UsageError, "for euclidean"),
        (lambda t: t.iloc[:2], {}, DataError, "2 labels"),
        (lambda t: t.assign(Metadata_group="A"), {}, DataError, "'A', 'A', 'A' and 20 more has"),
        (lambda t: t.assign(conv3_1_max_003=np.nan), {}, DataError, "not finite"),
        (lambda t: t.assign(**dict.fromkeys(t.columns[2:], 1.0)), {}, DataError, "the same for"),
    ],
)
def test_what_has_no_tree_is_refused(change, options, error, words):
    with pytest.raises(error, match=words):
        cluster(change(averages()[0]), **{"label": "group"} | options)


def test_twins_and_flat_profiles_are_named():
    table, _ = averages()
    table.loc[0, "Metadata_group"], table.loc[1, "Metadata_group"] = "TWIN1", "TWIN2"
    table.iloc[1, 2:] = table.iloc[0, 2:]
    with pytest.raises(DataError, match=r"'TWIN2' equals another's \(the first that of TWIN1\)"):
        cluster(table, "group")
    table.iloc[1, 2:] = 4.0
    with pytest.raises(DataError, match="'TWIN2' is constant over all features"):
        cluster(table, "group", scale=False)
