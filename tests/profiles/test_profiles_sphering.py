"""Controls come out white; the transforms are those of the formulas, and files give them back."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.covariance import OAS, LedoitWolf

from attributome.core.errors import DataError, UsageError
from attributome.profiles.wells.sphering import (
    align_plates,
    fit_sphering,
    load_sphering,
    save_sphering,
    sphere,
)


def controls(n=200, d=6, seed=0):
    """Correlated, of different scales, far from zero."""
    draw = np.random.default_rng(seed)
    mixed = draw.standard_normal((n, d)) @ draw.standard_normal((d, d))
    return (mixed + 5) * 10.0 ** np.linspace(-1, 2, d)


def covariance(z, ddof=0):
    return np.cov(z, rowvar=False, ddof=ddof)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("method", ["ZCA", "PCA", "ZCA-cor", "PCA-cor"])
def test_the_covariance_of_the_controls_is_the_identity(method, ddof):
    x = controls()
    fitted = fit_sphering(x, lam=0.0, method=method, ddof=ddof)
    z = sphere(fitted, x)
    np.testing.assert_allclose(covariance(z, ddof), np.eye(6), atol=1e-9)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-9)
    assert (fitted.n, fitted.rank, fitted.lam, fitted.shrinkage) == (200, 6, 0.0, 1.0)


def test_the_identity_holds_for_many_features_and_bad_conditioning():
    x = controls(n=1500, d=150)
    z = sphere(fit_sphering(x, lam=0.0), x)
    assert np.abs(covariance(z) - np.eye(150)).max() < 1e-6


def test_zca_is_the_inverse_root_and_changes_profiles_least():
    x = controls()
    c = covariance(x)
    for lam in (0.0, 0.3):
        found = fit_sphering(x, lam=lam).matrix
        np.testing.assert_allclose(found, np.linalg.inv(sqrtm(c + lam * np.eye(6))), atol=1e-8)
        np.testing.assert_allclose(found, found.T, atol=1e-12)
    scaled = np.diag(c) ** 0.5
    r = c / np.outer(scaled, scaled)
    found = fit_sphering(x, lam=0.3, method="ZCA-cor").matrix
    wanted = np.diag(1 / scaled) @ np.linalg.inv(sqrtm(r + 0.3 * np.eye(6)))
    np.testing.assert_allclose(found, wanted, atol=1e-8)


def test_pca_begins_with_the_direction_of_most_variance_and_has_signs_of_its_own():
    x = controls()
    fitted = fit_sphering(x, lam=0.0, method="PCA")
    before = 1 / np.linalg.norm(fitted.matrix, axis=0)  # the standard deviation along each
    assert (np.diff(before) < 0).all()
    assert (fitted.matrix[np.abs(fitted.matrix).argmax(0), np.arange(6)] > 0).all()
    again = fit_sphering(x[::-1], lam=0.0, method="PCA")
    np.testing.assert_allclose(again.matrix, fitted.matrix, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("lam", "peer"), [("ledoit_wolf", LedoitWolf), ("oas", OAS)])
@pytest.mark.parametrize("n", [200, 5])
def test_shrinkage_is_that_of_scikit_learn(lam, peer, n):
    x = controls(n)
    fitted = fit_sphering(x, lam=lam)
    model = peer().fit(x)
    np.testing.assert_allclose(
        fitted.matrix, np.linalg.inv(sqrtm(model.covariance_)).real, rtol=1e-6, atol=1e-9
    )
    assert 1 - fitted.shrinkage == pytest.approx(model.shrinkage_)
    assert fitted.regularisation == lam


def test_with_fewer_controls_than_features_lambda_bounds_what_is_amplified():
    x = controls(n=20, d=50)
    with pytest.raises(UsageError, match="20 controls that span 19 of 50"):
        fit_sphering(x, lam=0.0)
    fitted = fit_sphering(x, relative=0.01)
    mean = covariance(x).trace() / 50
    assert fitted.lam == pytest.approx(0.01 * mean)
    assert fitted.regularisation == "relative 0.01"
    assert np.linalg.norm(fitted.matrix, 2) == pytest.approx((0.01 * mean) ** -0.5, rel=1e-6)
    assert fitted.rank == 19


def test_only_the_controls_are_used_and_they_are_named():
    x = controls()
    fitted = fit_sphering(x[:50], lam=0.1, wells=[f"p1/w{i}" for i in range(50)])
    np.testing.assert_array_equal(
        sphere(fitted, x)[:50], sphere(fit_sphering(x[:50], lam=0.1), x[:50])
    )
    assert fitted.wells[3] == "p1/w3"


def test_files_give_back_what_was_fitted(tmp_path):
    fitted = fit_sphering(controls(), wells=[f"w{i}" for i in range(200)], lam="oas")
    save_sphering(fitted, tmp_path / "s")
    again = load_sphering(tmp_path / "s")
    x = controls(seed=1)
    np.testing.assert_array_equal(sphere(again, x), sphere(fitted, x))
    assert (again.wells, again.lam, again.method) == (fitted.wells, fitted.lam, "ZCA")
    (tmp_path / "s" / "mean.npy").write_bytes(b"no")
    with pytest.raises(DataError, match=r"cannot read .*mean.npy"):
        load_sphering(tmp_path / "s")
    np.save(tmp_path / "s" / "mean.npy", np.zeros(3))
    with pytest.raises(DataError, match="a mean of"):
        load_sphering(tmp_path / "s")
    save_sphering(fitted, tmp_path / "s")
    (tmp_path / "s" / "sphering.json").write_text('{"wells": []}')
    with pytest.raises(DataError, match="no sphering"):
        load_sphering(tmp_path / "s")


def test_plates_get_the_second_moment_that_the_formula_says():
    draw = np.random.default_rng(0)
    plates = np.repeat([*"abc"], 80)
    control = np.arange(240) % 4 != 0
    z = draw.standard_normal((240, 5)) * np.repeat([0.5, 1.0, 3.0], 80)[:, None]
    found = align_plates(z, plates, control)
    whole = z[control].T @ z[control] / control.sum()
    for name in "abc":
        here = plates == name
        own = z[here & control]
        turn = np.linalg.inv(sqrtm(own.T @ own / len(own) + np.eye(5)))
        wanted = z[here] @ turn @ sqrtm(whole + np.eye(5))
        np.testing.assert_allclose(found[here], wanted, atol=1e-9)
    spread = [np.std(found[plates == name]) for name in "abc"]
    assert max(spread) / min(spread) < 2.5 < 5 < np.std(z[plates == "c"]) / np.std(z[plates == "a"])
    moved = align_plates(z[::-1], plates[::-1], control[::-1])
    np.testing.assert_allclose(moved[::-1], found, atol=1e-12)


def test_what_cannot_be_meant_is_refused():
    x = controls()
    with pytest.raises(UsageError, match="no method 'zca'"):
        fit_sphering(x, method="zca")
    for lam in (-1.0, float("nan"), "auto"):
        with pytest.raises(UsageError, match="λ = "):
            fit_sphering(x, lam=lam)
    with pytest.raises(UsageError, match="relative = 0"):
        fit_sphering(x, relative=0.0)


def test_data_that_cannot_be_used_are_refused():
    x = controls()
    with pytest.raises(DataError, match="at least two controls"):
        fit_sphering(x[:1])
    with pytest.raises(DataError, match="all the same"):
        fit_sphering(x[[0, 0, 0]])
    with pytest.raises(DataError, match="1 features are constant"):
        fit_sphering(np.c_[x, np.ones(200)], method="ZCA-cor")
    with pytest.raises(DataError, match="2 names of wells"):
        fit_sphering(x, wells=["a", "b"])
    with pytest.raises(DataError, match="named twice"):
        fit_sphering(x[:2], wells=["a", "a"])
    fitted = fit_sphering(x)
    with pytest.raises(DataError, match="5 features came to a sphering of 6"):
        sphere(fitted, x[:, :5])
    plates, control = np.repeat(["a", "b"], 100), np.arange(200) < 101
    with pytest.raises(DataError, match="1 of 2 plates have fewer than 2 controls, such as 'b'"):
        align_plates(x, plates, control)
    with pytest.raises(DataError, match="199 plates"):
        align_plates(x, plates[1:], control)
    x[3, 2] = np.nan
    for act in (
        lambda: fit_sphering(x),
        lambda: sphere(fitted, x),
        lambda: align_plates(x, plates, control),
    ):
        with pytest.raises(DataError, match="undefined features"):
            act()
