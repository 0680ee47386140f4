"""A job is read, checked and shown; every mistake is one sentence that says what is right."""

import tomllib

import pytest

from attributome.config import Job, example, job_from, read_job, write_example
from attributome.core.errors import UsageError


def test_the_example_is_read_back_to_the_same_job(tmp_path):
    job = job_from(
        {
            "name": 'a "b"', "seed": 4,
            "data": {"source": "fields.csv", "inputs": ["ch6", 7], "split": {"train": 1.0}},
            "masks": {"minutes": 2.5, "form": "soft"},
            "explain": {"methods": {"learned_mask": {}, "occlusion": {"window": 8}}},
        },
        "here",
    )  # fmt: skip
    path = tmp_path / "job.toml"
    write_example(path, job)
    assert read_job(path) == job
    assert tomllib.loads(example(Job()))["masks"]["noise"] == "gaussian"
    assert "# minutes =" in example(Job())
    with pytest.raises(UsageError, match="exists already"):
        write_example(path, job)


def test_flags_go_before_the_file(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text("[masks]\nepochs = 3\nbatch = 2\n")
    job = read_job(path, {"masks.epochs": 5, "seed": 9})
    assert (job.masks.epochs, job.masks.batch, job.seed) == (5, 2, 9)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"mask": {}}, "unknown key 'mask'; did you mean 'masks'"),
        (
            {"masks": {"noise_scal": 1}},
            "unknown key 'masks.noise_scal'; did you mean 'noise_scale'",
        ),
        ({"data": {"qqq": 1}}, "unknown key 'data.qqq'; the keys here are source, inputs"),
        ({"masks": {"epochs": 0}}, "masks.epochs is 0, but input should be greater than or equal"),
        ({"masks": {"epochs": "many"}}, "masks.epochs is 'many', but input should be a valid int"),
        (
            {"predictor": {"task": "segment"}},
            "predictor.task is 'segment', but input should be 'im",
        ),
    ],
)
def test_mistakes_are_one_sentence(values, says):
    with pytest.raises(UsageError, match=says):
        job_from(values, "job.toml")


def test_files_that_are_no_jobs_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read the job"):
        read_job(tmp_path / "absent.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("name = \n")
    with pytest.raises(UsageError, match="is not TOML"):
        read_job(bad)
    with pytest.raises(UsageError, match="reaches into a value"):
        read_job(None, {"seed": 1, "seed.x": 2})
