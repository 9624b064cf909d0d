"""The time that JAX compiles is counted, once for each program, by whichever thread."""

import threading

import jax
import jax.numpy as jnp
import numpy as np

import kbo


def test_what_is_compiled_again_counts_and_what_is_known_does_not():
    function = jax.jit(lambda x: jnp.sin(x) @ x)
    counts = [kbo.compile_seconds()]
    for size in (3, 3, 4):
        x = np.ones(size)  # no program of its own
        thread = threading.Thread(target=lambda x=x: function(x).block_until_ready())
        thread.start()
        thread.join()
        counts.append(kbo.compile_seconds())
    first, again, other = np.diff(counts)
    assert first > 0 and again == 0 and other > 0


def test_a_second_fit_of_the_same_size_compiles_nothing():
    X = np.random.default_rng(0).normal(size=(40, 2))
    model = kbo.KernelBilevelRegressor("gaussian", ard=False, criterion="loo", max_iter=3)
    model.fit(X, X[:, 0])
    before = kbo.compile_seconds()
    model.fit(X[::-1], X[::-1, 1])
    assert kbo.compile_seconds() == before
