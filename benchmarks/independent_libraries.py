"""The libraries of independent.py: each gives L, ∇L and a memory for an ω and a memory.

A memory is what the next call may start from; None asks for a start at zero. kbo and the rivals
are imported inside the functions, since no interpreter need have all of them.
"""

import os

import numpy as np

from .independent_problems import BOUNDS, Reference, losses

TOL = 1e-8
GAMMA = {"ridge": 1.0, "logistic": 1.0, "quadratics": 0.9}  # of gradhpo
DESCENT = {"ridge": (400, 0.9), "logistic": (800, 0.95), "quadratics": (400, 0.9)}  # momentum


def with_kbo(problem, data, kind):
    import jax
    import jax.numpy as jnp

    import kbo
    from kbo.hypergradients import CG, Direct, Parametric

    if problem == "quadratics":
        seed = int(data["seed"])
        made = kbo.datasets.make_bilevel_quadratics(1024, 100, 10, random_state=seed).problem
    else:
        loss = kbo.losses.Squared() if problem == "ridge" else kbo.losses.Logistic()
        made = kbo.BilevelProblem(
            loss, loss, kbo.Sample(data["X"], data["y"]), kbo.Sample(data["X'"], data["y'"]),
            space=lambda w: kbo.FeatureSpace(lambda x: x * jnp.exp(-0.5 * w)), ridge=1.0,
        )
    if kind == "compiled":
        step = jax.jit(jax.value_and_grad(kbo.outer_objective(made)))
        return lambda omega, memory: (*step(omega), None)
    options = {} if kind is None else {
        "method": Parametric(CG(500) if kind == "CG" else Direct()),
        "solver": kbo.solvers.QuasiNewton(tol=TOL),
    }

    def evaluate(omega, memory):
        hg = kbo.value_and_hypergradient(made, omega, state=memory, **options)
        return hg.value, hg.grad, hg.state

    return evaluate


def by_jax(problem, data, make):
    """``make(J)`` is a function (θ0, ω) ↦ θ*(ω) that the library can differentiate."""
    import jax
    import jax.numpy as jnp

    inner, outer = losses(jnp, problem, {k: jnp.asarray(v) for k, v in data.items()})
    solution, zero = make(inner), jnp.zeros(int(data["size"]))

    @jax.jit
    def step(omega, theta):
        def value(omega):
            found = solution(theta, omega)
            return outer(found, omega), found

        (value, found), grad = jax.value_and_grad(value, has_aux=True)(omega)
        return value, grad, found

    return lambda omega, memory: step(omega, zero if memory is None else memory)


def with_optimistix(problem, data, kind):
    import jax
    import lineax
    import optimistix as optx

    def make(inner):
        more = {"tags": frozenset({lineax.positive_semidefinite_tag}), "max_steps": 2000}
        if kind == "Newton":
            solver, gradient = optx.Newton(TOL, TOL), jax.grad(inner)
            return lambda t, w: optx.root_find(gradient, solver, t, w, **more).value
        return lambda t, w: optx.minimise(inner, optx.BFGS(TOL, TOL), t, w, **more).value

    return by_jax(problem, data, make)


def with_jaxopt(problem, data, kind):
    import jax
    import jax.numpy as jnp
    import jaxopt
    from jaxopt.linear_solve import solve_cholesky

    def newton(gradient):
        def step(theta, omega):
            H = jax.jacfwd(gradient)(theta, omega)
            return theta - jax.scipy.linalg.solve(H, gradient(theta, omega), assume_a="pos")

        more = lambda theta, omega: jnp.linalg.norm(gradient(theta, omega)) > TOL
        return lambda t, w: jax.lax.while_loop(lambda t: more(t, w), lambda t: step(t, w), t)

    def make(inner):
        if kind == "custom_root":
            gradient = jax.grad(inner)
            implicit = jaxopt.implicit_diff.custom_root(gradient, solve=solve_cholesky)
            return implicit(newton(gradient))
        more = {} if kind == "default" else {"implicit_diff_solve": solve_cholesky}
        solver = jaxopt.LBFGS(inner, tol=TOL, maxiter=2000, implicit_diff=True, **more)
        return lambda t, w: solver.run(t, w).params

    return by_jax(problem, data, make)


def in_torch(problem, data):
    import torch

    torch.set_num_threads(1)
    return losses(torch, problem, {k: torch.as_tensor(v) for k, v in data.items()})


def with_torchopt(problem, data, kind):
    import torch
    import torchopt

    inner, outer = in_torch(problem, data)
    gradient, hessian = torch.func.grad(inner), torch.func.hessian(inner)
    zero = torch.zeros(int(data["size"]), dtype=torch.float64)
    adjoint = torchopt.linear_solve.solve_cg(rtol=TOL)

    @torchopt.diff.implicit.custom_root(gradient, argnums=1, solve=adjoint)
    def solution(theta, omega):
        if kind == "Newton":
            while (g := gradient(theta, omega)).norm() > TOL:
                factor = torch.linalg.cholesky(hessian(theta, omega))
                theta = theta - torch.cholesky_solve(g[:, None], factor)[:, 0]
            return theta
        theta = theta.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [theta], max_iter=2000, tolerance_grad=TOL, tolerance_change=1e-12, history_size=10,
            line_search_fn="strong_wolfe",
        )

        def closure():
            optimizer.zero_grad()
            loss = inner(theta, omega)
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        return theta.detach()

    def evaluate(omega, memory):
        omega = torch.tensor(omega, requires_grad=True)
        found = solution(zero if memory is None else memory, omega)
        value = outer(found, omega)
        return value.item(), torch.autograd.grad(value, omega)[0].numpy(), found.detach()

    return evaluate


def weights(data):
    """Torch modules that hold ω and θ, in this order."""
    import torch

    class Weights(torch.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.p = torch.nn.Parameter(torch.zeros(size, dtype=torch.float64))

        def forward(self):
            return self.p

    return Weights(len(data["start"])), Weights(int(data["size"]))


def descent(problem, lower):
    """The steps of the inner problem, and their optimizer, whose rate is set in each call."""
    import torch

    steps, momentum = DESCENT[problem]
    return steps, torch.optim.SGD(lower.parameters(), lr=0.1, momentum=momentum)


def boat_loss(feed, upper, lower, **_):
    return feed["loss"](lower(), upper())


def with_boat(problem, data, kind):
    import boat_torch
    import torch

    inner, outer = in_torch(problem, data)
    reference, (upper, lower) = Reference(problem, data), weights(data)
    steps, optimizer = descent(problem, lower)
    config = {
        "fo_op": None, "gm_op": ["NGD"], "na_op": ["CG"], "lower_iters": steps, "device": "cpu",
        "lower_level_model": lower, "upper_level_model": upper, "lower_level_opt": optimizer,
        "upper_level_opt": torch.optim.SGD(upper.parameters(), lr=1.0),
        "lower_level_var": list(lower.parameters()), "upper_level_var": list(upper.parameters()),
        "CG": {"tolerance": TOL, "k": 500}, "GDA": {"alpha_init": 0.0, "alpha_decay": 0.5},
        "RGT": {"truncate_iter": 0}, "return_grad": True, "accumulate_grad": False,
        "copy_last_param": True, "loss_log_path": os.devnull,
    }
    loss = {"function": f"{__name__}.boat_loss"}
    made = boat_torch.Problem(config, {"lower_level_loss": loss, "upper_level_loss": loss})
    made.build_ll_solver().build_ul_solver()

    def evaluate(omega, memory):
        upper.p.data, upper.p.grad = torch.tensor(omega), None
        lower.p.data = torch.zeros_like(lower.p) if memory is None else memory
        optimizer.param_groups[0]["lr"] = 1 / reference.curvature(omega)
        (grad,), _ = made.run_iter({"loss": inner}, {"loss": outer}, 0)
        return made.loss_history[-1]["ul_loss"], grad.numpy().copy(), lower.p.detach().clone()

    return evaluate


def with_betty(problem, data, kind):
    import betty.configs
    import betty.engine
    import betty.problems
    import torch

    inner, outer = in_torch(problem, data)
    reference, (upper, lower) = Reference(problem, data), weights(data)
    (steps, optimizer), found = descent(problem, lower), {}

    class Level(betty.problems.ImplicitProblem):
        def get_batch(self):
            return None

    class Lower(Level):
        def training_step(self, batch):
            return inner(self.module.p, self.upper.module.p)

    class Upper(Level):
        def training_step(self, batch):
            loss = outer(self.lower.module.p, self.module.p)
            found["value"] = loss.item()
            return loss

        def param_callback(self, parameters):
            found["grad"] = self.module.p.grad.clone()

    one, two = betty.configs.Config, betty.configs.EngineConfig(train_iters=steps)
    config = one(type="neumann", neumann_iterations=steps, unroll_steps=steps)
    low = Lower("lower", config, lower, optimizer)
    high = Upper(
        "upper", one(retain_graph=True), upper, torch.optim.SGD(upper.parameters(), lr=0.0))
    engine = betty.engine.Engine(
        config=two, problems=[high, low], dependencies={"u2l": {high: [low]}, "l2u": {low: [high]}}
    )

    def evaluate(omega, memory):
        upper.p.data = torch.tensor(omega)
        lower.p.data = torch.zeros_like(lower.p) if memory is None else memory.clone()
        optimizer.state.clear()
        rate = optimizer.param_groups[0]["lr"] = 1 / reference.curvature(omega)
        config.neumann_alpha = rate
        engine.run()
        return found["value"], found["grad"].numpy(), lower.p.detach().clone()

    return evaluate


def with_gradhpo(problem, data, kind):
    import gradhpo
    import jax.numpy as jnp
    import optax

    inner, outer = losses(jnp, problem, {k: jnp.asarray(v) for k, v in data.items()})
    highest = np.full(len(data["start"]), BOUNDS[problem][1] or 0.0)
    rate = 1 / Reference(problem, data).curvature(highest)
    made = gradhpo.GreedyOptimizer(optax.sgd(rate), optax.sgd(1.0), 20, GAMMA[problem])
    low, high = (lambda t, w, batch: inner(t, w)), (lambda t, w, batch: outer(t, w))

    def evaluate(omega, memory):
        state = made.init(settled if memory is None else memory, jnp.asarray(omega))
        done = made.step(state, None, None, low, high)
        return done.metadata["val_loss"], omega - np.asarray(done.hyperparams), done.params

    settled = jnp.zeros(int(data["size"]))
    for _ in range(100):
        settled = evaluate(data["start"], settled)[2]
    return evaluate
