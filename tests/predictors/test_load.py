"""Every format gives back what was saved, and everything else is refused in one sentence."""

import hashlib
import json
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.probe import predict
from attributome.predictors.load import (
    Card,
    build,
    fingerprint,
    load_predictor,
    save_predictor,
)

CNN = "attributome.predictors.networks:small_cnn"
KWARGS = {"channels_in": 2, "outputs": 3, "dims": 2, "width": 4}
CARD = Card(
    factory=CNN,
    kwargs=KWARGS,
    task="classification",
    dims=2,
    inputs=("bright field", "DNA"),
    outputs=("a", "b", "c"),
    normalise="zscore",
    target_scaling={"method": "zscore", "mean": [0.5], "std": [2.0]},
    pixel_size=(0.3, 0.3),
)
HERE = "test_load:levels"


@pytest.fixture
def image():
    return torch.rand(2, 2, 11, 9, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path):
    save_predictor(tmp_path / "cnn", build(CNN, KWARGS, seed=3), CARD)
    return tmp_path / "cnn"


@pytest.fixture
def weights(tmp_path, make):
    path = tmp_path / "levels.safetensors"
    save_file(make(levels=2).state_dict(), path)
    return path


def edit(folder, **changes):
    path = folder / "predictor.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def levels(**kwargs):
    from conftest import Levels  # of this folder

    return Levels(**kwargs)


def test_a_predictor_folder_round_trips_bit_for_bit(folder, image):
    net, card = load_predictor(folder)
    assert torch.equal(predict(net, image), predict(build(CNN, KWARGS, seed=3), image))
    assert not net.training
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    assert card.weights_sha256 == digest
    assert {**vars_of(card), "weights_sha256": ""} == vars_of(CARD)


def vars_of(card):
    return {name: getattr(card, name) for name in card.__dataclass_fields__}


def test_a_folder_is_written_over_by_the_next_predictor(folder, image):
    other = build(CNN, KWARGS, seed=4)
    before = fingerprint(folder)
    save_predictor(folder, other, CARD)
    assert torch.equal(predict(load_predictor(folder)[0], image), predict(other, image))
    assert fingerprint(folder) != before


def test_channels_last_and_half_trained_networks_round_trip(tmp_path, image):
    net = build(CNN, KWARGS).to(memory_format=torch.channels_last)
    net(image)  # moves the running statistics
    save_predictor(tmp_path, net, CARD)
    assert torch.allclose(predict(load_predictor(tmp_path)[0], image), predict(net, image))


def test_building_draws_from_its_own_seed_and_leaves_the_global_one(image):
    before = torch.get_rng_state()
    first, again, other = (build(CNN, KWARGS, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(predict(first, image), predict(again, image))
    assert not torch.equal(predict(first, image), predict(other, image))


def test_weights_and_a_factory(weights, make):
    net, card = load_predictor(weights, factory=HERE, kwargs={"levels": 2}, trust=True)
    x = torch.rand(1, 1, 8, 12)
    assert torch.equal(predict(net, x), predict(make(levels=2), x))
    assert (card.factory, card.kwargs) == (HERE, {"levels": 2})
    assert card.weights_sha256 == fingerprint(weights)


def test_the_packages_own_factory_needs_no_trust(folder, image):
    source = folder / "weights.safetensors"
    net, _ = load_predictor(source, factory=CNN, kwargs=KWARGS)
    assert torch.equal(predict(net, image), predict(load_predictor(folder)[0], image))


@pytest.mark.parametrize("how", ["script", "trace", "exported", "dynamic"])
def test_programs_round_trip_and_need_trust(make, saved, how):
    net, x = make(), torch.rand(2, 1, 16, 24)
    source = saved(net, how, x)
    with pytest.raises(UsageError, match=r"is a program .*trust=True"):
        load_predictor(source)
    loaded, card = load_predictor(source, trust=True, card=Card(task="image", dims=2))
    assert torch.allclose(predict(loaded, x), predict(net, x), atol=1e-6)
    assert (card.task, card.factory) == ("image", "")
    assert card.weights_sha256 == fingerprint(source)


def test_loading_a_program_silences_no_other_warning(make, saved, monkeypatch):
    source = saved(make(), "trace", torch.rand(1, 1, 8, 8))
    load = torch.jit.load

    def loud(*args, **kwargs):
        import warnings

        warnings.warn("something else", DeprecationWarning, stacklevel=1)
        return load(*args, **kwargs)

    monkeypatch.setattr(torch.jit, "load", loud)
    with pytest.raises(DeprecationWarning, match="something else"):
        load_predictor(source, trust=True)


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path, make):
    new, old, plain = (tmp_path / name for name in ("new.pth", "old.ckpt", "plain.pt"))
    torch.save(make().state_dict(), new)
    torch.save(make().state_dict(), old, _use_new_zipfile_serialization=False)
    plain.write_bytes(pickle.dumps({"a": 1}))
    for source in (new, old, plain):
        for trust in (False, True):
            with pytest.raises(DataError, match=r"is a pickle where safetensors was expected") as e:
                load_predictor(source, trust=trust)
        assert f"torch.load('{source.name}', weights_only=True)" in str(e.value)
        assert f"'{source.stem}.safetensors'" in str(e.value)


def test_the_conversion_that_the_refusal_names_works(tmp_path, make, monkeypatch):
    torch.save(make().state_dict(), tmp_path / "net.pth")
    with pytest.raises(DataError) as refusal:
        load_predictor(tmp_path / "net.pth")
    monkeypatch.chdir(tmp_path)
    import safetensors.torch

    exec(str(refusal.value).split("`")[1], {"torch": torch, "safetensors": safetensors})
    net, _ = load_predictor(tmp_path / "net.safetensors", factory=HERE, trust=True)
    x = torch.rand(1, 1, 8, 8)
    assert torch.equal(predict(net, x), predict(make(), x))


def test_a_pickle_in_a_folder_or_under_a_false_name_is_not_read(tmp_path, make, folder):
    torch.save(make().state_dict(), folder / "weights.safetensors")
    with pytest.raises(DataError, match=r"is not the file that predictor\.json was written for"):
        load_predictor(folder)
    torch.save(make().state_dict(), tmp_path / "false.safetensors")
    with pytest.raises(DataError, match="is a pickle"):
        load_predictor(tmp_path / "false.safetensors", factory=HERE, trust=True)


def test_files_that_are_nothing(tmp_path):
    empty, text, archive, cut = (tmp_path / n for n in ("empty.pt", "a.pt2", "b.pt", "cut.pt"))
    empty.touch()
    text.write_text("hello, this is not a network")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme/a.txt", "no network")
    cut.write_bytes(archive.read_bytes()[:40])
    for source, message in (
        (empty, "is an empty file"),
        (text, r"begins with b'hello, t'; attributome reads"),
        (archive, "is a zip archive, but no TorchScript"),
        (cut, "is damaged or cut short"),
        (tmp_path / "none.pt", "cannot read the predictor .*No such file"),
        (tmp_path, r"is no predictor: it has no predictor\.json"),
    ):
        with pytest.raises(DataError, match=message):
            load_predictor(source, trust=True)
        with pytest.raises(DataError, match=message):
            fingerprint(source)


@pytest.mark.parametrize("how", ["script", "exported"])
def test_a_program_with_damaged_parts(make, saved, how, tmp_path):
    source = saved(make(), how, torch.rand(1, 1, 8, 8))
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(tmp_path / "bad", "w") as bad:
        for name in whole.namelist():
            code = name.endswith(("model.json", "container.py", "data.pkl"))
            bad.writestr(name, b"{nothing" if code else whole.read(name))
    with pytest.raises(DataError, match="cannot load the"):
        load_predictor(tmp_path / "bad", trust=True)


def test_weights_that_are_cut(weights):
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-40])
    with pytest.raises(DataError, match="cannot read the weights"):
        load_predictor(weights, factory=HERE, kwargs={"levels": 2}, trust=True)


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"levels": 3}, r"down.weight is \(4, 4, 4, 4\) and not \(4, 4, 8, 8\), up.weight is"),
        ({"levels": 2, "channels": 2}, r"first.weight is \(4, 1, 3, 3\) and not \(4, 2, 3, 3\)"),
    ],
)
def test_a_checkpoint_of_another_size_of_model(weights, kwargs, named):
    with pytest.raises(DataError, match=f"checkpoint of another model than {HERE} builds: {named}"):
        load_predictor(weights, factory=HERE, kwargs=kwargs, trust=True)


def test_a_checkpoint_of_another_model(weights):
    with pytest.raises(
        DataError, match=r"conv1.weight is missing, norm1.weight is .* and \d+ more"
    ):
        load_predictor(weights, factory=CNN, kwargs=KWARGS)
    extra = weights.with_name("extra.safetensors")
    save_file({**build(CNN, KWARGS).state_dict(), "more": torch.zeros(1)}, extra)
    with pytest.raises(DataError, match=r"builds: more is unknown$"):
        load_predictor(extra, factory=CNN, kwargs=KWARGS)


def test_saving_under_the_card_of_another_model_is_refused(tmp_path, make):
    with pytest.raises(DataError, match="this network is a checkpoint of another model"):
        save_predictor(tmp_path, make(), CARD)
    assert not list(tmp_path.iterdir())


def test_factories_are_code(weights, folder):
    with pytest.raises(UsageError, match=r"'test_load:levels' is code outside attributome.*trust"):
        load_predictor(weights, factory=HERE)
    edit(folder, factory="shutil:rmtree", kwargs={"path": str(folder)})
    with pytest.raises(UsageError, match=r"'shutil:rmtree' is code outside"):
        load_predictor(folder)
    # a function of the package that is no network writes files, and a card is a stranger's
    edit(folder, factory="attributome.core.files:write_text", kwargs={})
    with pytest.raises(UsageError, match=r"'attributome.core.files:write_text' is code outside"):
        load_predictor(folder)


@pytest.mark.parametrize(
    ("factory", "kwargs", "message"),
    [
        ("levels", {}, "must read 'module:function'"),
        (
            "no_such_module_here:levels",
            {},
            "cannot import the factory 'no_such_module_here:levels'",
        ),
        ("test_load:nothing", {}, "cannot import the factory 'test_load:nothing'"),
        (HERE, {"depth": 3}, r"'test_load:levels' refuses \{'depth': 3\}"),
        ("builtins:dict", {}, r"made a dict; a torch\.nn\.Module is needed"),
    ],
)
def test_factories_that_cannot_be_meant(weights, factory, kwargs, message):
    with pytest.raises(UsageError, match=message):
        load_predictor(weights, factory=factory, kwargs=kwargs, trust=True)


def test_weights_without_and_others_with_a_factory(weights, folder):
    with pytest.raises(UsageError, match=r"holds weights only; say with factory='module:function'"):
        load_predictor(weights)
    with pytest.raises(UsageError, match="a factory is for bare weights"):
        load_predictor(folder, factory=CNN)
    with pytest.raises(UsageError, match="has its own card"):
        load_predictor(folder, card=CARD)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has format 2; this attributome reads format 1"),
        ({"task": "guess"}, "key 'task': Input should be 'image', 'regression' or"),
        ({"dims": "2"}, "key 'dims'"),
        ({"colour": 1}, "key 'colour'"),
        ({"weights_sha256": "0"}, "its SHA-256 differs"),
    ],
)
def test_cards_that_are_wrong(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(DataError, match=message):
        load_predictor(folder)


def test_a_card_without_weights(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(DataError, match=r"has a predictor\.json but no weights\.safetensors"):
        load_predictor(folder)


def test_tied_weights_round_trip(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(1, 1, 1)
            self.b = self.a

        def forward(self, x):
            return self.b(self.a(x))

    globals()["tied"] = Tied
    net = Tied()
    save_predictor(tmp_path, net, Card(factory="test_load:tied", task="image", dims=2))
    loaded, _ = load_predictor(tmp_path, trust=True)
    x = torch.rand(1, 1, 3, 3)
    assert torch.equal(predict(loaded, x), predict(net, x))
