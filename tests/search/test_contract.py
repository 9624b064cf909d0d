"""What a problem promises is checked before anything is computed, and the error says what to do."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kbo
from kbo import losses
from tests.small import OMEGA, X_OUT, Y_OUT, M, N, X, Y, problem, right_grad, right_value


def own(w, v, t):
    return 0.5 * (v - t) ** 2


def evaluate(p, omega=OMEGA, **options):
    return kbo.value_and_hypergradient(p, omega, **options)


def test_the_oracle_and_the_library_agree(x64):
    found = evaluate(problem())
    np.testing.assert_allclose(found.value, right_value(OMEGA), rtol=1e-12)
    np.testing.assert_allclose(found.grad, right_grad(OMEGA), rtol=1e-8)


def test_columns_of_targets_are_refused_by_own_losses_and_right_in_ours(x64):
    inner, outer = kbo.Sample(X, Y[:, None]), kbo.Sample(X_OUT, Y_OUT[:, None])
    for name in ("inner", "outer"):
        fields = {f"{name}_loss": own, f"{name}_data": inner if name == "inner" else outer}
        with pytest.raises(ValueError, match=rf"{name}_loss returned .*\(1,\).*n_outputs"):
            evaluate(problem(**fields))
    found = evaluate(problem(inner_data=inner, outer_data=outer))
    np.testing.assert_allclose(found.value, right_value(OMEGA), rtol=1e-12)
    one = evaluate(problem(n_outputs=1))
    np.testing.assert_allclose(one.value, right_value(OMEGA), rtol=1e-12)


ODD = {
    "a tuple": (lambda w, v, t: (own(w, v, t), v), "tuple of 2.*auxiliary"),
    "three numbers": (lambda w, v, t: own(w, v, t) * jnp.ones(3), r"shape \(3,\)"),
    "an integer": (lambda w, v, t: jnp.asarray(v > t, int), "dtype int"),
    "a complex number": (lambda w, v, t: own(w, v, t) * 1j, "dtype complex"),
    "a dict": (lambda w, v, t: {"loss": own(w, v, t)}, "dict"),
    "nothing": (lambda w, v, t: None, "None"),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("side", ["inner_loss", "outer_loss"])
def test_losses_that_return_no_number_are_refused(name, side, x64):
    loss, words = ODD[name]
    with pytest.raises(ValueError, match=f"{side} returned.*{words}"):
        evaluate(problem(**{side: loss}))


def test_errors_of_a_users_loss_say_where_they_came_from(x64):
    with pytest.raises(Exception) as raised:
        evaluate(problem(outer_loss=lambda w, v, t: w["a"] * v))
    assert "outer_loss" in "".join(raised.value.__notes__)


WRONG_FIELDS = {
    "penalty of two numbers": ({"penalty": lambda w: w**2}, r"penalty returned.*\(2,\)"),
    "penalty of one in a list": ({"penalty": lambda w: w[:1]}, r"penalty returned.*\(1,\)"),
    "ridge of a matrix": ({"ridge": lambda w: jnp.ones((2, 2))}, r"ridge returned.*\(2, 2\)"),
    "a joint loss inside": ({"inner_loss": losses.Readout()}, "inner_loss=Readout.*all pred"),
    "a joint loss of rows": (
        {"outer_loss": type("Rows", (losses.Joint,), {
            "__call__": lambda self, w, v, t, weights: (v - t) ** 2})()},
        r"outer_loss returned.*\(8,\)",
    ),
    "a kernel of a vector": (
        {"space": kbo.RKHS(lambda a, b: jnp.exp(-((a - b) ** 2)))}, r"kernel returned.*\(2,\)",
    ),
    "features of a number": ({"space": kbo.FeatureSpace(jnp.sum)}, r"feature_map returned.*\(\)"),
    "a feature map": ({"space": kbo.RandomFourierFeatures(5, 2)}, r"space.*kbo.FeatureSpace"),
    "data of an array": ({"inner_data": lambda w: X}, "inner_data returned.*kbo.Sample"),
}


@pytest.mark.parametrize("name", WRONG_FIELDS)
def test_fields_that_do_not_keep_their_promise_are_refused(name, x64):
    fields, words = WRONG_FIELDS[name]
    with pytest.raises(ValueError, match=words):
        evaluate(problem(**fields))


CLASSES = {
    "space": kbo.RKHS, "inner_loss": losses.Squared, "outer_loss": losses.Huber,
}


@pytest.mark.parametrize("field", CLASSES)
def test_classes_in_the_place_of_instances_are_refused(field):
    with pytest.raises(ValueError, match=f"{field}=.* is a class"):
        problem(**{field: CLASSES[field]})
    with pytest.raises(ValueError, match=r"kbo\.RKHS\(kernel\)"):
        problem(space=kbo.kernels.Gaussian(1.0))


ARGUMENTS = {
    "solver": kbo.solvers.Exact, "method": kbo.hypergradients.Implicit, "optimizer": "lbfgs",
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_of_another_kind_are_refused(name, x64):
    with pytest.raises(TypeError, match=f"{name}=.*instance"):
        kbo.minimize(problem(), OMEGA, **{name: ARGUMENTS[name]})
    with pytest.raises(TypeError, match=r"problem=.*BilevelProblem"):
        evaluate(kbo.BilevelProblem)


LABELS = {
    "logistic zero and one": (losses.Logistic(), np.arange(N) % 2, None, "-1 and .1"),
    "logistic halves": (losses.Logistic(), np.full(N, 0.5), None, "-1 and .1"),
    "multinomial too many": (losses.Multinomial(), np.arange(N) % 4, 3, "0 to 2"),
    "multinomial fractions": (losses.Multinomial(), np.full(N, 0.5), 3, "0 to 2"),
    "multinomial negative": (losses.Multinomial(), np.full(N, -1), 3, "0 to 2"),
    "multinomial one output": (losses.Multinomial(), np.arange(N) % 2, None, "n_outputs"),
    "multinomial one-hot": (losses.Multinomial(), np.eye(3)[np.arange(N) % 3], 3, r"\(n,\)"),
    "poisson negative": (losses.Poisson(), np.arange(N) - 1.0, None, "counts"),
    "squared without targets": (losses.Squared(), None, None, "target"),
    "squared of a dict": (losses.Squared(), {"a": Y}, None, "one array"),
    "squared of two columns": (losses.Squared(), np.stack([Y, Y], 1), None, "n_outputs=2"),
    "squared of one for two": (losses.Squared(), Y, 2, r"\(n, 2\)"),
    "huber of three for two": (losses.Huber(), np.stack([Y] * 3, 1), 2, r"\(n, 2\)"),
    "scaled logistic": (losses.ScaledLoss(losses.Logistic(), 2.0), np.arange(N) % 2, None, "-1 and"),
}


@pytest.mark.parametrize("name", LABELS)
def test_targets_that_a_loss_cannot_take_are_refused(name, x64):
    loss, target, p, words = LABELS[name]
    with pytest.raises(ValueError, match=words):
        evaluate(problem(inner_loss=loss, inner_data=kbo.Sample(X, target), n_outputs=p,
                         outer_loss=lambda w, v, t: jnp.sum(v**2)))


def test_targets_of_left_out_rows_may_be_anything(x64):
    weights = np.r_[np.ones(N - 1), 0.0]
    labels = np.r_[np.sign(Y[:-1]), 0.0]
    found = evaluate(problem(
        inner_loss=losses.Logistic(), inner_data=kbo.Sample(X, labels, weights),
    ))
    assert found.status.ok


@pytest.mark.parametrize("loss", [
    losses.Huber(-1.0), losses.Huber(lambda w: -w[0]), losses.SmoothQuantile(1.5),
    losses.SmoothQuantile(0.5, 0.0), losses.SquaredPerOutput(np.array([1.0, -1.0])),
])
def test_parameters_that_make_no_loss_are_refused(loss, x64):
    with pytest.raises(ValueError, match=type(loss).__name__):
        evaluate(problem(inner_loss=loss))


class Noisy(eqx.Module):
    layer: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __call__(self, x, key=None):
        return self.dropout(self.layer(x), key=key)


class Stateful(eqx.Module):
    norm: eqx.nn.BatchNorm

    def __call__(self, x, state=None):
        return self.norm(x[:1], state)[0]


def test_networks_that_draw_or_carry_a_state_are_refused(x64):
    noisy = Noisy(eqx.nn.Linear(2, 1, key=jax.random.key(0)), eqx.nn.Dropout(0.5))
    stateful, _ = eqx.nn.make_with_state(
        lambda: Stateful(eqx.nn.BatchNorm(1, axis_name="b", mode="batch"))
    )()
    for network, words in ((noisy, "inference_mode"), (stateful, "BatchNorm")):
        with pytest.raises(ValueError, match=words):
            evaluate(problem(space=kbo.NeuralSpace(network), ridge=0.1), key=jax.random.key(0))
    wide = eqx.nn.MLP(2, 3, 4, 1, key=jax.random.key(0))
    with pytest.raises(ValueError, match="n_outputs"):
        evaluate(problem(space=kbo.NeuralSpace(wide), ridge=0.1), key=jax.random.key(0))


BROKEN = {
    "penalty": {"penalty": lambda w: jnp.linalg.norm(w - OMEGA)},
    "inner_loss": {"inner_loss": lambda w, v, t: jnp.where(t > -9, own(w, v, t), jnp.log(0 * v))},
    "outer_loss": {
        "outer_loss": lambda w, v, t: own(w, v, t) + jnp.where(w[0] > 0, 0, jnp.sqrt(w[0] - 1)),
    },
    "ridge": {"ridge": lambda w: 0.1 + jnp.sqrt(w[0] - OMEGA[0]) * jnp.sqrt(w[1] - OMEGA[1])},
    "space": {
        "space": lambda w: kbo.RKHS(lambda a, b: jnp.exp(-jnp.linalg.norm((a - b) / w[0]))),
    },
}


@pytest.mark.parametrize("field", BROKEN)
@pytest.mark.parametrize("verb", [evaluate, lambda p: kbo.minimize(p, OMEGA)])
def test_a_derivative_that_is_nan_is_blamed_on_its_function(field, verb, x64):
    with pytest.raises(kbo.BilevelError, match=f"NOT_DIFFERENTIABLE.*{field} has a deriv"):
        verb(problem(**BROKEN[field]))


def test_what_is_no_number_is_refused_by_name():
    for bad in (np.array(["a"] * N), np.array([None] * N), X + 1j, [[1.0], [1.0, 2.0]]):
        with pytest.raises(ValueError, match="x "):
            kbo.Sample(bad)
    with pytest.raises(ValueError, match="x has masked"):
        kbo.Sample(np.ma.masked_less(X, 0))
    with pytest.raises(ValueError, match="target"):
        kbo.Sample(X, np.array(["a"] * N))
    with pytest.raises(ValueError, match="weights"):
        kbo.Sample(X, Y, np.array(["a"] * N))
    with pytest.raises(ValueError, match="ridge"):
        problem(ridge="0.1")
    with pytest.raises(ValueError, match="n_outputs"):
        problem(n_outputs=True)


def test_sixteen_bits_are_raised_to_thirty_two():
    narrow = kbo.Sample(jnp.asarray(X, jnp.bfloat16), Y)
    assert narrow.x.dtype == jnp.float32
    found = evaluate(problem(inner_data=narrow), jnp.asarray(OMEGA, jnp.bfloat16))
    rounded = np.asarray(jnp.asarray(X, jnp.bfloat16), float)
    at = np.asarray(jnp.asarray(OMEGA, jnp.bfloat16), float)
    np.testing.assert_allclose(found.value, right_value(at, rounded), rtol=1e-4)


def test_a_problem_is_looked_at_once(x64, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "kbo.search.contract._check_loss", lambda *args, **more: calls.append(args)
    )
    make = lambda: problem(outer_loss=lambda w, v, t: 0.5 * (v - t) ** 2 + 0.125)
    for _ in range(3):
        evaluate(make())
    assert len(calls) == 2  # one for each loss
    assert M  # the sizes stay


class Crooked(kbo.kernels.Kernel):
    lengthscale: jax.Array

    def evaluate(self, x, z):
        return jnp.exp(-jnp.sum((x / self.lengthscale - z) ** 2))


def crooked(x, z):
    return jnp.exp(-jnp.sum((2 * x - z) ** 2))


@pytest.mark.parametrize(
    "space",
    [
        kbo.RKHS(crooked), kbo.RKHS(kbo.kernels.Gaussian() + Crooked(jnp.array(2.0))),
        lambda w: kbo.RKHS(Crooked(jnp.exp(w[0] + 1.0))),
    ],
)
def test_kernels_that_are_not_symmetric_are_refused(space, x64):
    with pytest.raises(ValueError, match=r"not symmetric: k\(x, z\) = .* at rows \d and \d of inner"):
        evaluate(problem(space=space))
    straight = lambda w: kbo.RKHS(Crooked(jnp.exp(0.0 * w[0])))
    assert evaluate(problem(space=straight)).status is kbo.Status.CONVERGED


STRAIGHT = {
    "hinge": lambda w, v, t: jnp.maximum(0.0, 1 - t * v),
    "absolute value": lambda w, v, t: jnp.abs(v - t["y"]),
    "quantile": lambda w, v, t: jnp.where(t > v, 0.9 * (t - v), 0.1 * (v - t)),
}


@pytest.mark.parametrize("name", STRAIGHT)
def test_where_an_inner_loss_has_no_curvature_the_error_says_so(name, x64):
    target = {"y": Y} if name == "absolute value" else Y
    p = problem(inner_loss=STRAIGHT[name], inner_data=kbo.Sample(X, target))
    with pytest.raises(kbo.BilevelError, match=r"no curvature at any sample.*squared hinge"):
        evaluate(p)


def test_another_failure_is_not_laid_to_kinks(x64):
    p = problem(inner_loss=lambda w, v, t: jnp.log(jnp.cosh(v - t)))
    found = evaluate(p, solver=kbo.solvers.Exact(max_newton=1), throw=False)
    assert found.status is kbo.Status.INNER_NOT_CONVERGED
    assert "max_newton" in found.hint


def test_steps_through_kinks_need_no_curvature(x64):
    space = kbo.FeatureSpace(lambda x: jnp.stack([jnp.ones(()), x[0], x[1], jnp.sin(x[0])]))
    p = problem(inner_loss=STRAIGHT["hinge"], space=space)
    method = kbo.hypergradients.Unrolled(20)
    found = evaluate(p, method=method)
    assert found.status.usable
    step = 1e-6
    ahead, behind = (
        evaluate(p, jax.tree.map(lambda leaf, s=s: leaf + s, OMEGA), method=method).value
        for s in (step, -step)
    )
    slope = sum(float(jnp.sum(jnp.asarray(leaf))) for leaf in jax.tree.leaves(found.grad))
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-8)
