"""Features lie where the gallery's documentation says, whole, and nowhere else."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.profiles.formats import read_about
from attributome.profiles.workspace import (
    read_workspace,
    write_workspace,
    write_workspace_profiles,
)

NETWORK = "small_planted_ec756ff"


def cells(n=24, **columns):
    """Two plates, two wells of each, three sites of each, two cells of each."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "Metadata_id": [f"c{i}" for i in range(n)],
            "Metadata_plate": [f"BR0011703{i // 12}" for i in range(n)],
            "Metadata_well": [f"A0{1 + i // 6 % 2}" for i in range(n)],
            "Metadata_site": [1 + i // 2 % 3 for i in range(n)],
        }
    ).assign(**columns)
    values = random.normal(size=(n, 3)).astype(np.float32)
    return pd.concat(
        [table, pd.DataFrame(values, columns=[f"Cells_{i:03d}" for i in range(3)])], axis=1
    )


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_file_for_each_site_lies_where_it_should(tmp_path):
    paths = write_workspace(tmp_path, "2021_04_26_Batch1", [cells()], network=NETWORK)
    home = f"workspace_dl/embeddings/{NETWORK}/2021_04_26_Batch1"
    wanted = [
        f"{home}/BR0011703{plate}/A0{well}-{site}/embedding.parquet"
        for plate in (0, 1)
        for well in (1, 2)
        for site in (1, 2, 3)
    ]
    assert [str(path.relative_to(tmp_path)) for path in paths] == wanted
    assert files(tmp_path) == wanted  # and nothing beside them
    one = pd.read_parquet(paths[4])
    pd.testing.assert_frame_equal(one, cells().iloc[8:10].reset_index(drop=True))


@pytest.mark.parametrize("step", [1, 5, 7])
@pytest.mark.parametrize("mixed", [False, True])
def test_what_is_written_is_read_however_it_comes(tmp_path, random, step, mixed):
    given = cells()
    if mixed:
        given = given.iloc[random.permutation(len(given))]
    blocks = (given.iloc[i : i + step] for i in range(0, len(given), step))
    paths = write_workspace(tmp_path, "b", blocks, network=NETWORK, about={"weights": "ab"})
    assert len(paths) == len({*paths}) == 12
    assert read_about(paths[0]) == {"weights": "ab"}
    found = pd.concat(read_workspace(tmp_path, "b", network=NETWORK), ignore_index=True)
    if not mixed:
        pd.testing.assert_frame_equal(found, cells())
    found = found.sort_values("Metadata_id").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, cells().sort_values("Metadata_id", ignore_index=True))
    (one, *more) = read_workspace(tmp_path, "b", network=NETWORK, plates=["BR00117031"])
    assert len(more) == 5
    assert {*one["Metadata_plate"]} == {"BR00117031"}


def test_a_second_writing_replaces_and_one_that_fails_leaves_all_as_it_was(tmp_path):
    write_workspace(tmp_path, "b", [cells()], network=NETWORK)
    before = files(tmp_path)

    def torn():
        yield cells().iloc[:10] * 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_workspace(tmp_path, "b", (x.assign(Cells_000=0.0) for x in torn()), network=NETWORK)
    assert files(tmp_path) == before
    found = pd.concat(read_workspace(tmp_path, "b", network=NETWORK), ignore_index=True)
    pd.testing.assert_frame_equal(found, cells())
    write_workspace(tmp_path, "b", [cells().iloc[:1].assign(Cells_000=9.0)], network=NETWORK)
    assert files(tmp_path) == before
    first = next(read_workspace(tmp_path, "b", network=NETWORK))
    assert first["Cells_000"].tolist() == [9.0]


def test_files_from_elsewhere_are_told_by_their_path(tmp_path):
    home = tmp_path / "workspace_dl" / "embeddings" / NETWORK / "b" / "P1"
    bare = pd.DataFrame({"f0": [1.0, 2.0]})
    for folder in ("A01-02", "A02/3", "A03"):
        (home / folder).mkdir(parents=True)
        bare.to_parquet(home / folder / "embedding.parquet")
    found = [*read_workspace(tmp_path, "b", network=NETWORK)]
    said = [
        tuple(table[["Metadata_plate", "Metadata_well", "Metadata_site"]].iloc[0])
        for table in found
    ]
    assert said == [("P1", "A01", "02"), ("P1", "A03", None), ("P1", "A02", "3")]
    assert [*found[0].columns[3:]] == ["f0"]
    assert found[1]["f0"].tolist() == [1.0, 2.0]


def test_profiles_of_wells_are_a_file_for_each_plate(tmp_path):
    wells = cells().drop(columns=["Metadata_id", "Metadata_site"])
    paths = write_workspace_profiles(tmp_path, "b", wells, network=NETWORK, about={"way": "mean"})
    home = f"workspace_dl/profiles/{NETWORK}/b"
    wanted = [f"{home}/BR0011703{i}/BR0011703{i}.parquet" for i in (0, 1)]
    assert files(tmp_path) == wanted == [str(path.relative_to(tmp_path)) for path in paths]
    pd.testing.assert_frame_equal(pd.read_parquet(paths[0]), wells.iloc[:12])
    with pytest.raises(UsageError, match="Metadata_plate"):
        write_workspace_profiles(tmp_path, "b", wells.iloc[:, 1:], network=NETWORK)
    with pytest.raises(DataError, match="0 names"):
        write_workspace_profiles(tmp_path, "b", wells.iloc[:0], network=NETWORK)
    both = wells.assign(Metadata_plate=[1, "1"] * 12)
    with pytest.raises(DataError, match="1 names"):
        write_workspace_profiles(tmp_path, "b", both, network=NETWORK)


OUTSIDE = ["..", "../x", "/x", "a/b", "a\\b", ".hidden", "", " a", "a\n", "a" * 201, "c:x"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leaves_its_folder_is_refused(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    for given in ({"batch": name, "network": NETWORK}, {"batch": "b", "network": name}):
        with pytest.raises(UsageError, match="cannot name a folder"):
            write_workspace(root, blocks=[cells()], **given)
        with pytest.raises(UsageError, match="cannot name a folder"):
            write_workspace_profiles(root, wells=cells(), **given)
        with pytest.raises(UsageError, match="cannot name a folder"):
            read_workspace(root, **given)
    for column in ("plate", "well", "site"):
        wrong = cells(**{f"Metadata_{column}": ["a"] * 23 + [name]})
        with pytest.raises(DataError, match=f"the {column} .* cannot name a folder"):
            write_workspace(root, "b", [wrong], network=NETWORK)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"Metadata_site": 1.0}, DataError, "the site .*1.0.* is no name"),
        ({"Metadata_site": None}, DataError, "is no name"),
        ({"Metadata_well": "A-1"}, DataError, "dash"),
    ],
    ids=str,
)
def test_a_place_that_is_no_name_is_refused(tmp_path, change, error, words):
    with pytest.raises(error, match=words):
        write_workspace(tmp_path, "b", [cells(**change)], network=NETWORK)
    assert files(tmp_path) == []


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match="no features"):
        write_workspace(tmp_path, "b", [], network=NETWORK)
    with pytest.raises(UsageError, match="Metadata_site"):
        write_workspace(tmp_path, "b", [cells().drop(columns="Metadata_site")], network=NETWORK)
    with pytest.raises(UsageError, match="no features"):
        write_workspace(tmp_path, "b", [cells().iloc[:, :4]], network=NETWORK)
    with pytest.raises(DataError, match="no plates"):
        read_workspace(tmp_path, "b", network=NETWORK)
    write_workspace(tmp_path, "b", [cells()], network=NETWORK)
    with pytest.raises(UsageError, match="BR00117030, BR00117031"):
        read_workspace(tmp_path, "b", network=NETWORK, plates=["P9"])
    with pytest.raises(DataError, match="no plates"):
        read_workspace(tmp_path, "c", network=NETWORK)
    (tmp_path / "workspace_dl" / "embeddings" / NETWORK / "empty" / "P1").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no embedding\.parquet"):
        read_workspace(tmp_path, "empty", network=NETWORK)
