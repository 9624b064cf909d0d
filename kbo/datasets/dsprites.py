"""dSprites as an instrumental-variable problem: the hidden height of a heart moves the outcome."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np

from .iv import bunch, check_count, generator

SCALES = np.linspace(0.5, 1.0, 6)
ORIENTATIONS = np.linspace(0, 2 * np.pi, 40)  # both ends, as in dSprites: the same image twice
POSITIONS = np.linspace(0, 1, 32)
TEST_GRID = range(0, 31, 5), range(0, 31, 5), (0, 3, 5), (0, 10, 20, 30)  # x, y, scale, orientation

# A heart spans |u| ≤ 1; its half-width at scale 1 is WIDTH times the side of the image. Fitted to
# the hearts of the animation published with dSprites; on average 2 % of their pixels differ.
WIDTH, HEIGHT, LIFT = 0.1495, 0.78, 0.097
RISE, BEND = 1.06, 0.54

PUBLISHED = 64  # pixels on a side
PIXEL_NOISE, OUTCOME_NOISE = 0.1, 0.5
PROJECTIONS, MATRIX_SEED = 10, 4096
BLOCK = 2**20  # pixels rendered at a time


def render_hearts(scale, orientation, pos_x, pos_y, resolution=64):
    """Pixels whose centre lies inside u² + ((v − 1.06|u| + 0.54u²)/0.78)² = 1.

    (u, v) are coordinates in the heart's own frame, in units of its half-width, which is
    0.1495·scale times the side of the image: at every resolution a heart covers 5.5 %·scale² of the
    image. The centre of rotation is a quarter of the side from the left and from the top at posX =
    posY = 0, and a quarter from the right and from the bottom at posX = posY = 1. At orientation 0
    the heart points down; the angle grows anticlockwise.

    Parameters
    ----------
    scale, orientation, pos_x, pos_y : array-like (n,) or float
        Latent values, as in dSprites: scale in [0.5, 1], orientation in radians, positions in
        [0, 1].
    resolution : int
        Pixels on a side, at least 8.

    Returns
    -------
    ndarray (n, resolution, resolution), uint8
        1 inside, 0 outside.

    Raises
    ------
    ValueError
        If ``resolution`` is not a whole number of at least 8.
    """
    side = check_count("resolution", resolution, least=8)
    latents = np.stack(np.broadcast_arrays(*np.atleast_1d(scale, orientation, pos_x, pos_y)), 1)
    images = np.empty((len(latents), side, side), np.uint8)
    for rows in _blocks(len(latents), side):
        images[rows] = _inside(latents[rows].astype(float), side)
    return images


def _blocks(n, side):
    step = max(1, BLOCK // side**2)
    return [slice(start, start + step) for start in range(0, n, step)]


def _inside(latents, side):
    """Whether each pixel is inside, (n, side, side) bool, for latents (n, 4)."""
    scale, orientation, pos_x, pos_y = latents.T[:, :, None, None]
    centres = (np.arange(side) + 0.5) / side
    unit = WIDTH * scale
    right = (centres[None, None, :] - (1 + 2 * pos_x) / 4) / unit
    up = ((1 + 2 * pos_y) / 4 - centres[None, :, None]) / unit
    cos, sin = np.cos(orientation), np.sin(orientation)
    u = np.abs(cos * right + sin * up)
    v = cos * up - sin * right + LIFT
    return u**2 + ((v - u * (RISE - BEND * u)) / HEIGHT) ** 2 <= 1


def dsprites_response(X, matrix, resolution=64):
    """f(x) = (mean_k (cxᵀB)_k² − 5000)/1000, c = (64/resolution)², (n,), for images as rows."""
    area = (PUBLISHED / resolution) ** 2
    return (np.mean((area * (np.asarray(X, float) @ matrix)) ** 2, axis=1) - 5000) / 1000


def make_iv_dsprites(n_samples=5000, resolution=64, random_state=None, matrix=None):
    """y = f(X) + (posY index − 16) + N(0, ½²), X = image + N(0, 0.1²) in every pixel::

        f(x) = (mean_{k≤10} (cxᵀB)_k² − 5000)/1000,  B_ik ~ U(0, 1),  c = (64/resolution)²
        posX, posY ~ U{0, …, 31},  scale ~ U{0.5, …, 1},  orientation ~ U{0, …, 2π}
        Z = (scale, orientation, posX)

    The height of a heart in its image, posY, is the confounder: it is visible in X, moves y and is
    not in Z. f is roughly a quadratic function of the area of the heart. As in the published code
    (Xu et al. 2021), f is applied to the image *with* its noise, the instruments are dSprites'
    latent values without standardisation, and the test images have no noise. Unlike there, hearts
    are rendered (see ``render_hearts``) rather than read from dSprites; on average they agree with
    those of dSprites in all but 2 % of their pixels. At other resolutions c weights every pixel by
    its area, so that f of the same heart stays about the same (from about 16 pixels on a side: at
    8, the smallest hearts are one or two pixels). The noise of a pixel is always 0.1.

    Parameters
    ----------
    n_samples : int
    resolution : int
        Pixels on a side, at least 8; 64 in the literature. X takes 8·n_samples·resolution² bytes.
    random_state : int, RandomState, Generator or None
    matrix : array (resolution², k), optional
        B, for instance the published one. By default it is drawn with a fixed seed, so that f does
        not depend on ``random_state``.

    Returns
    -------
    sklearn.utils.Bunch
        ``X`` (n, resolution²) images, row by row, ``y`` (n,), ``Z`` (n, 3), ``X_test``
        (588, resolution²): posX and posY of index 0, 5, …, 30, scales 0.5, 0.8, 1, orientations of
        index 0, 10, 20, 30, ``y_test`` (588,) = f(X_test), ``true_function`` (X ↦ f(X)), ``matrix``
        (B), ``DESCR``.

    Raises
    ------
    ValueError
        If ``n_samples`` or ``resolution`` is not a whole number (of at least 1 and 8), or
        ``matrix`` has the wrong shape or is not finite.

    References
    ----------
    Xu, Chen, Srinivasan, de Freitas, Doucet, Gretton (2021), Learning Deep Features in
    Instrumental Variable Regression, Section 4.2.
    Matthey, Higgins, Hassabis, Lerchner (2017), dSprites.
    """
    n = check_count("n_samples", n_samples)
    side = check_count("resolution", resolution, least=8)
    B = _check_matrix(matrix, side)
    random = generator(random_state)
    pos_x, pos_y = random.integers(32, size=(2, n))
    scale = SCALES[random.integers(6, size=n)]
    orientation = ORIENTATIONS[random.integers(40, size=n)]
    X = _images(scale, orientation, POSITIONS[pos_x], POSITIONS[pos_y], side)
    for rows in _blocks(n, side):  # in blocks, so that X is the only large array
        X[rows] += PIXEL_NOISE * random.standard_normal(X[rows].shape)
    f = partial(dsprites_response, matrix=B, resolution=side)
    y = f(X) + (pos_y - 16) + OUTCOME_NOISE * random.standard_normal(n)
    x, y_index, s, o = np.array(list(product(*TEST_GRID))).T
    X_test = _images(SCALES[s], ORIENTATIONS[o], POSITIONS[x], POSITIONS[y_index], side)
    Z = np.column_stack([scale, orientation, POSITIONS[pos_x]])
    return bunch(make_iv_dsprites, X, y, Z, X_test, f, matrix=B)


def _images(scale, orientation, pos_x, pos_y, side):
    """Hearts as rows, (n, side²), float64."""
    hearts = render_hearts(scale, orientation, pos_x, pos_y, side)
    return hearts.reshape(len(scale), -1).astype(float)


def _check_matrix(matrix, side):
    if matrix is None:
        return np.random.default_rng(MATRIX_SEED).uniform(size=(side**2, PROJECTIONS))
    B = np.asarray(matrix, float)
    if B.ndim != 2 or B.shape[0] != side**2 or B.shape[1] < 1:
        raise ValueError(
            f"matrix has shape {B.shape}: give one of shape ({side**2}, {PROJECTIONS}), a row for "
            f"each of the {side} × {side} pixels, or another resolution"
        )
    if not np.isfinite(B).all():
        raise ValueError("matrix contains NaN or infinity: give finite weights")
    return B
