"""The knobs land where the known curve crosses the floor, and only on values that were measured."""

import json
import math

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.masks.choose import choose_noise, choose_threshold
from attributome.metrics.intervals import median_interval

FIELDS = np.linspace(-0.1, 0.1, 9)
GRID = [0.1, 0.3, 0.5, 0.7, 0.9]


def fading(scale):
    """Median exp(−scale): passes below 0.2 at log 5."""
    return math.exp(-scale) + FIELDS


def narrowing(threshold):
    """Median 1 − threshold²/4: keeps 0.9 up to √0.4."""
    return 1 - threshold**2 / 4 + FIELDS


def kept(threshold):
    return 1 - threshold + 0.1 * FIELDS


def kept_by_three(threshold):
    return np.full(3, 1 - threshold)


class Counted:
    """A measure that remembers where it was asked."""

    def __init__(self, measure):
        self.measure, self.asked = measure, []

    def __call__(self, value):
        self.asked.append(value)
        return self.measure(value)


@pytest.mark.parametrize("tolerance", [0.5, 0.05, 0.001])
def test_noise_is_the_smallest_scale_that_hides(tolerance):
    choice = choose_noise(fading, tolerance=tolerance)
    assert math.log(5) < choice.value <= math.log(5) + tolerance
    assert (choice.met, choice.floor, choice.fields) == (True, 0.2, 9)


def test_every_point_was_measured_once_and_is_told():
    measure = Counted(fading)
    choice = choose_noise(measure)
    assert len(measure.asked) == len(set(measure.asked)) <= 10
    assert [point.value for point in choice.curve] == sorted(measure.asked)
    chosen = {point.value: point for point in choice.curve}[choice.value]
    assert chosen.median < 0.2
    for point in choice.curve:
        assert point.median == pytest.approx(math.exp(-point.value))
        assert point.median - 0.1 <= point.low < point.median < point.high <= point.median + 0.1
        assert point.mask_size is None


def test_noise_that_already_hides_is_the_lowest():
    choice = choose_noise(fading, low=2.0)
    assert (choice.value, len(choice.curve)) == (2.0, 1)


def test_noise_that_never_hides_is_refused_with_what_it_reached():
    with pytest.raises(
        DataError, match=r"noise of scale 1 .* median efficacy of 0\.37 over 9 fields"
    ):
        choose_noise(fading, high=1.0)


def test_exactly_the_floor_is_not_below_it():
    choice = choose_noise(lambda s: np.full(3, 0.2 if s < 3 else 0.1), high=4.0, tolerance=0.01)
    assert choice.value == 3.0


def test_threshold_is_the_largest_that_keeps_the_floor():
    choice = choose_threshold(narrowing, kept, thresholds=GRID, tolerance=0.005)
    assert math.sqrt(0.4) - 0.005 <= choice.value <= math.sqrt(0.4)
    assert choice.met
    measured = {point.value: point for point in choice.curve}
    assert set(GRID) < set(measured)
    assert measured[choice.value].median >= 0.9
    assert all(p.mask_size == pytest.approx(1 - p.value) for p in choice.curve)


def test_the_grid_is_refined_only_beside_the_crossing():
    measure = Counted(narrowing)
    choose_threshold(measure, kept, thresholds=[*reversed(GRID), 0.5], tolerance=0.03)
    assert measure.asked[:5] == GRID
    assert measure.asked[5:] == pytest.approx([0.6, 0.65, 0.625])


def test_a_grid_that_keeps_the_floor_everywhere_gives_its_end():
    choice = choose_threshold(narrowing, kept, thresholds=[0.1, 0.2])
    assert (choice.value, choice.met, len(choice.curve)) == (0.2, True, 2)


def test_a_curve_that_dips_is_judged_by_what_was_measured():
    dip = {0.1: 0.95, 0.3: 0.5, 0.5: 0.92, 0.7: 0.5}
    choice = choose_threshold(
        lambda t: np.full(3, dip.get(t, 0.0)), kept_by_three, thresholds=list(dip)
    )
    assert (choice.value, choice.met) == (0.5, True)


def test_a_floor_that_no_threshold_keeps_is_said():
    choice = choose_threshold(narrowing, kept, thresholds=GRID, floor=0.999)
    assert (choice.value, choice.met) == (0.1, False)
    assert [point.value for point in choice.curve] == GRID


def test_the_median_decides_and_not_the_mean():
    """Two hopeless fields of nine leave the median where it was."""
    lame = np.array([-1.0, -1.0, *[0.0] * 7])
    choice = choose_threshold(lambda t: 1 - t**2 / 4 + lame, kept, thresholds=GRID, tolerance=0.005)
    assert choice.value == choose_threshold(narrowing, kept, thresholds=GRID).value


@pytest.mark.parametrize("fields", [1, 2, 3, 10])
def test_the_interval_is_that_of_the_metrics(fields):
    values = np.random.default_rng(fields).random(fields)
    point = choose_threshold(lambda _: values, lambda _: values, thresholds=[0.5], seed=7).curve[0]
    assert (point.median, point.low, point.high) == median_interval(values, seed=7)


def test_the_record_is_json_and_the_seed_decides():
    first, again, other = (choose_noise(fading, seed=seed) for seed in (0, 0, 1))
    told = json.loads(json.dumps(first.to_dict(), allow_nan=False))
    assert list(told) == ["value", "met", "floor", "fields", "curve"]
    assert list(told["curve"][0]) == ["value", "median", "low", "high", "mask_size"]
    assert first == again
    assert first.value == other.value
    assert first.curve != other.curve


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([0.5, np.nan, np.inf]), "undefined for 2 of 3 fields .the first is number 1"),
        (np.zeros((3, 1)), r"shape \(3, 1\): it must be one number per field"),
        (np.zeros(0), r"shape \(0,\): it must be one number per field"),
    ],
)
def test_efficacies_that_cannot_be_used_are_refused(values, words):
    with pytest.raises(DataError, match=f"the efficacy at 0 .*{words}"):
        choose_noise(lambda _: values)


def test_fields_that_come_and_go_are_refused():
    with pytest.raises(DataError, match=r"efficacy at 4 .* must be one for each of 2 fields"):
        choose_noise(lambda scale: np.ones(2 if scale == 0 else 3))
    with pytest.raises(DataError, match=r"mask size at 0.1 .* one for each of 9 fields"):
        choose_threshold(narrowing, kept_by_three, thresholds=GRID)


def test_requests_that_mean_nothing_are_refused():
    with pytest.raises(UsageError, match="low must be below high"):
        choose_noise(fading, low=2.0, high=1.0)
    with pytest.raises(UsageError, match="a tolerance of 0.0 is finer"):
        choose_noise(fading, tolerance=0.0)
    with pytest.raises(UsageError, match="no thresholds were given"):
        choose_threshold(narrowing, kept, thresholds=[])
