"""Features come back from their files as they were, and a file is whole or absent."""

import importlib.util

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.profiles.formats import (
    feature_names,
    metadata,
    read_about,
    read_blocks,
    read_original,
    values,
    write_anndata,
    write_original,
    write_parquet,
)


def block(start=0, n=3, wide=4, note=None):
    draw = np.random.default_rng(start)
    table = pd.DataFrame({"id": [f"AAC1/1_{start + i}" for i in range(n)], "field": "f", "well": 1})
    values = draw.standard_normal((n, wide)).astype(np.float32) * 1e3 ** draw.normal(size=(n, wide))
    names = [f"conv{1 + i // 2}_1_max_{i % 2:03d}" for i in range(wide)]
    known = metadata(table.assign(note=pd.Series([note] * n, dtype=object)))
    return pd.concat([known, pd.DataFrame(values.astype(np.float32), columns=names)], axis=1)


def test_blocks_come_back_as_they_were_written(tmp_path):
    blocks, path = [block(0), block(3, 2, note="late")], tmp_path / "a" / "f.parquet"
    assert write_parquet(path, iter(blocks), {"weights": "ab12"}) == 5
    found = list(read_blocks(path))
    assert [len(each) for each in found] == [3, 2]
    pd.testing.assert_frame_equal(found[0], blocks[0])
    pd.testing.assert_frame_equal(found[1], blocks[1])
    whole = pd.read_parquet(path)
    pd.testing.assert_frame_equal(whole, pd.concat(blocks, ignore_index=True))
    assert read_about(path) == {"weights": "ab12"}
    (some, _) = read_blocks(path, ["Metadata_id", "conv1_1_max_001"])
    assert [*some] == ["Metadata_id", "conv1_1_max_001"]
    inferred = [name for name in whole if name.startswith("Metadata_")]
    assert inferred == ["Metadata_id", "Metadata_field", "Metadata_well", "Metadata_note"]
    assert pq.ParquetFile(path).metadata.num_row_groups == 2


def test_an_undefined_value_stays_undefined(tmp_path):
    one = block()
    one.loc[1, "conv2_1_max_001"] = np.nan
    write_parquet(tmp_path / "f.parquet", [one])
    (found,) = read_blocks(tmp_path / "f.parquet")
    assert found.isna()["conv2_1_max_001"].tolist() == [False, True, False]
    write_original(tmp_path / "f.txt", [one], start="conv2_1_max_")
    back = read_original(tmp_path / "f.txt", "conv2_1_max_")
    assert np.isnan(back["conv2_1_max_001"].iloc[1])


def test_an_earlier_file_outlives_a_failure(tmp_path):
    path = tmp_path / "f.parquet"
    write_parquet(path, [block()])

    def breaking():
        yield block()
        yield block(wide=2)

    for write in (
        lambda: write_parquet(path, breaking()),
        lambda: write_original(path, breaking(), start="conv1_1_"),
    ):
        with pytest.raises(DataError, match="other columns than the first"):
            write()
        assert sum(map(len, read_blocks(path))) == 3
    assert [each.name for each in tmp_path.iterdir()] == ["f.parquet"]
    mixed = [block(), block().assign(Metadata_well="a")]
    with pytest.raises(DataError, match="cannot write"):
        write_parquet(path, mixed)


def test_the_published_text_has_a_tab_behind_every_value(tmp_path):
    one = block(n=2)
    path = tmp_path / "f.txt"
    assert write_original(path, [one, block(2, 1)], start="conv2_1_max_") == 3
    lines = path.read_bytes().split(b"\n")
    assert len(lines) == 4
    assert lines[-1] == b""
    parts = lines[1].split(b"\t")
    assert len(parts) == 2 + 2  # n + 2 fields: the name, the values, and nothing
    assert parts[0] == b"AAC1/1_1"
    assert parts[-1] == b""
    wanted = values(one, "conv2_1_max_")[1]
    assert [np.float32(part) for part in parts[1:-1]] == [*wanted]  # to the last bit
    back = read_original(path, "conv2_1_max_")
    pd.testing.assert_frame_equal(
        back.iloc[:2], one[["Metadata_id", "conv2_1_max_000", "conv2_1_max_001"]]
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no cells"),
        ("a\t1\t2\t\nb\t1\t\n", "line 2 of .* 1 values"),
        ("a\t1\tx\t\n", "line 1"),
        ("\t1\t\n", "name ''"),
        ("a\n", "0 values"),
    ],
)
def test_a_text_that_is_no_table_of_features_is_refused(tmp_path, text, words):
    path = tmp_path / "f.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_original(path, "x_")


def test_what_cannot_be_written_or_read_is_refused(tmp_path):
    path = tmp_path / "f"
    with pytest.raises(DataError, match="no features to write"):
        write_parquet(path, [])
    with pytest.raises(UsageError, match="plain values"):
        write_parquet(path, [block()], {"a": float("nan")})
    with pytest.raises(UsageError, match="begin with 'conv9'"):
        write_original(path, [block()], start="conv9")
    with pytest.raises(UsageError, match="Metadata_cell"):
        write_original(path, [block()], start="conv1", name="Metadata_cell")
    with pytest.raises(DataError, match="TAB"):
        write_original(path, [block().assign(Metadata_id="a\tb")], start="conv1")
    with pytest.raises(UsageError, match="called Metadata_a"):
        metadata(pd.DataFrame({"a": [1], "Metadata_a": [2]}))
    assert not path.exists()
    path.write_text("no parquet")
    for read in (lambda: next(read_blocks(path)), lambda: read_about(path)):
        with pytest.raises(DataError, match="cannot read"):
            read()
    block().to_parquet(path)
    with pytest.raises(DataError, match="made elsewhere"):
        read_about(path)
    with pytest.raises(UsageError, match="no column 'x'"):
        next(read_blocks(path, ["x"]))


def test_names_tell_features_from_metadata():
    one = metadata(pd.DataFrame({"id": ["a"], "Metadata_plate": [1]}, index=[7]))
    assert [*one] == ["Metadata_id", "Metadata_plate"]
    assert one.index.tolist() == [0]
    assert feature_names(block()) == [f"conv{i}_1_max_00{j}" for i in (1, 2) for j in (0, 1)]
    assert values(block(), "conv2_1").shape == (3, 2)
    with pytest.raises(UsageError, match="no features"):
        feature_names(one)


def test_anndata_holds_the_same_or_says_what_to_install(tmp_path):
    path = tmp_path / "f.h5ad"
    blocks = [block(note="a"), block(3, 2, note="b")]
    if importlib.util.find_spec("anndata") is None:
        with pytest.raises(UsageError, match=r"attributome\[anndata\]"):
            write_anndata(path, blocks)
        assert not path.exists()
        return
    import anndata

    assert write_anndata(path, blocks, {"weights": "ab12"}) == 5
    found = anndata.read_h5ad(path)
    whole = pd.concat(blocks, ignore_index=True)
    np.testing.assert_array_equal(found.X, values(whole))
    assert found.obs_names.tolist() == whole["Metadata_id"].tolist()
    assert found.var_names.tolist() == feature_names(whole)
    assert found.obs["note"].astype(str).tolist() == [*"aaabb"]
    assert found.uns["attributome"] == '{"weights": "ab12"}'
