"""Hearts of dSprites, and the design made of them."""

import time
from pathlib import Path

import numpy as np
import pytest

from kbo import datasets
from kbo.datasets import dsprites

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "iv" / "dsprite_mat.npy"


def correlation(a, b):
    return np.corrcoef(a, b)[0, 1]


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
