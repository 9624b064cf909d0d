"""Large samples with random features of the kernel: a surrogate linear in the sample size."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np

import kbo

from .surrogate import Surrogate, three_errors

LEVELS = (1, 2, 4)  # how many parts sample and features are cut into
ONCE, TWICE = np.array([2, -1, 0]), np.array([8, -6, 1]) / 3  # cancel 1/q; 1/q and 1/q²
LEAST = 64  # features: with fewer, the quarters are too small for a series in 1/q


class RandomFeaturePopulation(Surrogate):
    """The mean over B draws of N samples and q random Fourier features of a Gaussian kernel::

        L ≈ mean_b (8 L_b − 6 L_b^{½} + L_b^{¼})/3

    L_b^{½} is the mean over the two halves of draw b, of both sample and features, and L_b^{¼} the
    mean over the four quarters. The bias is a series in 1/q at a fixed N/q, whose first two terms
    cancel. The parts share the fluctuation of the whole, so that extrapolation does not increase
    it. Time O(B·N·q²) and memory O(N·q) are linear in N; the kernel itself takes N³ and N².

    Parameters
    ----------
    population : Population
        Where samples are drawn from, with a Gaussian kernel; its own oracle is not used.
    n_features : int
        q, a multiple of 4, at least 64.
    size : int, default 8·n_features
        N, of the inner and of the outer sample, a multiple of 4, at least 64.
    repeats : int
        B, at least 2. The remaining error is mostly fluctuation, of order 1/√(B·q).
    random_state : int
    solver : kbo.solvers.Solver, default Exact()

    Attributes
    ----------
    error_bound : float
        The standard error times the quantile of Student's t (B − 1 degrees of freedom) that
        corresponds to three standard deviations of a normal variable, plus the change made by the
        second extrapolation; the largest over all entries at the points requested so far.

    Raises
    ------
    ValueError
        For a kernel that is not Gaussian, numbers of features or samples that are not multiples
        of 4 or are below 64, or fewer than two repeats.

    References
    ----------
    Rahimi, Recht (2007), Random Features for Large-Scale Kernel Machines.
    """

    def __init__(
        self, population, n_features=512, size=None, repeats=8, random_state=0, solver=None
    ):
        size = 8 * n_features if size is None else size
        for name, value in (("n_features", n_features), ("size", size)):
            if value < LEAST or value % LEVELS[-1]:
                raise ValueError(
                    f"{name}={value} cannot be cut into quarters: give a multiple of 4, at least "
                    f"{LEAST}"
                )
        if repeats < 2:
            raise ValueError(f"repeats={repeats} shows no spread: give at least 2")
        super().__init__(population, f"{n_features} random features, samples of {size}", solver)
        seeds = np.random.SeedSequence(random_state).spawn(2 * repeats)
        self._draws = [
            _with_features(population.sample(size, size, s), n_features, f)
            for s, f in zip(seeds[::2], seeds[1::2], strict=True)
        ]

    def _estimate(self, omega):
        found = np.array([
            [self._at(_parts(draw, k), omega).mean(0) for k in LEVELS] for draw in self._draws
        ])
        twice = np.einsum("l,blq->bq", TWICE, found)
        remainder = np.abs(twice.mean(0) - ONCE @ found.mean(0))
        repeats = len(twice)
        spread = three_errors(repeats) * twice.std(0, ddof=1)
        return twice.mean(0), spread / np.sqrt(repeats) + remainder


def _with_features(problem, n_features, seed):
    """The problem with random features of its kernel as its space."""
    kernel = getattr(problem.space, "kernel", None)
    if not isinstance(kernel, kbo.kernels.Gaussian):
        raise ValueError(
            f"the kernel is {kernel!r}: random Fourier features stand for a Gaussian one; use "
            "LargeSamplePopulation"
        )
    with jax.enable_x64(True):
        features = kbo.RandomFourierFeatures(
            n_features, problem.inner_data.x.shape[1], kernel.lengthscale, seed
        )
    return problem.replace(space=kbo.FeatureSpace(features))


def _parts(problem, count):
    """The problem on each of ``count`` disjoint parts of its samples and its features."""
    # NumPy arrays, since slices of JAX arrays would be float32 where 64-bit is not enabled.
    features = problem.space.feature_map
    for k in range(count):
        cut = lambda leaf, k=k: np.array_split(np.asarray(leaf), count)[k]  # noqa: E731
        drawn = lambda f: (f.frequencies, f.phases)  # noqa: E731
        few = eqx.tree_at(drawn, features, tuple(map(cut, drawn(features))))
        inner, outer = jax.tree.map(cut, (problem.inner_data, problem.outer_data))
        yield problem.replace(inner_data=inner, outer_data=outer, space=kbo.FeatureSpace(few))
