"""Whether a quadrature rule and a sampler describe the same law."""

from __future__ import annotations

import jax
import numpy as np

from ..checks import stream

DRAWS = 20_000
FUNCTIONS = 20  # random test functions of each kind
LIMIT = 6.0  # standard errors: chance alone exceeds them once in 10⁷ rules
NAMES = ("inner", "outer")


def check_nodes(nodes):
    """ValueError unless each node (inner, outer) of a rule has a probability."""
    for name, (x, _, probabilities) in zip(NAMES, nodes, strict=True):
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
            if len(x) != 16:
                raise ValueError(f"draw(random, 16) returned {len(x)} {name} samples, not 16")
        return [np.asarray(leaf) for leaf in jax.tree.leaves(sides)]

    def same(first, second):
        return all(map(np.array_equal, first, second))

    first, again, other = of(0), of(0), of(1)
    if not same(first, again):
        raise ValueError(
            "draw gave two samples for one state of its generator: draw from ``random`` alone"
        )
    if same(first, other):
        raise ValueError("draw gave the same sample for two generators: draw from ``random``")


def check_law(nodes, draw):
    """ValueError unless the rule's expectations are those of a large sample, and that of 1 is 1.

    Expectations of g and of t·g are compared, g a random wave in x and t each number of the
    targets; for the outer law also those of t²g, with t clipped at four standard deviations. An
    inner rule may thus give E[t | x] in place of t, which is all that a squared loss sees.
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
        waves = _waves(random, there)
        _compare(name, "x", waves(points), waves(there), rule[2])
        for column in range(targets.shape[1]):
            t, s = targets[:, column, None], seen[:, column, None]
            _compare(name, "the targets given x", t * waves(points), s * waves(there), rule[2])
            if name == "outer":
                square = _clipped_square(s)
                of_rule = square(t) * waves(points)
                spread = "the spread of the targets given x"
                _compare(name, spread, of_rule, square(s) * waves(there), rule[2])


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


def _compare(name, what, of_rule, of_sample, probabilities):
    expected, found = np.asarray(probabilities) @ of_rule, of_sample.mean(0)
    error = of_sample.std(0, ddof=1) / np.sqrt(len(of_sample))
    rounding = 1e-9 * (1 + np.abs(expected))
    away = np.abs(expected - found) / (error + rounding)
    if away.max() > LIMIT:
        raise ValueError(
            f"rule and draw differ in {what} of the {name} law: an expectation is "
            f"{expected[away.argmax()]:.4g} by the rule and {found[away.argmax()]:.4g} over "
            f"{DRAWS} draws, {away.max():.0f} standard errors away"
        )
