"""Training on pairs learns, leaves no row out, resumes to the same bits; asking is per pair."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.training import Plan
from attributome.sequence.alphabet import strands
from attributome.sequence.images import Encoding
from attributome.sequence.networks.fit import fit_pairs, new_network, predict_pairs, trained

CPU = Compute()
KWARGS = {
    "k": 3,
    "dropout": 0.1,
    "site_kernels": (1, 3),
    "mirna_kernels": (1,),
    "widths": (4, 4, 8, 4),
    "hidden": (32, 24, 16, 16, 8),
}


def pairs(n=80, seed=0):
    """A site interacts where it is rich in G; the miRNAs say nothing."""
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    share = [[0.4, 0.25, 0.1, 0.25], [0.1, 0.25, 0.4, 0.25]]
    words = [["".join(draw.choice(list("ACGT"), 22)) for _ in range(5)], []]
    words[1] = ["".join(draw.choice(list("ACGT"), 30, p=share[y])) for y in labels]
    return pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(n)],
            "mirna": [words[0][i] for i in draw.integers(0, 5, n)],
            "site": words[1],
            "label": labels,
        }
    )


def split(table, held=20):
    ids = table["id"].tolist()
    return {"train": ids[:-held], "validate": ids[-held:]}


def network():
    return new_network("upstream", KWARGS, seed=1)


def train(net, table=None, parts=None, folder=None, **more):
    table = pairs() if table is None else table
    plan = more.pop("plan", Plan(lr=3e-3, epochs=3, clip=1.0))
    given = {"plan": plan, "batch": 16, "compute": CPU, "folder": folder} | more
    return fit_pairs(net, table, parts or split(table), **given)


def equal(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


class Recorder(nn.Module):
    """Logits from the sum of squares of the site's image, and a list of the batches that came."""

    def __init__(self, k=3, site_bins=1, mirna_bins=1):
        super().__init__()
        self.encoding = Encoding(k=k, site_bins=site_bins, mirna_bins=mirna_bins)
        self.scale = nn.Parameter(torch.tensor([0.0, 1.0]))
        self.came = []

    def forward(self, site, mirna):
        if self.training:
            self.came.append((site.detach().clone(), mirna.detach().clone()))
        return site.flatten(1).square().sum(1, keepdim=True) * self.scale


def test_it_learns_what_tells_the_sites_apart():
    table, net = pairs(300), network()
    story = train(net, table, split(table, 60), plan=Plan(lr=1e-2, epochs=5, clip=1.0))
    assert story.rows[story.best_epoch]["val_auc"] > 0.9
    unseen = pairs(200, seed=9)
    assert roc_auc_score(unseen["label"], predict_pairs(net, unseen)) > 0.9


def test_the_log_holds_the_held_out_loss_and_auc(tmp_path):
    table, net = pairs(), network()
    story = train(net, table, folder=tmp_path, plan=Plan(epochs=1))
    row = story.rows[0]
    assert list(row) == ["epoch", "loss", "val_loss", "val_auc"]
    assert (tmp_path / "log.csv").read_text().startswith("epoch,loss,val_loss,val_auc\n")
    held = table.iloc[-20:]
    gap = torch.from_numpy(predict_pairs(net, held)).double()
    labels = torch.from_numpy(held["label"].to_numpy())
    loss = F.binary_cross_entropy_with_logits(gap, labels.double())
    assert row["val_loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert row["val_auc"] == pytest.approx(roc_auc_score(labels, gap), abs=1e-12)


def test_the_auc_can_be_watched_instead():
    story = train(network(), plan=Plan(lr=3e-3, epochs=5, watch="auc_gap"))
    aucs = [row["val_auc"] for row in story.rows]
    assert story.best == pytest.approx(1 - max(aucs))
    assert story.best_epoch == aucs.index(max(aucs))


@pytest.mark.parametrize("stop_after", [2, 5, 9])
def test_killed_and_resumed_is_bit_for_bit_uninterrupted(tmp_path, stop_after):
    straight, broken = network(), network()
    wanted = train(straight, folder=tmp_path / "straight")
    told = []

    def stop(done, words):
        told.append(words)
        if len(told) == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(broken, folder=tmp_path / "broken", progress=stop)
    torch.manual_seed(1234)  # what others drew must not matter
    resumed = network()
    got = train(resumed, folder=tmp_path / "broken")
    assert got.rows == wanted.rows
    assert equal(resumed, straight)


def test_a_seed_decides_the_training_and_nobody_elses_draws():
    before = torch.get_rng_state()
    nets = [network(), network(), network()]
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        train(net, seed=seed, plan=Plan(epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(nets[0], nets[1])
    assert not equal(nets[0], nets[2])


class Dropped(Recorder):
    """Keeps what dropout leaves of a row of ones."""

    def forward(self, site, mirna):
        self.came.append(F.dropout(torch.ones(50), training=self.training))
        return site.flatten(1).square().sum(1, keepdim=True) * self.scale


def test_each_step_drops_something_else():
    kept = []
    for seed in (0, 0, 1):
        net = Dropped()
        train(net, seed=seed, plan=Plan(epochs=2))
        kept.append([tuple(row.tolist()) for row in net.came if 0 in row])
    assert kept[0] == kept[1]
    assert len({*kept[0], *kept[2]}) == len(kept[0]) + len(kept[2]) == 16


def test_another_seed_or_other_pairs_do_not_go_on_from_a_checkpoint(tmp_path):
    plan, table, parts = Plan(epochs=1), pairs(), split(pairs())
    train(network(), folder=tmp_path, plan=plan)
    fewer = [parts | {part: parts[part][2:]} for part in parts]
    swapped = table.assign(site=[table["site"][1], table["site"][0], *table["site"][2:]])
    for other in (
        {"seed": 1},
        {"batch": 20},
        {"balance": True},
        {"parts": fewer[0]},
        {"parts": fewer[1]},
        {"table": swapped},
    ):
        with pytest.raises(DataError, match="other settings, data"):
            train(network(), folder=tmp_path, plan=plan, **other)


@pytest.mark.parametrize(
    ("n", "batch", "sizes"),
    [(60, 16, [15] * 4), (65, 64, [33, 32]), (3, 2, [3]), (5, 2, [3, 2]), (7, 64, [7])],
)
def test_every_row_is_trained_on_once_and_never_alone(n, batch, sizes):
    table, net = pairs(n + 4), Recorder()
    train(net, table, split(table, 4), batch=batch, plan=Plan(epochs=2))
    assert [len(site) for site, _ in net.came] == sizes * 2
    wanted = Encoding(k=3).site(strands(table["site"].tolist()[:n]))
    for epoch in (net.came[: len(sizes)], net.came[len(sizes) :]):
        seen = torch.cat([site for site, _ in epoch])
        assert sorted(seen.flatten(1).tolist()) == sorted(wanted.flatten(1).tolist())
    orders = [torch.cat([s for s, _ in net.came[i : i + len(sizes)]]) for i in (0, len(sizes))]
    assert not torch.equal(*orders)


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 30, 22), (7, 24, 3)])
def test_images_from_kept_windows_are_those_of_the_text(shape):
    """With k = 7, three position channels are more cells than 16 bits can name."""
    table, net = pairs(20), Recorder(*shape)
    train(net, table, split(table, 4), batch=16, plan=Plan(epochs=1))
    (site, mirna), some = net.came[0], table.iloc[:16]
    wanted = net.encoding.site(strands(some["site"].tolist()))
    partner = net.encoding.mirna(strands(some["mirna"].tolist()))
    for got_site, got_mirna in zip(site, mirna, strict=True):
        at = [i for i in range(16) if torch.equal(got_site, wanted[i])]
        assert len(at) == 1
        assert torch.equal(got_mirna, partner[at[0]])


def test_balance_weighs_both_labels_alike():
    table = pairs()
    table["label"] = (np.arange(80) % 4 == 0).astype(int)
    net = network()
    story = train(net, table, plan=Plan(lr=0.0, epochs=1), balance=True)
    held = table.iloc[-20:]
    gap = torch.from_numpy(predict_pairs(net, held))
    each = F.binary_cross_entropy_with_logits(
        gap, torch.from_numpy(held["label"].to_numpy()).float(), reduction="none"
    ).numpy()
    wanted = np.mean([each[held["label"] == label].mean() for label in (0, 1)])
    assert story.rows[0]["val_loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_a_prediction_is_of_its_pair_whatever_is_beside_it(batch):
    table, net = pairs(40), network()
    train(net, table, split(table, 10), plan=Plan(epochs=1))
    sites = net.encoding.site(strands(table["site"].tolist()))
    mirnas = net.encoding.mirna(strands(table["mirna"].tolist()))
    net.eval()
    with torch.no_grad():
        out = net(sites, mirnas)
    wanted = (out[:, 1] - out[:, 0]).numpy()
    assert predict_pairs(net, table, batch=batch) == pytest.approx(wanted, abs=1e-5)
    some = table.iloc[[31, 4, 4]].drop(columns="label")
    assert predict_pairs(net, some, batch=batch) == pytest.approx(wanted[[31, 4, 4]], abs=1e-5)


def test_a_shared_sequence_passes_once_and_the_network_stays_as_it_was():
    table, net = pairs(40), network().train()
    seen = {"m_rna_model": 0, "mi_rna_model": 0}
    for name in seen:

        def count(_module, given, name=name):
            seen[name] += len(given[0])

        getattr(net, name).register_forward_pre_hook(count)
    predict_pairs(net, table)
    assert seen == {"m_rna_model": 40, "mi_rna_model": 5}
    seen.update(dict.fromkeys(seen, 0))
    predict_pairs(net, table, batch=8)
    assert seen["m_rna_model"] == 40
    assert seen["mi_rna_model"] <= 5 + 4  # a miRNA's pairs lie in one batch, or in neighbours
    assert net.training
    assert all(weight.requires_grad for weight in net.parameters())


def test_a_network_of_one_piece_is_asked_as_a_whole():
    table = pairs(9)
    sites = Encoding(k=3).site(strands(table["site"].tolist()))
    wanted = sites.flatten(1).square().sum(1).numpy()
    assert predict_pairs(Recorder(), table, batch=4) == pytest.approx(wanted)


def test_progress_is_told_and_no_pairs_are_no_error():
    told = []
    predict_pairs(Recorder(), pairs(9), batch=4, progress=lambda *say: told.append(say))
    assert [words for _, words in told] == ["pair 4 of 9", "pair 8 of 9", "pair 9 of 9"]
    assert told[-1][0] == 1
    assert len(predict_pairs(Recorder(), pairs(9).iloc[:0])) == 0


def test_what_a_training_was_is_told():
    table, plan = pairs(), Plan(lr=3e-3, epochs=2)
    parts = split(table) | {"test": []}
    story = train(network(), table, parts, plan=plan)
    told = trained(plan, story, parts, batch=16, seed=3)
    assert told["parts"] == {"train": 60, "validate": 20, "test": 0}
    assert told["best"] == story.rows[story.best_epoch]
    assert (told["plan"]["lr"], told["batch"], told["seed"], told["epochs"]) == (3e-3, 16, 3, 2)


def without(column):
    return pairs().drop(columns=column)


def with_value(column, row, value):
    table = pairs()
    table[column] = table[column].astype(object)
    table.loc[row, column] = value
    return table


IDS = pairs()["id"].tolist()


@pytest.mark.parametrize(
    ("table", "parts", "more", "error", "words"),
    [
        (without("label"), None, {}, DataError, "no column 'label'"),
        (without("site"), None, {}, DataError, "no column 'site'"),
        (with_value("label", 3, None), None, {}, DataError, "'p3' of the part 'train'"),
        (
            with_value("label", 79, 2),
            None,
            {},
            DataError,
            "'p79' of the part 'validate' .* label 2",
        ),
        (
            with_value("site", 4, "AC"),
            None,
            {},
            DataError,
            "the site of pair 'p4' has no word of 3",
        ),
        (with_value("site", 4, None), None, {}, DataError, "the site of pair 'p4'"),
        (with_value("mirna", 6, "ACNGTNNNAC"), None, {}, DataError, "the mirna of pair 'p6'"),
        (with_value("id", 6, "p7"), None, {}, DataError, "the id 'p7' stands for two pairs"),
        (pairs(), {"train": IDS}, {}, DataError, "no pairs in its part 'validate'"),
        (pairs(), {"train": [], "validate": IDS}, {}, DataError, "no pairs in its part 'train'"),
        (pairs(), {"train": IDS[::2], "validate": IDS[1:3]}, {}, DataError, "pair 'p2' is to be"),
        (
            pairs(),
            {"train": IDS[:50:2], "validate": IDS[50:]},
            {},
            DataError,
            "all 25 pairs of the part 'train' have the label 0",
        ),
        (
            pairs(),
            {"train": IDS[:50], "validate": IDS[51::2]},
            {},
            DataError,
            "all 15 pairs of the part 'validate' have the label 1",
        ),
        (pairs(), {"train": ["x"], "validate": IDS}, {}, DataError, "'train' names the pair 'x'"),
        (pairs(), None, {"batch": 1}, UsageError, "batch of 1"),
        (pairs(), None, {"plan": Plan(watch="auc")}, UsageError, "'auc' cannot be watched"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(table, parts, more, error, words):
    with pytest.raises(error, match=words):
        train(network(), table, parts or {"train": IDS[:60], "validate": IDS[60:]}, **more)


def test_a_network_without_an_encoding_is_refused():
    with pytest.raises(UsageError, match="Linear does not say what images it reads"):
        predict_pairs(nn.Linear(2, 2), pairs())
    with pytest.raises(UsageError, match="batch of 0"):
        predict_pairs(Recorder(), pairs(), batch=0)
