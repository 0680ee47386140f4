"""`attributome data split`: whole groups in a column, and never rows where groups are known."""

import numpy as np
import pandas as pd
import pytest

from attributome.data.manifest import open_images
from attributome.data.splits import split_from_column
from end_to_end.jobs import call, sentence


@pytest.fixture
def said(capsys):
    """Type a verb; its exit code, its lines, and what it complains of."""

    def typed(*words):
        code = call("data", *words)
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err

    return typed


def plate_table(folder, **without):
    rows = [
        {
            "id": f"{plate}_{well}_{site}",
            "image": "a.npy",
            "plate": plate,
            "well": well,
            "site": site,
        }
        for plate in ("P1", "P2", "P3")
        for well in ("A01", "A02", "B01", "B02")
        for site in (1, 2)
    ]
    np.save(folder / "a.npy", np.zeros((1, 4, 4), np.float32))
    path = folder / "images.csv"
    pd.DataFrame(rows).drop(columns=[*without]).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("group", "columns", "groups"),
    [("plate", ["plate"], 3), ("well", ["plate", "well"], 12), ("field", ["id"], 24)],
)
def test_a_split_keeps_groups_whole(tmp_path, said, group, columns, groups):
    path = plate_table(tmp_path)
    shares = ("--fractions", "train=0.4", "--fractions", "validate=0.3", "--fractions", "test=0.3")
    code, lines, _ = said("split", path, "--group", group, *shares, "--seed", 3)
    assert code == 0
    made = tmp_path / "images.split.csv"
    assert lines[-1].endswith(f"run --images {made} --set data.group=split_group")
    table = pd.read_csv(made, dtype=str)
    assert len(table) == 24
    assert (table.groupby(columns)["split"].nunique() == 1).all()
    assert table["split_group"].nunique() == groups
    assert sum(int(line.split()[4]) for line in lines[:3]) == groups
    rows = split_from_column(open_images(made).table, group="split_group")
    assert {*rows} == {"train", "validate", "test"}
    first = made.read_bytes()
    assert said("split", path, "--group", group, *shares, "--seed", 3)[0] == 0
    assert made.read_bytes() == first
    other = ("--seed", 4, "--out", tmp_path / "other.csv")
    assert said("split", path, "--group", group, *shares, *other)[0] == 0
    assert groups == 3 or (tmp_path / "other.csv").read_bytes() != first


def test_rows_are_never_dealt_where_groups_are_known(tmp_path, said):
    path = plate_table(tmp_path)
    for words, message in (
        ((), "has the column plate, well, site: say with --group which must be whole"),
        (("--group", "donor"), "has no donor; its columns are id, image"),
        (("--group", "well", "--fractions", "train=2"), "must be above 0 and sum to 1"),
        (("--group", "well", "--fractions", "train"), "must read PART=SHARE"),
        (("--group", "well", "--out", tmp_path / "x" / "y.csv"), "must be another file in"),
        (("--group", "well", "--out", path), "must be another file in"),
    ):
        code, _, err = said("split", path, *words)
        assert code == 2
        assert message in sentence(err)
    code, _, err = said("split", path, "--group", "plate")  # three plates for four parts
    assert code == 3
    assert "cannot fill 4 parts" in sentence(err)
    plain = plate_table(tmp_path, plate=1, well=1, site=1)
    assert said("split", plain)[0] == 0
    code, _, err = said("split", tmp_path / "images.split.csv")
    assert code == 2
    assert "has a column split" in sentence(err)
    table = pd.read_csv(plain).assign(donor=[None, *"a" * 23])
    table.to_parquet(tmp_path / "t.parquet")
    code, _, err = said("split", tmp_path / "t.parquet", "--group", "donor")
    assert code == 3
    assert "donor is empty in row 1" in sentence(err)
