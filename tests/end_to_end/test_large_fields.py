"""Fields too large for one pass are looked at in windows without anybody asking."""

import pytest

from attributome.pipeline.looking import window_that_fits


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((128, 128), (128, 128)),
        ((1024, 1024), (1024, 1024)),
        ((2048, 2048), (1024, 1024)),
        ((65, 624, 924), (65, 80, 128)),
    ],
)
def test_a_window_is_the_field_or_what_one_pass_holds(size, window):
    found = window_that_fits(size)
    assert found == window
    assert all(w <= s for w, s in zip(found, size, strict=True))


def test_a_line_of_pixels_does_not_halve_for_ever():
    assert window_that_fits((1, 5_000_000), most=2**20)[1] <= 2**20
