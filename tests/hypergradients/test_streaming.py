"""Points on disk give what points in memory give."""

import numpy as np
import pytest

import kbo
from kbo.solvers import Exact, Falkon, FullCG, Nystrom
from tests import helpers
from tests.solvers.common import ard_space, assert_same, evaluate, ridge_of


@pytest.mark.slow
@pytest.mark.parametrize("solver", [Nystrom(15), Falkon(15, tol=1e-12, loose=0)])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_points_on_disk_give_what_points_in_memory_give(solver, loss, tmp_path, x64, monkeypatch):
    import pandas as pd

    monkeypatch.setattr(kbo.hypergradients.streaming, "BLOCK", 64)  # several blocks
    rng = np.random.default_rng(0)
    x, x_out = rng.normal(size=(700, 3)), rng.normal(size=(90, 3))
    make = np.sign if loss == "logistic" else np.sin
    t, y = make(x.sum(1)), make(x_out.sum(1))
    weights = rng.uniform(0.5, 1.5, size=700)
    np.save(tmp_path / "x.npy", x)
    pd.DataFrame(x_out, columns=list("abc")).to_parquet(tmp_path / "x.parquet", row_group_size=40)
    mapped = kbo.Stream(np.load(tmp_path / "x.npy", mmap_mode="r"))
    table = kbo.Stream.from_parquet(tmp_path / "x.parquet")
    function = helpers.LOSSES[loss][0]

    def problem(inner, outer):
        return kbo.BilevelProblem(
            function, function, kbo.Sample(inner, t, weights), kbo.Sample(outer, y),
            ard_space, ridge_of, penalty=lambda w: 0.1 * w["r"] ** 2,
        )

    omega = {"l": 0.1 * np.arange(3), "r": -5.0}
    expected = evaluate(problem(x, x_out), omega, solver)
    found = evaluate(problem(mapped, table), omega, solver)
    assert_same(found, expected, 1e-9)
    assert found.error_bound == np.inf
    np.testing.assert_allclose(found.inner(x_out[:4]), expected.inner(x_out[:4]), rtol=1e-9)
    half = evaluate(problem(mapped, x_out), omega, solver)
    assert_same(half, expected, 1e-9)
    run = lambda inner: kbo.minimize(
        problem(inner, x_out), omega, solver=solver, optimizer=kbo.optimizers.LBFGS(max_steps=2),
        checkpoint=tmp_path / f"{type(inner).__name__}",
    )
    np.testing.assert_allclose(run(mapped).value, run(x).value, rtol=1e-8)
    for other in (Exact(), FullCG()):
        with pytest.raises(ValueError, match="Stream"):
            evaluate(problem(mapped, x_out), omega, other)
