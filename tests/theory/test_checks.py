"""Streams of random numbers."""

import numpy as np

from theory import checks


def test_streams_are_uncorrelated_and_their_own():
    draws = {
        use: np.concatenate([checks.stream(use, seed).uniform(size=4) for seed in range(500)])
        for use in ("start", "star", "points")
    }
    draws["plain"] = np.concatenate(
        [np.random.default_rng(seed).uniform(size=4) for seed in range(500)]
    )
    correlation = np.corrcoef(list(draws.values())) - np.eye(4)
    assert np.abs(correlation).max() < 0.1
    generator = np.random.default_rng(0)
    assert checks.stream("start", generator) is generator
    child = np.random.SeedSequence(3).spawn(2)[1]
    again = checks.stream("start", np.random.SeedSequence(3).spawn(2)[1])
    assert checks.stream("start", child).uniform() == again.uniform()
