"""Whether a quadrature rule and a sampler describe the same law."""

from __future__ import annotations

import itertools

import jax
import numpy as np

from ..checks import stream

DRAWS = 20_000
FUNCTIONS = 20  # random test functions of each kind
LIMIT = 6.0  # standard errors, beside what Bernstein's inequality adds for rare values
NAMES = ("inner", "outer")


def check_nodes(nodes):
    """ValueError unless each node (inner, outer) of a rule has a probability."""
    if len(nodes) != 2 or any(len(side) != 3 for side in nodes):
        raise ValueError(
            "rule(level) must return two parts, inner and outer, each (x, targets, probabilities)"
        )
    for name, (x, _, probabilities) in zip(NAMES, nodes, strict=True):
        if np.ndim(x) != 2:
            raise ValueError(f"rule: x of the {name} nodes must have shape (N, d), not {x.shape}")
        p = np.asarray(probabilities, float)
        if p.shape != (len(x),) or not (np.isfinite(p).all() and (p >= 0).all()):
            raise ValueError(
                f"rule: the {name} nodes need {len(x)} finite probabilities that are not negative; "
                f"they have shape {p.shape} and a smallest entry of {np.min(p, initial=np.inf):.3g}"
            )


def check_draw(draw):
    """ValueError unless samples are those of the generator given, and of the size asked for."""
    def of(seed):
        sides = draw(np.random.default_rng(seed), 16)
        for name, (x, _) in zip(NAMES, sides, strict=True):
            if np.ndim(x) != 2 or len(x) != 16:
                raise ValueError(
                    f"draw(random, 16) returned {name} x of shape {np.shape(x)}, not (16, d)"
                )
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(sides)]
        if not all(np.isfinite(leaf).all() for leaf in leaves):
            raise ValueError("draw returned numbers that are not finite")
        return leaves

    def same(first, second):
        return all(map(np.array_equal, first, second))

    first, again, other = of(0), of(0), of(1)
    if not same(first, again):
        raise ValueError(
            "draw gave two samples for one state of its generator: draw from ``random`` alone"
        )
    if same(first, other):
        raise ValueError("draw gave the same sample for two generators: draw from ``random``")


def check_law(nodes, draw, mean_is_enough):
    """ValueError unless the rule's expectations are those of a large sample, and that of 1 is 1.

    Expectations of g, of t·g and of t²·g are compared, g a random wave in x and t each number of
    the targets; in t² it is clipped at four standard deviations. Where ``mean_is_enough`` says so,
    the last are left out for the inner law, whose rule may then give E[t | x] in place of t.
    """
    for name, (_, _, p) in zip(NAMES, nodes, strict=True):
        if abs(np.sum(p) - 1) > 1e-6:
            raise ValueError(
                f"rule: the probabilities of the {name} nodes sum to {np.sum(p):.6g}, not to 1: is "
                "a density, or the volume of its domain, missing?"
            )
    drawn = draw(stream("law", 0), DRAWS)
    for k, name in enumerate(NAMES):
        rule, sample = nodes[k], drawn[k]
        random = stream(f"law of {name}", 0)
        points, there = (np.asarray(part[0], float).reshape(len(part[0]), -1)
                         for part in (rule, sample))
        targets, seen = (_columns(part[1], len(part[0])) for part in (rule, sample))
        shapes = [[np.shape(leaf)[1:] for leaf in jax.tree.leaves(part[1])]
                  for part in (rule, sample)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"one {name} target has the shapes {shapes[0]} by the rule and {shapes[1]} by draw"
            )
        waves = _waves(random, there)
        _compare(f"x of the {name} law", "g(x)", waves(points), waves(there), rule[2])
        for column in range(targets.shape[1]):
            t, s = targets[:, column, None], seen[:, column, None]
            of = f"the {name} targets given x" + f", column {column}," * (targets.shape[1] > 1)
            _compare(of, "t g(x)", t * waves(points), s * waves(there), rule[2])
            if name == "outer" or not mean_is_enough:
                square = _clipped_square(s)
                of_rule, of_sample = square(t) * waves(points), square(s) * waves(there)
                _compare(f"the spread of {of}", "(t − E t)² g(x)", of_rule, of_sample, rule[2])


def _columns(targets, n):
    """All numbers of the targets, (n, r)."""
    leaves = [np.asarray(leaf, float).reshape(n, -1) for leaf in jax.tree.leaves(targets)]
    return np.hstack(leaves) if leaves else np.empty((n, 0))


def _waves(random, points):
    """Waves cos(u·z + φ) of points z, standardised as these are."""
    center, scale = points.mean(0), points.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    u = random.normal(size=(points.shape[1], FUNCTIONS)) / np.sqrt(points.shape[1])
    u *= np.linspace(0.5, 3, FUNCTIONS)
    phases = random.uniform(0, 2 * np.pi, FUNCTIONS)
    return lambda z: np.cos((z - center) / scale @ u + phases)


def _clipped_square(sample):
    """t ↦ t² about the mean of the sample, with t clipped at four of its standard deviations."""
    center, reach = sample.mean(), 4 * sample.std()
    return lambda t: np.clip(t - center, -reach, reach) ** 2


def _compare(what, formula, of_rule, of_sample, probabilities):
    p, n = np.asarray(probabilities), len(of_sample)
    expected, found = p @ of_rule, of_sample.mean(0)
    spread = np.maximum(of_sample.std(0), np.sqrt(p @ (of_rule - expected) ** 2))
    largest = max(np.abs(of_rule[p > 0]).max(), np.abs(of_sample).max())
    # Bernstein: a mean of n values of at most M is off by less than LIMIT times this.
    error = spread / np.sqrt(n) + LIMIT * largest / (3 * n)
    away = np.abs(expected - found) / (error + 1e-9 * (1 + np.abs(expected)))
    if away.max() > LIMIT:
        raise ValueError(
            f"rule and draw differ in {what}: for a wave g, E[{formula}] is "
            f"{expected[away.argmax()]:.4g} by the rule and {found[away.argmax()]:.4g} over "
            f"{DRAWS} draws, {away.max():.0f} standard errors away"
        )


def mean_is_enough(loss, omega, targets):
    """Whether ∂ℓ/∂v is affine in the target, so that h depends on targets by E[t | x] alone."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(targets)]
    if not leaves or any(leaf.dtype.kind != "f" for leaf in leaves):
        return False
    slope = jax.grad(loss, argnums=1)
    rows = np.linspace(0, len(leaves[0]) - 1, 9).astype(int)
    at = lambda place: jax.tree.map(lambda leaf: jax.numpy.asarray(leaf)[place], targets)  # noqa: E731
    for value in (-1.3, 0.4):
        for first, second in itertools.pairwise(rows):
            pair = at(first), at(second)
            middle = jax.tree.map(lambda a, b: 0.5 * (a + b), *pair)
            ends = [slope(omega, jax.numpy.asarray(value), target) for target in pair]
            between = slope(omega, jax.numpy.asarray(value), middle)
            if not np.allclose(between, 0.5 * (ends[0] + ends[1]), rtol=1e-6, atol=1e-9):
                return False
    return True
