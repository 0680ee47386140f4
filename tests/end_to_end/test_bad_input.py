"""What cannot be used is refused in one sentence with its exit code; nothing is half written."""

import json
import re
import shutil
import warnings

import numpy as np
import pytest
import tifffile
import torch
import zarr
from safetensors.torch import load_file, save_file

from attributome.data.images import write_tiff
from attributome.predictors.load import build
from end_to_end.jobs import call, differing, halves, sentence, sets, summary, tiny

CHANNELS = ("bright field", "stain")
IMAGES = ("--input", "bright field", "--target", "stain")


@pytest.fixture
def images(tmp_path):
    """Six fields of two channels in a folder, and a way to spoil them."""
    draw = np.random.default_rng(0)
    folder = tmp_path / "images"
    for n in range(6):
        array = draw.integers(100, 4000, (2, 64, 64)).astype(np.uint16)
        write_tiff(folder / f"f{n}.ome.tif", array, CHANNELS, (0.3, 0.3))
    return folder


def spoil(folder, change, names=("f*",), dtype=np.float32):
    """Write images again after `change(array)`, with their channel names."""
    for pattern in names:
        for path in folder.glob(pattern):
            array = tifffile.imread(path).astype(dtype)
            changed = change(array)
            write_tiff(path, array if changed is None else changed, CHANNELS[: len(array)])


def refused(capsys, tmp_path, *words, code, out="run"):
    """Run a command that must be refused; the sentence that it says."""
    capsys.readouterr()
    assert call(*words) == code
    said = capsys.readouterr()
    assert said.out == ""
    run = tmp_path / out
    assert halves(run) == []
    if code == 2:  # a slip of the hand must not stand in the way of the corrected command
        assert not (run / "run.json").exists()
    return sentence(said.err)


def train(images, tmp_path, **changes):
    given = ("--images", images, *IMAGES, "--out", tmp_path / "run")
    return ("train", "predictor", *given, *tiny(data__group='""', **changes))


def put(value):
    def change(array):
        array[0, 3, 4] = value

    return change


DATA = {
    "NaN": (put(np.nan), "NaN or infinite.*first at"),
    "infinite": (put(np.inf), "NaN or infinite.*first at"),
    "constant": (lambda array: array * 0 + 7, "constant"),
    "smaller than the patch": (lambda array: array[:, :40], "which a patch of .* does not fit"),
    "smaller than the network": (lambda array: array[:, :12, :12], "patch|smaller"),
}


@pytest.mark.parametrize("case", DATA)
def test_pixels_that_cannot_be_trained_on(images, tmp_path, capsys, case):
    change, message = DATA[case]
    spoil(images, change)
    said = refused(capsys, tmp_path, *train(images, tmp_path), code=3)
    assert re.search(message, said), said


def test_no_images(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "*.tif"):
        said = refused(capsys, tmp_path, *train(source, tmp_path), code=3)
        assert said.startswith(f"no images found in {source}: the formats are .tif")
    said = refused(capsys, tmp_path, *train(tmp_path / "nowhere", tmp_path), code=3)
    assert "nowhere does not exist" in said
    said = refused(capsys, tmp_path, "train", "predictor", "--out", tmp_path / "run", code=2)
    assert said.startswith("no images are named")


def test_an_unknown_channel(images, tmp_path, capsys):
    words = ("run", "--images", images, "--input", "brihgt field", "--out", tmp_path / "run")
    said = refused(capsys, tmp_path, *words, code=3)
    assert "no channel 'brihgt field'" in said
    assert "did you mean 'bright field'?" in said


def test_no_target(images, tmp_path, capsys):
    words = ("run", "--images", images, "--input", "stain", "--out", tmp_path / "run")
    said = refused(capsys, tmp_path, *words, *tiny(data__group='""'), code=3)
    assert "no target to train on" in said


def test_too_few_fields_to_split(images, tmp_path, capsys):
    for path in sorted(images.iterdir())[3:]:
        path.unlink()
    said = refused(capsys, tmp_path, *train(images, tmp_path), code=3)
    assert "3 groups (rows) cannot fill 4 parts" in said


def test_a_split_without_a_part_that_is_needed(images, tmp_path, capsys):
    changes = {"data__split": "{train = 0.5, test = 0.5}"}
    said = refused(capsys, tmp_path, *train(images, tmp_path, **changes), code=3)
    assert "there are no validate fields" in said
    assert not (tmp_path / "run" / "predictor").exists()  # said before an epoch was spent


def test_a_target_that_is_not_registered(images, tmp_path, capsys):
    rows = ["image,target"]
    for n, path in enumerate(sorted(images.iterdir())):
        name = f"t{n}.ome.tif"
        write_tiff(images / name, np.arange(64 * 60, dtype=np.uint16).reshape(1, 60, 64), ("t",))
        rows.append(f"{path.name},{name}")
    (images / "table.csv").write_text("\n".join(rows))
    given = ("--images", images / "table.csv", "--out", tmp_path / "run")
    words = ("train", "predictor", *given, *tiny(data__group='""'))
    said = refused(capsys, tmp_path, *words, code=3)
    assert "not registered" in said
    assert "(1, 60, 64)" in said


def test_files_that_are_cut_short(images, tmp_path, capsys):
    for path in images.iterdir():
        path.write_bytes(path.read_bytes()[:3000])
    said = refused(capsys, tmp_path, *train(images, tmp_path), code=3)
    assert "f0.ome.tif" in said


@pytest.mark.parametrize("kind", ["tif", "zarr"])
def test_files_that_declare_four_gibibytes(tmp_path, capsys, kind):
    images = tmp_path / "images"
    images.mkdir()
    for n in range(6):
        path = images / f"f{n}.{kind}"
        if kind == "tif":
            tifffile.imwrite(path, np.zeros((16, 16), np.uint16), metadata=None)
            with tifffile.TiffFile(path, mode="r+") as file:
                for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                    file.pages[0].tags[name].overwrite(46341)
        else:
            group = zarr.open_group(path, mode="w", zarr_format=3)
            group.create_array(
                "0", shape=(65536, 65536), dtype="uint8", chunks=(1024, 1024),
                dimension_names=("y", "x"),
            )  # fmt: skip
            axes = [{"name": name, "type": "space"} for name in "yx"]
            scale = [{"type": "scale", "scale": [1.0, 1.0]}]
            scales = [
                {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
            ]
            group.attrs["ome"] = {"version": "0.5", "multiscales": scales}
    words = ("train", "predictor", "--images", images, "--out", tmp_path / "run")
    said = refused(capsys, tmp_path, *words, *tiny(data__group='""'), code=3)
    assert "declares" in said
    assert "the limit is 4294967296 bytes" in said


def test_one_corrupt_field_among_good_ones(finished, again, tmp_path, capsys):
    table = tmp_path / "data"
    shutil.copytree(finished.table.parent, table)
    given = ("--images", table / "fields.csv", "--input", "bright field")
    given = (*given, "--predictor", finished.run / "predictor", "--out", tmp_path / "run")
    words = ("run", *given, *tiny(explain__methods="{saliency = {}}"))
    splits = json.loads((finished.run / "splits.json").read_text())
    bad, *good = splits["test"]
    path = table / "images" / f"{bad}.ome.tif"
    path.write_bytes(path.read_bytes()[:-2000])
    capsys.readouterr()
    assert call(*words) == 4
    said = capsys.readouterr()
    assert sentence(said.err).startswith(f"{bad}: {path}")
    assert summary(tmp_path / "run")["fields_test"] == len(good)
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert halves(tmp_path / "run") == []


def test_no_field_can_be_explained(finished, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(finished.table.parent, data)
    splits = json.loads((finished.run / "splits.json").read_text())
    for name in splits["test"]:
        flat = np.full((1, 64, 64), 7, np.uint16)
        write_tiff(data / "images" / f"{name}.ome.tif", flat, CHANNELS[:1])
    given = ("--images", data / "fields.csv", "--input", "bright field")
    given = (*given, "--predictor", finished.run / "predictor", "--out", tmp_path / "run")
    methods = tiny(explain__methods="{saliency = {}}")
    for verb in ("run", "explain"):
        if verb == "explain":
            given = ("--out", tmp_path / "run")
            methods = []
        assert call(verb, *given, *methods) == 3
        lines = capsys.readouterr().err.splitlines()
        lines = [line for line in lines if " % after " not in line]
        assert [line.split(":")[:2] for line in lines] == [
            ["attributome", f" {name}"] for name in splits["test"]
        ]
        assert all("constant" in line for line in lines)


def test_a_predictor_of_another_number_of_channels(finished, images, tmp_path, capsys):
    given = ("--images", images, "--predictor", finished.run / "predictor")
    words = ("run", *given, "--out", tmp_path / "run", *tiny(data__group='""'))
    said = refused(capsys, tmp_path, *words, code=3)
    assert said == "the images have 2 channels, but the predictor takes 1"


def test_fields_smaller_than_the_predictor_takes(finished, images, tmp_path, capsys):
    for path in images.iterdir():
        write_tiff(path, tifffile.imread(path)[:1, :12], CHANNELS[:1])
    job = ("--images", images, "--predictor", finished.run / "predictor")
    given = ("run", *job, "--out", tmp_path / "run")
    saliency = tiny(data__group='""', explain__methods="{saliency = {}}")
    capsys.readouterr()
    assert call(*given, *saliency) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if " % after " not in line]
    assert len(lines) == 2  # one for each field of the test split
    assert all("are smaller than 16x16, the smallest size that" in line for line in lines)


def predictor_job(finished, tmp_path, source, *more):
    given = ("--images", finished.table, "--input", "bright field", "--predictor", source)
    return ("run", *given, "--out", tmp_path / "run", *more, *tiny())


def test_weights_of_another_model(finished, tmp_path, capsys):
    weights = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(3)}, weights)
    factory = ("--factory", "attributome.predictors.networks:unet")
    kwargs = {"predictor.kwargs": "{channels_in = 1, channels_out = 1, dims = 2}"}
    words = predictor_job(finished, tmp_path, weights, *factory)
    said = refused(capsys, tmp_path, *words, *sets(kwargs), code=3)
    assert "is a checkpoint of another model than attributome.predictors.networks:unet" in said
    shutil.copytree(finished.run / "predictor", tmp_path / "other")
    changed = load_file(tmp_path / "other" / "weights.safetensors")
    save_file({k: v + 1 for k, v in changed.items()}, tmp_path / "other" / "weights.safetensors")
    words = predictor_job(finished, tmp_path, tmp_path / "other")
    said = refused(capsys, tmp_path, *words, code=3)
    assert "its SHA-256 differs" in said


def test_a_generator_of_another_predictor(finished, again, tmp_path, capsys):
    run = again("parts", "choices.json", "summary.json")
    told = json.loads((run / "masks" / "generator.json").read_text())
    told["design"]["predictor"] = "0" * 64
    (run / "masks" / "generator.json").write_text(json.dumps(told))
    for verb in (("train", "masks"), ("explain",)):
        said = refused(capsys, tmp_path, *verb, finished.job, "--out", run, code=3, out="again")
        assert "was trained for another predictor (000000000000…" in said


def test_a_run_of_another_job(finished, again, tmp_path, capsys):
    run = again()
    words = ("explain", finished.job, "--out", run, "--set", "masks.epochs=9")
    said = refused(capsys, tmp_path, *words, code=3, out="again")
    assert f"{run} holds a run that differs in job.masks.epochs (2 there, 9 here)" in said
    assert differing(finished.run, run) == []


def test_a_predictor_that_was_changed_under_a_run(finished, tmp_path, capsys):
    mine = tmp_path / "mine.safetensors"
    factory = "attributome.predictors.networks:small_cnn"
    weights = build(factory, {"channels_in": 1, "outputs": 1, "dims": 2}).state_dict()
    save_file(weights, mine)
    changes = {
        "predictor__task": '"regression"',
        "predictor__kwargs": "{channels_in = 1, outputs = 1, dims = 2}",
        "explain__methods": "{saliency = {}}",
        "data__group": '""',
    }
    given = ("--images", finished.table.parent / "images", "--predictor", mine)
    words = ("run", *given, "--factory", factory, "--out", tmp_path / "run", *tiny(**changes))
    assert call(*words) == 0
    save_file({name: value + 1 for name, value in weights.items()}, mine)
    said = refused(capsys, tmp_path, *words, code=3)
    assert "holds a run that differs in predictor.sha256" in said


def test_a_pickle_where_safetensors_was_expected(finished, tmp_path, capsys):
    torch.save({"a": torch.zeros(2)}, tmp_path / "net.pt")
    words = predictor_job(finished, tmp_path, tmp_path / "net.pt")
    said = refused(capsys, tmp_path, *words, code=3)
    assert "is a pickle where safetensors was expected" in said
    said = refused(capsys, tmp_path, "inspect", tmp_path / "net.pt", code=3)
    assert "is a pickle where safetensors was expected" in said


def test_a_program_without_trust(finished, tmp_path, capsys):
    script = tmp_path / "net.pt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
        torch.jit.script(torch.nn.Conv2d(1, 1, 3, padding=1)).save(script)
    capsys.readouterr()
    assert call(*predictor_job(finished, tmp_path, script)) == 2
    said = sentence(capsys.readouterr().err)
    assert "is a program (torchscript)" in said
    assert "--trust" in said
    assert not (tmp_path / "run" / "parts").exists()
    assert call("inspect", script) == 2
    assert "--trust" in sentence(capsys.readouterr().err)


def test_a_predictor_that_does_not_exist(finished, tmp_path, capsys):
    words = predictor_job(finished, tmp_path, tmp_path / "nowhere.safetensors")
    said = refused(capsys, tmp_path, *words, code=3)
    assert "nowhere.safetensors: No such file or directory" in said
    assert not (tmp_path / "run").exists()


USAGE = {
    "key": (["--set", "masks.epoch=5"], "unknown key 'masks.epoch'; did you mean 'epochs'?"),
    "section": (["--set", "mask.epochs=5"], "unknown key 'mask'; did you mean 'masks'?"),
    "set": (["--set", "masks.epochs"], "--set 'masks.epochs' must read KEY=VALUE"),
    "value": (["--set", "masks.epochs=many"], "masks.epochs is 'many', but"),
    "into": (["--set", "name.first=5"], "name is {'first': 5}, but input should be"),
    "range": (["--set", "masks.epochs=0"], "masks.epochs is 0, but"),
    "method": (
        ["--set", "explain.methods={salience={}}"],
        "explain.methods: there is no 'salience'; .*'learned_mask'.*'saliency'",
    ),
    "parameter": (["--set", "explain.methods={saliency={a=1}}"], "saliency has no parameter"),
    "own mask": (["--set", "explain.methods={learned_mask={a=1}}"], "takes no parameters"),
    "methods": (["--set", "explain.methods={}"], "explain.methods is empty"),
    "control": (
        ["--set", "score.controls=['randon']"],
        "score.controls: there is no 'randon'; choose from .*'random'",
    ),
    "noise": (
        ["--set", "masks.noise='pink'"],
        "masks.noise: there is no 'pink'; choose from .*'gaussian'",
    ),
    "preset": (["--set", "masks.preset='imgae'"], "masks.preset: there is no 'imgae'; choose from"),
    "network": (["--set", "predictor.network='vit'"], "predictor.network: there is no 'vit'"),
    "features": (["--set", "predictor.features=[4, 4]"], "predictor.features is .*6 items"),
    "mask features": (["--set", "masks.features=[4, 4]"], "masks.features is .*6 items"),
    "patch": (
        ["--set", "predictor.patch=[48]"],
        r"predictor.patch is \(48,\), but the images are 2-D",
    ),
    "mask patch": (["--set", "masks.patch=[8, 48, 48]"], r"masks.patch is \(8, 48, 48\), but"),
    "window": (["--set", "explain.window=[48]"], r"explain.window is \(48,\), but"),
    "explained": (
        ["--set", "explain.split='tset'"],
        "explain.split: there is no 'tset'; choose from .*'test'",
    ),
    "known": (["--set", "score.known={nucleus=1}"], r"score.known names \['nucleus'\]"),
    "widths": (["--set", "masks.features=[4,4,4,8,8,0]"], r"masks.features.5 is 0, but"),
    "device": (["--device", "cuda:7"], "device 'cuda:7' is not on this machine"),
    "strange device": (["--device", "abacus"], "device 'abacus' is not on this machine"),
    "precision": (["--precision", "int3"], "'int3'"),
    "option": (["--epochs", "3"], "No such option.*--epochs"),
    "argument": (["a.toml", "b.toml"], "b.toml"),
    "job": (["nowhere.toml"], "cannot read the job nowhere.toml"),
}


@pytest.mark.parametrize("case", USAGE)
def test_slips_of_the_hand(finished, tmp_path, capsys, case):
    words, message = USAGE[case]
    given = () if case in ("job", "argument") else ("--images", finished.table)
    base = tiny(data__inputs='["bright field"]')
    said = refused(
        capsys, tmp_path, "run", *given, "--out", tmp_path / "run", *base, *words, code=2
    )
    assert re.search(message, said), said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain", "--shard", "0/3"], "--shard '0/3' must read I/N with 1 <= I <= N"),
        (["score", "--shard", "4/3"], "--shard '4/3' must read I/N"),
        (["explain", "--shard", "half"], "--shard 'half' must read I/N"),
        (["explain", "--shard", "²/3"], "--shard '²/3' must read I/N"),
        (["explian"], "No such command 'explian'"),
        (["train", "mask"], "No such command 'mask'"),
        (["inspect"], "Missing argument 'source'"),
    ],
)
def test_words_that_are_no_command(tmp_path, capsys, words, message):
    assert message in refused(capsys, tmp_path, *words, code=2)


def test_verbs_before_their_turn(finished, again, tmp_path, capsys):
    run = again("predictor", "masks", "parts", "choices.json", "summary.json")
    for verb, message in (
        (("train", "masks"), "no trained predictor yet: run `attributome train predictor`"),
        (("explain",), "no trained predictor yet"),
        (("score",), "no maps yet: run `attributome explain` first"),
    ):
        said = refused(capsys, tmp_path, *verb, finished.job, "--out", run, code=3, out="again")
        assert message in said
    said = refused(capsys, tmp_path, "report", tmp_path / "nowhere", code=3)
    assert "is not a run: it has no run.json" in said
    said = refused(capsys, tmp_path, "explain", "--out", tmp_path / "nowhere", code=3)
    assert "is not a run: it has no run.json" in said


def test_init_never_writes_over_a_job(finished, tmp_path, capsys):
    before = finished.job.read_text()
    assert "exists already" in refused(capsys, tmp_path, "init", finished.job, code=2)
    assert finished.job.read_text() == before


def test_a_folder_that_cannot_be_made(finished, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / "run"
    said = refused(capsys, tmp_path, "run", finished.job, "--out", out, code=3)
    assert said == f"cannot make the folder {out}: Not a directory"
    said = refused(capsys, tmp_path, "init", out / "job.toml", code=3)
    assert said == f"cannot make the folder {out}: Not a directory"
