"""A job of paired cell inpainting: what is read, what a preset says, and what is refused."""

import pytest

from attributome.core.errors import UsageError
from attributome.pipeline.inpaint.checking import check
from attributome.pipeline.inpaint.job import PUBLISHED, InpaintJob, changed, job_from, read_job


def test_a_job_is_its_file_and_the_flags_which_go_first(tmp_path):
    path = tmp_path / "cells.toml"
    path.write_text('seed = 3\n[data]\nsource = "crops"\nleast = 5\n[data.nuclei]\nsigma = 2.0\n')
    job = read_job(path, {"data.least": 7, "features.pools": ["mean"]})
    assert (job.seed, job.data.source, job.data.least, job.data.nuclei.sigma) == (3, "crops", 7, 2)
    assert job.features.pools == ("mean",)
    assert job_from(job.model_dump(mode="json"), "again") == job


def test_the_published_preset_gives_way_key_by_key():
    job = read_job(None, {"train.preset": "published", "train.epochs": 3})
    assert (job.train.lr, job.train.betas, job.train.batch) == (1e-4, (0.5, 0.999), 64)
    assert (job.train.schedule, job.train.patience, job.train.epochs) == ("constant", None, 3)
    assert {k: getattr(job.train, k) for k in PUBLISHED} | {"epochs": 30} == {**PUBLISHED}
    assert changed(job, {"seed": 1}).train == job.train
    ours = changed(job, {"train.preset": "", "train.batch": 8}).train
    assert ours == InpaintJob().train.model_copy(update={"batch": 8})
    assert changed(InpaintJob(), {"train.preset": "published"}).train.lr == 1e-4


WRONG = {
    "a key": ({"data.chanels": {}}, "unknown key 'data.chanels'; did you mean 'channels'?"),
    "a key of nuclei": ({"data.nuclei.sigme": 1}, "unknown key 'data.nuclei.sigme'; did you mean"),
    "a section": ({"trian.lr": 1}, "unknown key 'trian'; did you mean 'train'?"),
    "a word for a number": ({"train.lr": "fast"}, "train.lr is 'fast', but"),
    "a kind": ({"data.kind": "folder"}, "data.kind is 'folder', but"),
    "a pool": ({"features.pools": ["median"]}, "but input should be 'max'"),
    "four widths": ({"network.widths": [8, 8, 8, 8]}, "network.widths is [8, 8, 8, 8], but"),
    "a part": ({"data.shares": {"test": 0.5, "trian": 0.5}}, "data.shares"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_job_can_say_is_refused(case):
    changes, message = WRONG[case]
    with pytest.raises(UsageError) as refusal:
        read_job(None, changes)
    assert message in str(refusal.value)


ODD = {
    "no source": ({"data.source": ""}, "no cells are named: give data.source"),
    "shares": ({"data.shares": {"train": 0.5, "test": 0.2}}, "sum to 1"),
    "nothing to train on": ({"data.shares": {"test": 1.0}}, "leaves no fields to train"),
    "recipe": ({"data.recipe": "yaest"}, "did you mean 'yeast'?"),
    "size": ({"data.size": 30}, "data.size is 30; the network takes crops"),
    "size that is halved": ({"data.size": 44, "data.recipe": "human"}, "shrinks them by 2"),
    "layer": ({"features.layers": ["conv6_1"]}, "features.layers has 'conv6_1'; there are conv1_1"),
    "layer of the findings": ({"evaluate.layer": "conv31"}, "did you mean 'conv3_1'?"),
    "a layer twice": ({"features.layers": ["conv1_1", "conv1_1"]}, "names one twice"),
    "a channel twice": ({"data.channels": {"a": "x", "b": "x"}}, "gives one name twice"),
    "target": ({"data.channels": {"a": "x"}, "data.targets": ["y"]}, "data.targets has 'y'"),
    "sets": ({"evaluate.sets": "nowhere.gmt"}, "there is no such file"),
    "preset of no training": ({"network.source": "n", "train.preset": "published"}, "not trained"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(case):
    changes, message = ODD[case]
    job = read_job(None, {"data.source": "crops", **changes})
    with pytest.raises(UsageError) as refusal:
        check(job)
    assert message in str(refusal.value)


def test_a_network_needs_no_fields_to_train_on():
    shares = {"data.shares": {"test": 1.0}}
    check(read_job(None, {"data.source": "crops", "network.source": "folder", **shares}))
