"""What kbo exports stands in the tables of helpers.py, and so in every test that walks them."""

import inspect

import jax
import numpy as np
import optax
import pytest

import kbo
from kbo.datasets import make_bilevel_quadratics
from kbo.hypergradients.linear_solvers import LinearSolver
from kbo.losses import as_loss
from tests import helpers
from tests.solvers import test_proximal


def exported(package, kind):
    """Names of the classes of a package's face that can be made."""
    members = [package.__dict__[name] for name in package.__all__]
    return {
        member.__name__ for member in members
        if inspect.isclass(member) and issubclass(member, kind) and not inspect.isabstract(member)
    }


def kinds_within(values, kind):
    """Names of the classes of all nodes of some pytrees."""
    found = set()

    def look(node):
        if isinstance(node, kind):
            found.add(type(node).__name__)
        return False

    for value in values:
        jax.tree.flatten(value, is_leaf=look)
    return found


TABLES = {
    "kernels": lambda: (
        exported(kbo.kernels, kbo.kernels.Kernel),
        kinds_within(
            [kbo.kernels.as_kernel(make(start)) for make, start in helpers.KERNELS.values()],
            kbo.kernels.Kernel,
        ),
    ),
    "losses": lambda: (
        exported(kbo.losses, kbo.losses.Loss),
        {type(as_loss(loss)).__name__ for loss, *_ in helpers.LOSSES.values()},
    ),
    "joint losses": lambda: (
        exported(kbo.losses, kbo.losses.Joint), {type(j).__name__ for j in helpers.JOINTS.values()},
    ),
    "spaces": lambda: (
        # Nystrom and Falkon make the others.
        exported(kbo.spaces, (kbo.spaces.Space, kbo.NeuralFeatures)) - {"Subspace"},
        {type(make(start)).__name__ for make, start in helpers.SPACES.values()}
        | {type(make(1)).__name__ for make in helpers.NETWORKS.values()},
    ),
    "solvers": lambda: (
        # Gradient trains every row of NETWORKS, Proximal solves every one of REGULARIZERS.
        exported(kbo.solvers, kbo.solvers.Solver) - {"Gradient", "Proximal"},
        {type(solver).__name__ for solver, *_ in helpers.SOLVERS.values()},
    ),
    "methods": lambda: (
        exported(kbo.hypergradients, kbo.hypergradients.Method) - {"SingleLoop"},
        {type(method).__name__ for method in helpers.HYPERGRADIENTS.values()}
        | {type(method).__name__ for method, *_ in helpers.PARAMETRIC.values()},
    ),
    "regularizers": lambda: (
        {
            kind.__name__ for kind in vars(kbo.regularizers).values()
            if inspect.isclass(kind) and issubclass(kind, kbo.regularizers.Regularizer)
            and not inspect.isabstract(kind)
        },
        {
            type(make(test_proximal.START)).__name__
            for make in test_proximal.REGULARIZERS.values()
        },
    ),
    "linear solvers": lambda: (
        exported(kbo.hypergradients.linear_solvers, LinearSolver),
        kinds_within([method for method, *_ in helpers.PARAMETRIC.values()], LinearSolver),
    ),
    "steppers": lambda: (
        exported(kbo.hypergradients, kbo.hypergradients.Stepper),
        {type(stepper).__name__ for stepper in helpers.STEPPERS.values()},
    ),
    "criteria": lambda: (
        # NystromComplexity is for another solver, and has tests of its own.
        exported(kbo.criteria, kbo.hypergradients.Method) - {"NystromComplexity"},
        {type(criterion).__name__ for criterion in helpers.CRITERIA.values()},
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_export_has_a_row(name):
    names, rows = TABLES[name]()
    assert names and names <= rows, f"no row for {names - rows}"


@pytest.mark.parametrize("name", helpers.STEPPERS)
def test_every_stepper_lowers_the_outer_value(name, x64):
    quadratics = make_bilevel_quadratics(64, 8, 4, random_state=0)
    found = kbo.minimize(
        quadratics.problem, quadratics.omega0, method=helpers.STEPPERS[name], throw=False,
        # Its direction has the rate already.
        optimizer=kbo.optimizers.Optax(optax.sgd(1.0 if name == "stfbo" else 0.1), max_steps=300),
    )
    start, end = (quadratics.value(omega) for omega in (quadratics.omega0, found.omega))
    assert np.isfinite(end)
    assert end - quadratics.lowest < 0.5 * (start - quadratics.lowest)
