"""Designs with an instrument: what is drawn, what is confounded, what is true."""

import inspect
import pickle
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from kbo import datasets
from kbo.datasets import dsprites

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "iv" / "dsprite_mat.npy"
SMALL = {
    datasets.make_iv_sigmoid: {"n_samples": 50, "n_test": 9},
    datasets.make_iv_linear: {"n_samples": 50, "n_test": 9},
    datasets.make_iv_demand: {"n_samples": 50},
    datasets.make_iv_dsprites: {"n_samples": 50, "resolution": 16},
}
WIDTHS = {  # columns of X and Z, test points
    datasets.make_iv_sigmoid: (1, 1, 9), datasets.make_iv_linear: (1, 1, 9),
    datasets.make_iv_demand: (3, 3, 2800), datasets.make_iv_dsprites: (256, 3, 588),
}
MAKERS = pytest.mark.parametrize("make", list(SMALL), ids=lambda make: make.__name__)
ARRAYS = ("X", "y", "Z", "X_test", "y_test")


def same(a, b, names=ARRAYS):
    return all(np.array_equal(a[name], b[name]) for name in names)


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


@MAKERS
def test_shapes_and_truth(make):
    data = make(**SMALL[make], random_state=0)
    d, q, tests = WIDTHS[make]
    shapes = {"X": (50, d), "y": (50,), "Z": (50, q), "X_test": (tests, d), "y_test": (tests,)}
    for name, shape in shapes.items():
        assert data[name].shape == shape and data[name].dtype == np.float64
        assert np.isfinite(data[name]).all() and data[name].flags.writeable
    np.testing.assert_array_equal(data.y_test, data.true_function(data.X_test))
    assert inspect.getdoc(make) == data.DESCR
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.true_function(data.X), data.true_function(data.X))


@MAKERS
def test_seeds(make):
    draw = lambda seed: make(**SMALL[make], random_state=seed)
    one = draw(3)
    assert same(one, draw(3)) and same(one, draw(np.int64(3)))
    assert same(one, draw(np.random.RandomState(3)))  # as everywhere in scikit-learn
    assert same(draw(np.random.default_rng(3)), draw(np.random.default_rng(3)))
    other = draw(4)
    assert not same(one, other, ["y"]) and same(one, other, ["X_test", "y_test"])
    random = np.random.RandomState(3)
    assert not same(draw(random), draw(random), ["y"])
    assert not same(draw(None), draw(None), ["y"])
    with pytest.raises(ValueError, match="seed"):
        draw("three")


@MAKERS
@pytest.mark.parametrize("bad", [0, -1, 2.5, True, "many", None])
def test_bad_sizes(make, bad):
    for name in set(SMALL[make]):
        with pytest.raises(ValueError, match=rf"{name}={bad!r}.*give an int"):
            make(**{**SMALL[make], name: bad})


@pytest.mark.parametrize("make, response", [
    (datasets.make_iv_sigmoid, lambda x: np.log(np.abs(16 * x - 8) + 1) * np.sign(x - 0.5)),
    (datasets.make_iv_linear, lambda x: 4 * x - 2),
])
def test_one_treatment(make, response):
    data = make(100_000, 1000, random_state=0)
    x, z = data.X[:, 0], data.Z[:, 0]
    np.testing.assert_allclose(data.true_function(data.X), response(x), atol=1e-12)
    np.testing.assert_array_equal(data.X_test[:, 0], np.linspace(0, 1, 1000))
    for uniform in (x, z):
        assert stats.kstest(uniform[:5000], "uniform").pvalue > 1e-3
    e = data.y - response(x)
    V = np.sqrt(2) * stats.norm.ppf(x) - stats.norm.ppf(z)
    np.testing.assert_allclose(
        np.cov([e, V, stats.norm.ppf(z)]), [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]], atol=0.02
    )
    assert stats.kstest(e[:5000], "norm").pvalue > 1e-3
    assert correlation(e, x) > 0.3 and abs(correlation(e, z)) < 0.02 and correlation(x, z) > 0.6


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.9, 1.0])
def test_demand(rho):
    data = datasets.make_iv_demand(100_000, rho, random_state=0)
    p, t, s = data.X.T
    c = data.Z[:, 0]
    np.testing.assert_array_equal(data.Z[:, 1:], data.X[:, 1:])
    psi = 2 * ((t - 5) ** 4 / 600 + np.exp(-4 * (t - 5) ** 2) + t / 10 - 2)
    truth = 100 + (10 + p) * s * psi - 2 * p
    np.testing.assert_allclose(data.true_function(data.X), truth)
    e, v = data.y - truth, p - 25 - (c + 3) * psi
    np.testing.assert_allclose(np.cov([e, v, c]), [[1, rho, 0], [rho, 1, 0], [0, 0, 1]], atol=0.02)
    assert abs(correlation(e, t)) < 0.02 and abs(correlation(e, s)) < 0.02
    assert set(s) == set(range(1, 8)) and 0 <= t.min() < 0.01 and 9.99 < t.max() <= 10
    grid = list(product(np.linspace(10, 25, 20), np.linspace(0, 10, 20), range(1, 8)))
    np.testing.assert_allclose(data.X_test, grid)


@pytest.mark.parametrize("rho", [1.01, -2, np.nan, "half", None, True])
def test_bad_rho(rho):
    with pytest.raises(ValueError, match=r"rho=.*give a number between -1 and 1"):
        datasets.make_iv_demand(10, rho)


# -- hearts ----------------------------------------------------------------------------------------


def centroid(image):
    rows, columns = np.nonzero(image)
    return np.array([columns.mean(), rows.mean()]) + 0.5


def test_areas_are_those_of_dsprites():
    """Pixels of the hearts at the top left in the animation that dSprites is published with."""
    hearts = datasets.render_hearts(dsprites.SCALES, 0, 0, 0)
    assert hearts.dtype == np.uint8 and set(np.unique(hearts)) == {0, 1}
    areas = hearts.sum((1, 2)).astype(int)
    np.testing.assert_allclose(areas, [58, 84, 108, 140, 182, 222], rtol=0.03)
    fine = datasets.render_hearts(dsprites.SCALES, 0.3, 0.5, 0.5, 512).sum((1, 2))
    exact = np.pi * dsprites.HEIGHT * (dsprites.WIDTH * 512 * dsprites.SCALES) ** 2
    np.testing.assert_allclose(fine, exact, rtol=2e-3)  # scale², and by Cavalieri π·0.78


def test_position_moves_and_orientation_turns_a_heart():
    hearts = datasets.render_hearts(1.0, 0.0, [0, 1, 0], [0, 0, 1])
    origin, right, down = map(centroid, hearts)
    np.testing.assert_array_equal(right - origin, [32, 0])
    np.testing.assert_array_equal(down - origin, [0, 32])
    assert np.abs(origin - [16, 14]).max() < 0.2
    # The point looks down at orientation 0, to the right a quarter turn (anticlockwise) later.
    turned = datasets.render_hearts(1.0, np.arange(4) * np.pi / 2, 0.5, 0.5, 256)
    np.testing.assert_array_equal(turned[0], turned[0][:, ::-1])
    for k in range(1, 4):
        np.testing.assert_array_equal(turned[k], np.rot90(turned[0], k))
    rows = np.nonzero(turned[0].any(1))[0]
    assert turned[0][rows[-1]].sum() < 6 < turned[0][rows[0]].sum()
    every = datasets.render_hearts(1.0, dsprites.ORIENTATIONS, 0.5, 0.5)
    areas = every.sum((1, 2))
    np.testing.assert_allclose(areas, areas.mean(), rtol=0.05)
    np.testing.assert_array_equal(every[0], every[-1])


def test_resolution_is_not_shape():
    latents = (dsprites.SCALES[[0, 3, 5]], dsprites.ORIENTATIONS[[3, 17, 30]], [0, 0.4, 1], [1, 0.2, 0])
    coarse, fine = (datasets.render_hearts(*latents, resolution=r) for r in (64, 256))
    averaged = fine.reshape(3, 64, 4, 64, 4).mean((2, 4))
    assert np.abs(averaged - coarse).max() <= 0.75 and np.abs(averaged - coarse).sum() < 60
    for a, b in zip(coarse, fine, strict=True):
        np.testing.assert_allclose(4 * centroid(a), centroid(b), atol=1)
    with pytest.raises(ValueError, match="resolution=4"):
        datasets.render_hearts(1.0, 0.0, 0.0, 0.0, resolution=4)


# -- dSprites with an instrument -------------------------------------------------------------------


def test_dsprites_design():
    started = time.perf_counter()
    data = datasets.make_iv_dsprites(3000, random_state=0)
    assert time.perf_counter() - started < 6  # under one second where nothing else runs
    scale, orientation, pos_x = data.Z.T
    np.testing.assert_allclose(np.unique(scale), [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    np.testing.assert_allclose(np.unique(orientation), np.linspace(0, 2 * np.pi, 40))
    np.testing.assert_allclose(np.unique(pos_x), np.arange(32) / 31)
    # Without the noise of its pixels each image is the heart of its instruments, at some height.
    images = data.X.reshape(-1, 64, 64)
    ink = np.maximum(images, 0.3) - 0.3
    height = np.einsum("nij,i->n", ink, np.arange(64)) / ink.sum((1, 2))
    rest = data.y - data.true_function(data.X)
    assert correlation(rest, height) > 0.95  # confounded: posY is in X
    assert np.abs([correlation(rest, z) for z in data.Z.T]).max() < 0.06
    assert abs(rest.mean() + 0.5) < 0.6 and abs(rest.std() - np.sqrt((32**2 - 1) / 12 + 0.25)) < 0.3
    index = np.round(rest + 16).clip(0, 31)  # of posY, to ±1 or so
    nearest = [index, np.clip(index - 1, 0, 31), np.clip(index + 1, 0, 31)]
    clean = [datasets.render_hearts(*data.Z[:200].T, (i / 31)[:200]) for i in nearest]
    noise = np.min([(images[:200] - heart).std((1, 2)) for heart in clean], 0)
    assert abs(np.median(noise) - 0.1) < 0.002


def test_dsprites_test_points():
    data = datasets.make_iv_dsprites(10, random_state=0)
    assert data.X_test.shape == (588, 4096) and set(np.unique(data.X_test)) == {0.0, 1.0}
    last = datasets.render_hearts(1.0, dsprites.ORIENTATIONS[30], 30 / 31, 30 / 31)
    np.testing.assert_array_equal(data.X_test[-1], last.ravel())
    B = data.matrix
    assert B.shape == (4096, 10) and B.min() > 0 and B.max() < 1
    by_hand = [(np.mean([(row @ b) ** 2 for b in B.T]) - 5000) / 1000 for row in data.X_test[:5]]
    np.testing.assert_allclose(data.y_test[:5], by_hand)


def test_dsprites_at_other_resolutions():
    found = [datasets.make_iv_dsprites(400, r, random_state=0) for r in (16, 32, 64)]
    spread = [(d.y_test.mean(), d.y_test.std()) for d in found]
    np.testing.assert_allclose(spread, spread[-1:] * 3, atol=0.3)
    for data in found:
        np.testing.assert_array_equal(data.Z, found[0].Z)


def test_the_published_matrix():
    if not PUBLISHED.exists():
        pytest.skip(f"the published matrix of the design is not at {PUBLISHED}")
    B = np.load(PUBLISHED)
    data = datasets.make_iv_dsprites(1000, random_state=0, matrix=B)
    own = datasets.make_iv_dsprites(1000, random_state=0)
    np.testing.assert_array_equal(data.X, own.X)
    f = data.true_function(data.X)
    # 5000 centres f roughly; the smallest hearts have about 57 pixels, the largest 225.
    assert abs(f.mean()) < 1 and 3 < f.std() < 6 and -5 < f.min() < -4 and 7 < f.max() < 12
    np.testing.assert_allclose(data.y_test, own.y_test, atol=2)


def test_bad_matrix():
    for shape in ((64, 10), (10, 256), (256,), (256, 0)):
        with pytest.raises(ValueError, match=r"matrix has shape .*\(256, 10\)"):
            datasets.make_iv_dsprites(5, 16, matrix=np.ones(shape))
    with pytest.raises(ValueError, match="matrix contains NaN"):
        datasets.make_iv_dsprites(5, 16, matrix=np.full((256, 10), np.nan))
    one = datasets.make_iv_dsprites(5, 16, random_state=0, matrix=np.ones((256, 1)).tolist())
    ink = 16 * one.X.sum(1)
    np.testing.assert_allclose(one.true_function(one.X), (ink**2 - 5000) / 1000)
