"""The upstream's own flags and files: its command line still works, and its tree is complete."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from attributome.sequence.networks.upstream import TwoBranch
from attributome.sequence.pairs.planted import write_planted_pairs
from end_to_end.jobs import call, halves, sentence

METHODS = (
    *("IntegratedGradients", "Saliency", "DeepLift", "GradientSHAP", "SmoothGrad", "SHAP"),
    "IG_Corrected",
)


@pytest.fixture
def asked(tmp_path):
    """A checkpoint as the upstream saves it, and pairs with its column names."""
    torch.manual_seed(0)
    net = TwoBranch(3)
    path = tmp_path / "best_model.pth"
    state = {"epoch": 1, "model_state_dict": net.state_dict(), "score": 0.8}
    torch.save(state, path)
    table = write_planted_pairs(tmp_path / "miraw.csv", mirnas=4, pairs_each=4, site_length=24)
    return ("--checkpoint", path, "--data", table)


@pytest.mark.slow
def test_the_flags_of_the_upstream_write_its_tree(asked, tmp_path, capsys):
    out = tmp_path / "interpretability"
    words = ("--k", 3, "--n_samples", 1, "--n_background", 2, "--dropout", 0.1, "--output", out)
    assert call("fcgr", "explain", *asked, *words, "--dpi", 20) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("figures: ")
    facts = json.loads((out / "analysis_summary.json").read_text())
    assert (facts["n_samples_analyzed"], facts["n_background_samples"], facts["k_mer"]) == (1, 2, 3)
    assert tuple(facts["methods_used"]) == METHODS
    names = {path.name for path in out.glob("*.png")}
    (index,) = {name.split("_")[1] for name in names if name.startswith("sample_")}
    wanted = {f"sample_{index}_{b}_{m}.png" for b in ("mirna", "mrna") for m in METHODS}
    wanted |= {f"sample_{index}_{b}_{w}.png" for b in ("mirna", "mrna")
               for w in ("comparison", "clusters")}  # fmt: skip
    wanted |= {f"sample_{index}_{w}.png" for w in ("gradcam", "interaction_heatmap")}
    wanted |= {f"{b}_conv1_{w}.png" for b in ("mirna", "mrna") for w in ("filters", "activations")}
    wanted |= {f"average_attribution_{m}.png" for m in METHODS}
    assert names == wanted
    exported = np.load(out / "numpy_exports" / f"sample_{index}_IntegratedGradients_mrna.npy")
    stored = out / "parts" / "explain" / "pairs-000000" / "map_integrated_gradients_alone_site.npy"
    assert np.array_equal(exported.ravel(), np.load(stored)[0])
    assert pd.read_parquet(out / "pairs.parquet")["id"][int(index)] == str(int(index) + 1)
    assert len(pd.read_csv(out / "attribution_statistics.csv")) == 2 * len(METHODS)
    assert halves(out) == []


def test_a_checkpoint_does_not_say_its_k(asked, tmp_path, capsys):
    assert call("fcgr", "evaluate", *asked, "--k", 3, "--out", tmp_path / "run") == 0
    capsys.readouterr()
    assert call("fcgr", "train", "--out", tmp_path / "run") == 2
    assert "so there is nothing to train" in sentence(capsys.readouterr().err)


def test_a_checkpoint_of_something_else(asked, tmp_path, capsys):
    torch.save({"model_state_dict": {"x": torch.zeros(2)}}, asked[1])
    assert call("fcgr", "evaluate", *asked, "--k", 3, "--out", tmp_path / "run") == 3
    assert "is a checkpoint of another network" in sentence(capsys.readouterr().err)
    assert call("fcgr", "evaluate", "--checkpoint", "nowhere.pth", *asked[2:]) == 3
    assert "there is no network nowhere.pth" in sentence(capsys.readouterr().err)
