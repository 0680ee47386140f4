"""What each weight of the mask loss does: trained, judged and gone on with."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from attributome.core.errors import UsageError
from attributome.core.types import Progress
from attributome.masks.generator import load_generator
from attributome.pipeline.study.ablation import SWEEPS, ablation
from attributome.pipeline.study.looked import Hand
from attributome.studies.found import Found
from end_to_end.jobs import halves
from end_to_end.tiny_studies import deep_run, studied, tiny_run

SHORT = {"epochs": 2, "steps": 3, "agreement": [], "fidelity": [], "size": [0.0]}
PLANTED = {**SHORT, "epochs": 3, "steps": 8, "size": [0.0, 20.0]}
BASE, FREE, SMALL = (f"agreement=6 fidelity=1 size={size}" for size in (1, 0, 20))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run whose masks learn fast."""
    return tiny_run(tmp_path_factory.mktemp("fast"), masks__lr=0.03)


@pytest.fixture(scope="module")
def swept(run, tmp_path_factory) -> tuple[Path, Found]:
    out = tmp_path_factory.mktemp("swept")
    return out, ablation(studied([f"a={run}"], out, ablation=PLANTED))


def test_without_the_term_of_size_masks_are_larger_in_every_field(swept):
    fields = swept[1].tables["fields"]
    wide = fields[fields["at"] == "last"].pivot(index="field", columns="run", values="size")
    assert len(wide) == 3
    assert (wide[FREE] > wide[SMALL] + 0.2).all()


def test_only_settings_that_differ_in_one_weight_are_compared(swept):
    found = swept[1]
    pairs = found.tables["pairs"]
    size = pairs[(pairs["component"] == "size") & (pairs["at"] == "last")]
    assert {(row["first"], row["second"]) for _, row in size.iterrows()} == {
        (BASE, FREE), (SMALL, BASE), (SMALL, FREE),
    }  # fmt: skip
    means = found.numbers["a"]["last"]
    row = size[size["first"] == SMALL].set_index("second").loc[FREE]
    assert row["difference"] == pytest.approx(means[SMALL]["size"] - means[FREE]["size"])
    assert row["p"] == pytest.approx(0.25)  # of eight flips two are as far
    assert any("no p can be below 0.25" in said for said in found.words)


def test_the_best_epoch_is_by_what_every_weighting_shares(swept):
    histories = swept[1].tables["histories"]
    for _, part in histories.groupby("training"):
        lowest = min(part["val_loss"])
        want = next(e for e, v in zip(part["epoch"], part["val_loss"], strict=True) if v == lowest)
        assert part.loc[part["best"], "epoch"].tolist() == [want]
        total = sum(part[f"w_{term}"] * part[term] for term in ("agreement", "fidelity", "size"))
        np.testing.assert_allclose(part["loss"], total, rtol=1e-5)
        assert (part["val_loss"] < 1).all()  # an efficacy, and no weighted total


def test_soft_and_binary_are_those_of_the_generator_that_was_trained(run, swept):
    out, found = swept
    studies = studied([f"a={run}"], out, ablation=PLANTED)
    one, field = studies.fields()[0]
    rows = found.tables["fields"].query("at == 'best' and field == @field").set_index("run")
    folder = next((out / SWEEPS).glob(f"*{SMALL}*"))
    net, hand, model = load_generator(folder), Hand(one=one, name=field), one.study.model
    with torch.no_grad():
        soft = net.logits(torch.cat([hand.x, model(hand.x)], 1)).sigmoid()
        count = round(float(soft.mean()) * soft.numel())
        cut = soft.flatten().sort(descending=True).values[count - 1]
        wanted = model(hand.x).numpy()
        for kind, mask in (("soft", soft), ("binary", (soft >= cut).float())):
            got = model(hand.x * mask + hand.fill * (1 - mask)).numpy()
            efficacy = np.corrcoef(got.ravel(), wanted.ravel())[0, 1]
            assert rows.loc[SMALL, f"efficacy_{kind}"] == pytest.approx(efficacy, abs=2e-3)
            gap = ((got - wanted) ** 2).mean()
            assert rows.loc[SMALL, f"difference_{kind}"] == pytest.approx(gap, rel=1e-2)
    assert rows.loc[SMALL, "size"] == pytest.approx(float(soft.mean()), abs=1e-5)


class Killed(BaseException):
    """What ends a process in the middle of things."""


def test_a_killed_sweep_goes_on_and_ends_with_the_same_numbers(run, tmp_path):
    def deadly(title: str) -> Progress:
        def progress(share: float, words: str) -> None:
            if title == "loss weights" and share > 0.8:
                raise Killed

        return progress

    whole = ablation(studied([f"a={run}"], tmp_path / "whole", ablation=SHORT))
    with pytest.raises(Killed):
        ablation(studied([f"a={run}"], tmp_path / "killed", deadly, ablation=SHORT))
    done = list((tmp_path / "killed" / SWEEPS).glob("*/generator.json"))
    begun = list((tmp_path / "killed" / SWEEPS).glob("*/last.safetensors"))
    assert (len(done), len(begun)) == (1, 2)  # one whole, one after its first epoch
    before = done[0].stat().st_mtime_ns
    again = ablation(studied([f"a={run}"], tmp_path / "killed", ablation=SHORT))
    for name, table in whole.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[name])
    assert done[0].stat().st_mtime_ns == before
    assert not halves(tmp_path / "killed")


@pytest.mark.slow
def test_stacks_and_several_seeds(tmp_path, tmp_path_factory):
    run = deep_run(tmp_path_factory)
    asked = {**SHORT, "epochs": 1, "steps": 1, "seeds": 2}
    found = ablation(studied([f"deep={run}"], tmp_path, ablation=asked))
    fields = found.tables["fields"]
    assert len(fields) == 3 * 2 * 2 * 2  # fields, settings, seeds, and when
    one = fields.query("run == @BASE and at == 'last' and field == 'field0002'")
    assert one["seed"].tolist() == [0, 1]
    assert one["size"].nunique() == 2
    runs = found.tables["runs"].query("run == @BASE and at == 'last' and component == 'size'")
    mean = fields.query("run == @BASE and at == 'last'")["size"].mean()
    assert runs["mean"].item() == pytest.approx(mean)
    assert runs["rows"].item() == 3  # fields, and not trainings, are counted


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"preset": "image"}, "have a size that training draws"),
        ({"preset": "none"}, "no preset 'none'"),
        ({"agreement": [], "fidelity": [], "size": [1.0]}, "is that of the preset"),
    ],
)
def test_what_cannot_be_ablated_is_refused_before_anything_is_trained(run, tmp_path, asked, says):
    with pytest.raises(UsageError, match=says):
        ablation(studied([f"a={run}"], tmp_path, ablation=asked))
    assert not (tmp_path / SWEEPS).exists()
