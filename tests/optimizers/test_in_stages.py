"""InStages: groups of numbers move together, then each on its own."""

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize

import kbo
from kbo.optimizers import LBFGS, InStages
from kbo.result import Status

LABELS = (0, 0, 0, 1)
TARGET = np.array([1.0, 2.0, 3.0, -1.0])


def quadratic(point):
    weights = np.array([1.0, 4.0, 2.0, 3.0])
    return float(weights @ (point - TARGET) ** 2), 2 * weights * (point - TARGET)


def run(optimizer, start, lower=None, upper=None):
    seen, accepted = [], []

    def evaluate(point, tighten=None):
        if tighten is not None:
            return None
        seen.append(np.array(point))
        return quadratic(point)

    size = len(start)
    lower = np.full(size, -np.inf) if lower is None else lower
    upper = np.full(size, np.inf) if upper is None else upper
    status = optimizer.run(evaluate, lambda p: accepted.append(np.array(p)), start, lower, upper)
    return status, seen, accepted


def test_the_first_stage_ends_at_the_tied_minimum_and_the_second_at_the_free_one():
    start = np.zeros(4)
    status, seen, accepted = run(InStages([LABELS], LBFGS(tol=1e-9, ftol=0.0)), start)
    assert status is Status.CONVERGED
    tied = [np.ptp(point[:3]) == 0 for point in accepted]
    last = len(tied) - tied[::-1].index(True) - 1
    assert all(tied[: last + 1]) and not any(tied[last + 1 :])
    best = scipy_minimize(
        lambda y: quadratic(y[list(LABELS)])[0], np.zeros(2), tol=1e-12
    ).x
    np.testing.assert_allclose(accepted[last], best[list(LABELS)], atol=1e-5)
    np.testing.assert_allclose(accepted[-1], TARGET, atol=1e-8)
    # What the first stage ended with is not evaluated again.
    assert len({tuple(point) for point in seen}) == len(seen)


def test_steps_are_shared_and_bounds_are_kept():
    status, _, accepted = run(InStages([LABELS], LBFGS(3, tol=0.0, ftol=0.0)), np.zeros(4))
    assert status is Status.STEPS_EXHAUSTED and len(accepted) == 3
    lower, upper = np.full(4, -0.5), np.array([9.0, 1.5, 9.0, 9.0])
    status, seen, accepted = run(InStages([LABELS], LBFGS()), np.zeros(4), lower, upper)
    assert all((point >= lower).all() and (point <= upper).all() for point in seen)
    np.testing.assert_allclose(accepted[-1], np.clip(TARGET, lower, upper), atol=1e-5)


def test_what_is_held_moves_in_the_last_stage_only():
    stages = [(0, 0, 0, -1), (0, 1, 2, -1)]
    status, seen, accepted = run(InStages(stages, LBFGS(tol=1e-9, ftol=0.0)), np.full(4, 0.5))
    assert status is Status.CONVERGED
    held = [point[3] == 0.5 for point in accepted]
    last = len(held) - held[::-1].index(True) - 1
    assert all(held[: last + 1]) and not any(held[last + 1 :])
    np.testing.assert_allclose(accepted[last], [*TARGET[:3], 0.5], atol=1e-8)
    np.testing.assert_allclose(accepted[-1], TARGET, atol=1e-8)
    assert len({tuple(point) for point in seen}) == len(seen)


def test_earlier_stages_may_be_looser():
    ends = []
    for looser in (1.0, 1e6):
        optimizer = InStages([LABELS], LBFGS(tol=0.0, ftol=1e-12), looser=looser)
        status, _, accepted = run(optimizer, np.zeros(4))
        assert status is Status.CONVERGED
        np.testing.assert_allclose(accepted[-1], TARGET, atol=1e-5)
        ends.append(sum(np.ptp(point[:3]) == 0 for point in accepted))
    assert ends[1] < ends[0]


def test_with_a_label_each_it_is_the_optimizer_itself():
    free = run(InStages([range(4)], LBFGS()), np.zeros(4))
    own = run(LBFGS(), np.zeros(4))
    np.testing.assert_array_equal(free[1], own[1])
    with pytest.raises(ValueError, match="3 labels for an omega of 4"):
        run(InStages([(0, 0, 1)]), np.zeros(4))


def test_a_search_that_was_cut_resumes(tmp_path, x64):
    problem = kbo.BilevelProblem(
        kbo.losses.Squared(), kbo.losses.Squared(),
        kbo.Sample(np.linspace(-1, 1, 30)[:, None] * [1.0, 2.0], np.sin(np.linspace(-3, 3, 30))),
        kbo.Sample(np.linspace(-1, 1, 9)[:, None] * [1.0, 2.0], np.sin(np.linspace(-3, 3, 9))),
        space=lambda w: kbo.RKHS(kbo.kernels.Gaussian(np.e ** w["l"])), ridge=1e-3,
    )
    optimizer = InStages([(0, 0)], LBFGS(8))
    start = {"l": np.array([0.5, 0.0])}
    whole = kbo.minimize(problem, start, optimizer=optimizer, throw=False)
    path, calls = tmp_path / "log", []

    def stop(step):
        calls.append(step)
        return len(calls) == 3

    kbo.minimize(
        problem, start, optimizer=optimizer, checkpoint=path, callback=stop, throw=False
    )
    resumed = kbo.minimize(problem, start, optimizer=optimizer, checkpoint=path, throw=False)
    np.testing.assert_array_equal(resumed.omega["l"], whole.omega["l"])


def test_without_the_last_stage_the_end_is_the_tied_minimum():
    start = np.array([0.3, 0.1, 0.2, 0.0])
    optimizer = InStages([LABELS], LBFGS(tol=1e-9, ftol=0.0), freely=False)
    status, _, accepted = run(optimizer, start)
    assert status is Status.CONVERGED
    tied = scipy_minimize(lambda y: quadratic(start + y[list(LABELS)])[0], np.zeros(2), tol=1e-12)
    np.testing.assert_allclose(accepted[-1], start + tied.x[list(LABELS)], atol=1e-6)
    assert quadratic(accepted[-1])[0] > 1.0  # the free minimum is 0
    alone = InStages([range(4)], LBFGS(tol=1e-9, ftol=0.0), freely=False)
    np.testing.assert_allclose(run(alone, start)[2][-1], TARGET, atol=1e-6)
    with pytest.raises(ValueError, match="freely=False needs a stage"):
        InStages([(-1, -1)], freely=False)
