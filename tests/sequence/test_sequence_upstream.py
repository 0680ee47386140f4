"""Upstream's network to the key and to the number, and its checkpoints without running a pickle."""

import io
import math
import pickle
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from attributome.core.errors import DataError, UsageError
from attributome.core.inputs import Beside
from attributome.core.probe import layer_output
from attributome.core.targets import Difference
from attributome.sequence.networks.upstream import TwoBranch, features, head, load_upstream

TINY = {"widths": (2, 3, 4, 2), "hidden": (32, 28, 24, 20, 16)}


def tiny(k=3, **kwargs):
    """A small network with running statistics of its own, in evaluation mode and in float64."""
    torch.manual_seed(0)
    net = TwoBranch(k, **TINY | kwargs).double().train()
    for _ in range(3):
        net(*pictures(k, 8))
    return net.eval()


def pictures(k, batch=2, seed=0):
    draw = torch.Generator().manual_seed(seed)
    size = 1 << k
    return tuple(
        torch.rand(batch, 1, size, size, generator=draw, dtype=torch.float64) for _ in range(2)
    )


def count(*modules):
    return sum(weight.numel() for module in modules for weight in module.parameters())


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_the_parameters_are_counted_as_upstream_counts_them(k):
    net = TwoBranch(k)
    assert count(net) == 3_586_274
    assert count(net.m_rna_model) == 515_584
    assert count(net.mi_rna_model) == 368_128
    assert count(net.fc, net.output) == 2_702_562


def test_the_state_dict_has_upstreams_names():
    parts = ["conv1", *(f"inception_block.branches.{i}" for i in range(3)), "conv2", "conv3"]
    blocks = [f"{m}.{part}.0" for m in ("m_rna_model", "mi_rna_model") for part in parts]
    blocks += [f"fc.{i}" for i in (0, 4, 8, 12, 16)]
    norms = [f"{m}.{part}.1" for m in ("m_rna_model", "mi_rna_model") for part in parts]
    norms += [f"fc.{i}" for i in (1, 5, 9, 13, 17)]
    running = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    wanted = {f"{name}.{what}" for name in [*blocks, "output"] for what in ("weight", "bias")}
    wanted |= {f"{name}.{what}" for name in norms for what in running}
    assert len(wanted) == 121
    assert set(TwoBranch(6).state_dict()) == wanted


@pytest.mark.parametrize(
    ("k", "sizes"),
    [(3, (8, 8, 8, 4)), (4, (16, 16, 8, 4)), (5, (32, 32, 16, 8)), (6, (64, 64, 32, 16))],
)
def test_maps_shrink_as_upstreams(k, sizes):
    net, (site, mirna) = tiny(k), pictures(k)
    for branch, which, x in (("m_rna_model", 0, site), ("mi_rna_model", 1, mirna)):
        model = Beside(net, which, ((mirna, site)[which],))
        layers = ("conv1", "inception_block", "conv2", "conv3")
        shapes = [layer_output(model, f"{branch}.{layer}", x).shape for layer in layers]
        assert shapes == [
            (2, width, size, size) for width, size in zip((2, 9, 4, 2), sizes, strict=True)
        ]


def by_hand(state, k, site, mirna):
    """The whole network in evaluation from its state dict, layer by layer."""

    def norm(x, name):
        names = ("running_mean", "running_var", "weight", "bias")
        return F.relu(F.batch_norm(x, *(state[f"{name}.{part}"] for part in names)))

    def conv(x, name):
        weight = state[f"{name}.0.weight"]
        there = F.conv2d(x, weight, state[f"{name}.0.bias"], padding=weight.shape[-1] // 2)
        return norm(there, f"{name}.1")

    def branch(x, name):
        x = conv(x, f"{name}.conv1")
        x = torch.cat([conv(x, f"{name}.inception_block.branches.{i}") for i in range(3)], 1)
        if k > 3:
            x = F.max_pool2d(x, 2)
        x = F.max_pool2d(conv(x, f"{name}.conv2"), 2)
        x = conv(x, f"{name}.conv3")
        if k == 5:
            x = F.max_pool2d(x, 2)
        if k == 6:
            x = F.adaptive_max_pool2d(x, (4, 4))
        return x.flatten(1)

    x = torch.cat([branch(site, "m_rna_model"), branch(mirna, "mi_rna_model")], 1)
    for i in (0, 4, 8, 12, 16):
        x = norm(F.linear(x, state[f"fc.{i}.weight"], state[f"fc.{i}.bias"]), f"fc.{i + 1}")
    return F.linear(x, state["output.weight"], state["output.bias"])


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_the_output_is_that_of_the_layers_one_by_one(k):
    net, given = tiny(k), pictures(k, seed=1)
    out = net(*given)
    assert (out[0] - out[1]).abs().min() > 1e-4  # something reaches the end
    assert torch.allclose(out, by_hand(net.state_dict(), k, *given), atol=1e-12)


def test_weights_begin_as_upstreams():
    torch.manual_seed(0)
    net = TwoBranch(4)
    for name, weight in net.named_parameters():
        if weight.ndim == 4:  # Kaiming, by what goes out
            wanted = math.sqrt(2 / (weight.shape[0] * weight.shape[2] * weight.shape[3]))
        elif weight.ndim == 2:
            wanted = math.sqrt(2 / sum(weight.shape))
        else:
            scale = name.endswith("weight")
            assert (weight == (1 if scale else 0)).all(), name
            continue
        assert weight.std().item() == pytest.approx(wanted, rel=4 / math.sqrt(weight.numel())), name


def test_dropout_stands_where_upstream_has_it():
    net = TwoBranch(6, dropout=0.2)
    found = {name: m.p for name, m in net.named_modules() if type(m).__name__.startswith("Dropout")}
    for branch in ("m_rna_model", "mi_rna_model"):
        inception = {f"{branch}.inception_block.branches.{i}.3": 0.1 for i in range(3)}
        rest = {f"{branch}.{name}": 0.2 for name in ("conv2.3", "conv3.3", "drop")}
        for name, share in (inception | rest).items():
            assert found.pop(name) == share
    assert [*found.values()] == pytest.approx([0.2, 0.2, 0.2, 0.12, 0.06])
    assert TwoBranch(5).m_rna_model.drop.p == 0


def test_features_and_head_are_the_whole_network():
    net, (site, mirna) = tiny(4).train(), pictures(4)
    net.fc[1].eval()
    whole = tiny(4)(site, mirna)
    kept = features(net, "mirna", mirna)
    assert kept.shape == (2, 32)
    parts = head(net, features(net, "site", site), kept)
    assert torch.allclose(parts, whole, atol=1e-12)
    assert net.fc[0].training  # as it was found
    assert not net.fc[1].training


def test_a_gradient_passes_through_kept_features():
    net, (site, mirna) = tiny(3), pictures(3)
    slopes = []
    for cut in (False, True):
        leaf = site.clone().requires_grad_()
        kept = features(net, "mirna", mirna)
        out = head(net, features(net, "site", leaf), kept) if cut else net(leaf, mirna)
        slopes.append(torch.autograd.grad(Difference(1, 0)(out).sum(), leaf)[0])
    assert slopes[0].abs().max() > 0
    assert torch.allclose(*slopes, atol=1e-12)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"k": 7}, "k is 7"),
        ({"k": 3, "dropout": 1.0}, "dropout is 1.0"),
        ({"k": 3, "site_kernels": (2,)}, "kernels are"),
        ({"k": 3, "widths": (2, 2)}, "4 of a branch"),
        ({"k": 3, "hidden": (0, 1, 1, 1, 1)}, "5 of the head"),
    ],
)
def test_a_network_that_cannot_be_is_refused(kwargs, words):
    with pytest.raises(UsageError, match=words):
        TwoBranch(**kwargs)


def test_images_of_another_k_are_refused():
    net = tiny(6)  # whose last pool would take any size
    with pytest.raises(
        UsageError, match=r"\(1, 32, 32\) came to a network that reads \(1, 64, 64\)"
    ):
        net(*pictures(5))
    with pytest.raises(UsageError, match="no branch 'mrna'; there are site, mirna"):
        features(net, "mrna", pictures(6)[0])


@pytest.fixture(scope="module")
def trained():
    """Weights of a default network that are no initial ones."""
    torch.manual_seed(1)
    net = TwoBranch(3)
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 0.2)
    return net.eval()


def checkpoint(net, **more):
    return {"epoch": 3, "model_state_dict": net.state_dict(), "score": 0.8, **more}


@pytest.mark.parametrize(
    ("form", "k"),
    [
        ("dict", 3),
        ("bare", 3),
        ("k", None),
        ("config", None),
        ("config", 3),
        ("safetensors", 3),
        ("metadata", None),
        ("legacy", 3),
    ],
)
def test_a_checkpoint_of_any_form_gives_the_same_network(tmp_path, trained, form, k):
    path = tmp_path / "best_model.pth"
    state = trained.state_dict()
    if form in ("safetensors", "metadata"):
        save_file(state, path, {"k": "3"} if form == "metadata" else None)
    elif form == "legacy":
        torch.save(checkpoint(trained), path, _use_new_zipfile_serialization=False)
    else:
        optimizer = torch.optim.Adam(trained.parameters()).state_dict()
        made = {
            "dict": checkpoint(trained, optimizer_state_dict=optimizer),
            "bare": state,
            "k": checkpoint(trained, k=3),
            "config": checkpoint(trained, config={"k": 3}),
        }
        torch.save(made[form], path)
    net = load_upstream(path, k=k, dropout=0.3)
    assert not net.training
    assert net.encoding.k == 3
    assert net.fc[3].p == 0.3
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(net(x, x), trained(x, x))


def test_k_must_be_said_once_and_alike(tmp_path, trained):
    path = tmp_path / "best_model.pth"
    torch.save(checkpoint(trained), path)
    with pytest.raises(UsageError, match="does not say its k"):
        load_upstream(path)
    torch.save(checkpoint(trained, k=4), path)
    with pytest.raises(UsageError, match="trained with k = 4; k = 3 was asked for"):
        load_upstream(path, k=3)
    torch.save(checkpoint(trained, k=9), path)
    with pytest.raises(DataError, match="says k = 9"):
        load_upstream(path)


def lost(state):
    del state["output.bias"]


def added(state):
    state["fc.99.weight"] = torch.zeros(2)


def reshaped(state):
    state["output.weight"] = torch.zeros(3, 32)


def undefined(state):
    state["output.bias"] = torch.tensor([0.0, math.nan])


def all_prefixed(state):
    for name in [*state]:
        state[f"module.{name}"] = state.pop(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lost, "output.bias is missing"),
        (added, "fc.99.weight is unknown"),
        (reshaped, r"output.weight is \(3, 32\) and not \(2, 32\)"),
        (undefined, "output.bias holds what is not finite"),
        (all_prefixed, "m_rna_model.conv1.0.weight is missing.* and 239 more"),
    ],
)
def test_keys_that_do_not_fit_are_named(tmp_path, trained, change, words):
    path, state = tmp_path / "weights.pth", dict(trained.state_dict())
    change(state)
    torch.save(state, path)
    with pytest.raises(DataError, match=words):
        load_upstream(path, k=3)


def test_a_score_that_is_a_numpy_number_says_what_to_do(tmp_path, trained):
    path = tmp_path / "best_model.pth"
    torch.save(checkpoint(trained, score=np.float64(0.8)), path)
    with pytest.raises(DataError, match="NumPy number.*where you trust it, save its weights alone"):
        load_upstream(path, k=3)


class Attack:
    """What a pickle can do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def pickled(what, path):
    path.write_bytes(pickle.dumps(what))


@pytest.mark.parametrize("write", [torch.save, pickled])
def test_a_pickle_is_never_run(tmp_path, write):
    path, mark = tmp_path / "best_model.pth", tmp_path / "it ran"
    write({"model_state_dict": {}, "score": Attack(mark)}, path)
    with pytest.raises(DataError, match=r"cannot read|not read because a pickle can run code"):
        load_upstream(path, k=3)
    assert not mark.exists()


def zipped():
    """An archive that looks like TorchScript."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("constants.pkl", "data.pkl", "code/__torch__.py", "version"):
            archive.writestr(f"net/{name}", "3")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no checkpoint: it begins with b''"),
        (b"epoch,loss\n1,0.5\n", "is no checkpoint"),
        (b"PK\x03\x04 cut short", "cannot read the checkpoint"),
        (b"\x10\0\0\0\0\0\0\0{not json        ", "cannot read the checkpoint"),
        (zipped(), "cannot read the checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, words):
    path = tmp_path / "best_model.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_upstream(path, k=3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds list"),
        ({"epoch": 1, "score": 0.5}, r"holds \['epoch', 'score'\]; a state dict is needed"),
        ({"model_state_dict": {"a": 1}}, "a state dict is needed"),
    ],
)
def test_a_checkpoint_without_weights_is_refused(tmp_path, content, words):
    path = tmp_path / "best_model.pth"
    torch.save(content, path)
    with pytest.raises(DataError, match=words):
        load_upstream(path, k=3)


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read the checkpoint .*No such file"):
        load_upstream(tmp_path / "nothing.pth", k=3)
