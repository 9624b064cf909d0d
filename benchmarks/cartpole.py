"""CartPole by model-based reinforcement learning: four things a model may be trained for.

    python -m benchmarks.cartpole [--methods FuncID OMD MLE VEP] [--hidden 32 3] [--seeds 10]
        [--steps 200000] [--every 1] [--store FOLDER]

ω is a model (s, a) ↦ (s', r). The inner problem is soft Q-learning on what the model predicts, the
outer loss says what the model is for (Nikishin et al. 2022; Petrulionyte, Mairal, Arbel 2024):

    inner   ½ (Q(s)_a − r_ω − γ V̄(s'_ω))²,     V = α logsumexp(min(Q₁, Q₂)/α)
    FuncID, OMD   ½ (Q(s)_a − r − γ V̄(s'))²    on real transitions
    MLE           ‖s'_ω − s'‖² + (r_ω − r)²
    VEP           Σ_k (V_k(s'_ω) − V_k(s'))² + (r_ω − r)²,  five random V_k

FuncID trains a network for the adjoint; OMD differentiates the weights of Q, with the identity in
place of the inverse Hessian, as published. Every ``--every`` steps in the environment there are as
many steps of Q, and one of the model; FuncID's adjoint makes four times as many. As published,
Adam's rates are 3e-4 for Q and 1e-3 for the model, and the model's layers have 32 units, or 3,
which cannot represent CartPole. Rewards are those of 10 episodes (at most 500 each), after each
1,000 steps. With ``--store`` finished blocks of 1,000 steps are kept, and an interrupted run goes
on to the same end. Writes results/cartpole.json, cartpole.md and cartpole.png. Needs gymnasium, the
extra ``rl``.
"""

import functools
import time
from pathlib import Path

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

import kbo
from kbo import serial
from kbo.hypergradients import Identity, Implicit, Parametric

from ._harness import Table, arguments, pyplot, write_figure

BLOCK, RANDOM_STEPS, BATCH, EPISODES = 1000, 1000, 256, 10
GAMMA, ALPHA, EPSILON, TAU = 0.99, 0.01, 0.1, 0.01
INNER_RATE, ADJOINT_RATE, OUTER_RATE = 3e-4, 3e-3, 1e-3
ACTIONS, STATE = 2, 4
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


class Several(kbo.networks.Network):
    """Networks of one kind side by side, none of which knows the others."""

    of: kbo.networks.Network
    outputs: tuple[int, ...] = eqx.field(static=True)

    def init(self, key, x, p):
        keys = jax.random.split(key, len(self.outputs))
        return [self.of.init(k, x, q) for k, q in zip(keys, self.outputs, strict=True)]

    def apply(self, params, x):
        return jnp.concatenate([self.of.apply(each, x) for each in params])


def perceptrons(width, outputs):
    return Several(kbo.networks.MLP((width, width), activation="relu"), outputs)


CRITIC = perceptrons(32, (ACTIONS, ACTIONS))
RANDOM_VALUES = perceptrons(32, (1,) * 5)
RANDOM_WEIGHTS = RANDOM_VALUES.init(jax.random.key(7), jnp.zeros(STATE), 5)


def soft_value(weights, state):
    """V(s) = α logsumexp(min(Q₁(s), Q₂(s))/α)."""
    q = CRITIC.apply(weights, state)
    return ALPHA * jax.nn.logsumexp(jnp.minimum(q[:ACTIONS], q[ACTIONS:]) / ALPHA)


def bellman(omega, v, t, state, reward):
    """½ Σ_k (Q_k(s)_a − r − γ V̄(s'))²; an episode that ended has no V̄."""
    fixed = jax.lax.stop_gradient(omega["target"])
    goal = reward + GAMMA * (1 - t["over"]) * soft_value(fixed, state)
    return 0.5 * jnp.sum((v.reshape(2, ACTIONS)[:, t["action"]] - goal) ** 2)


@functools.cache
def losses(hidden):
    """The inner loss, and the outer loss of each method, of a model with ``hidden`` units."""
    network = perceptrons(hidden, (STATE, 1))

    def imagined(omega, t):
        action = jax.nn.one_hot(t["action"], ACTIONS)
        out = network.apply(omega["model"], jnp.concatenate([t["state"], action]))
        return out[:STATE], out[STATE]

    def inner(omega, v, t):
        return bellman(omega, v, t, *imagined(omega, t))

    def real(omega, v, t):
        return bellman(omega, v, t, t["next"], t["reward"])

    def likelihood(omega, v, t):
        state, reward = imagined(omega, t)
        return jnp.sum((state - t["next"]) ** 2) + (reward - t["reward"]) ** 2

    def equivalence(omega, v, t):
        state, reward = imagined(omega, t)
        values = functools.partial(RANDOM_VALUES.apply, RANDOM_WEIGHTS)
        return jnp.sum((values(state) - values(t["next"])) ** 2) + (reward - t["reward"]) ** 2

    coefficients = Parametric(Identity())
    ways = {"FuncID": (real, Implicit()), "OMD": (real, coefficients),
            "MLE": (likelihood, coefficients), "VEP": (equivalence, coefficients)}
    return network, inner, ways


@jax.jit
def mean_q(weights, states):
    q = jax.vmap(functools.partial(CRITIC.apply, weights))(states)
    return (q[:, :ACTIONS] + q[:, ACTIONS:]) / 2


def act(weights, states, random):
    """Actions drawn with probabilities proportional to exp(Q/α)."""
    q = np.asarray(mean_q(weights, jnp.asarray(states, jnp.float32)), float)
    return np.argmax(q / ALPHA + random.gumbel(size=q.shape), axis=1)


class Agent:
    """Model, critic and what they have seen, block by block."""

    def __init__(self, method, hidden, seed, every, steps):
        self.every, self.seed = every, seed
        network, self.inner, ways = losses(hidden)
        self.outer, self.way = ways[method]
        own, critic = jax.random.split(jax.random.key(seed))
        weights = network.init(own, jnp.zeros(STATE + ACTIONS), STATE + 1)
        first = CRITIC.init(critic, jnp.zeros(STATE), 2 * ACTIONS)
        self.omega = {"model": weights, "target": first}
        self.critic, self.warm, self.diverged = first, None, 0
        self.optimizer = optax.adam(OUTER_RATE)
        self.moments = self.optimizer.init(weights)
        self.solver = kbo.solvers.Gradient(
            steps=every, optimizer=adam(INNER_RATE), adjoint_steps=4 * every,
            adjoint_optimizer=adam(ADJOINT_RATE), batch_size=BATCH)
        self.key = critic
        self.seen = {
            "state": np.zeros((steps, STATE), np.float32), "action": np.zeros(steps, np.int32),
            "reward": np.zeros(steps, np.float32), "next": np.zeros((steps, STATE), np.float32),
            "over": np.zeros(steps, np.float32)}

    def learn(self, random, count):
        """As many steps of the critic as were made in the environment, and one of the model."""
        rows = random.integers(count, size=BATCH * self.every)
        t = {name: values[rows] for name, values in self.seen.items()}
        sample = kbo.Sample(t["state"], t)
        problem = kbo.BilevelProblem(
            self.inner, self.outer, sample, sample, kbo.NeuralSpace(CRITIC), ridge=1e-8,
            n_outputs=2 * ACTIONS)
        found = kbo.value_and_hypergradient(
            problem, self.omega, solver=self.solver, method=self.way, state=self.warm,
            key=self.key, throw=False)
        if not np.isfinite(found.value):
            raise kbo.BilevelError(found.status, found, found.hint)
        self.diverged += found.status is kbo.Status.DIVERGED
        self.warm = found.state
        self.critic = jax.tree.map(lambda leaf: leaf[0], found.inner.coefficients.params)
        self.omega, self.moments = self._moved(found.grad["model"])

    def _moved(self, grad):
        step, moments = self.optimizer.update(grad, self.moments)
        keep = (1 - TAU) ** self.every
        target = jax.tree.map(
            lambda old, new: keep * old + (1 - keep) * new, self.omega["target"], self.critic)
        model = optax.apply_updates(self.omega["model"], step)
        return {"model": model, "target": target}, moments

    def block(self, number):
        """1,000 steps in the environment, from the beginning of an episode."""
        random = np.random.default_rng([self.seed, number])
        environment = gymnasium.make("CartPole-v1")
        state, _ = environment.reset(seed=int(random.integers(2**31)))
        for step in range(number * BLOCK, (number + 1) * BLOCK):
            explores = step < RANDOM_STEPS or random.random() < EPSILON
            drawn = random.integers(ACTIONS, size=1)
            action = int((drawn if explores else act(self.critic, state[None], random))[0])
            following, reward, over, cut, _ = environment.step(action)
            row = {"state": state, "action": action, "reward": reward, "next": following,
                   "over": over}
            for name, value in row.items():
                self.seen[name][step] = value
            state = environment.reset()[0] if over or cut else following
            if step >= RANDOM_STEPS and step % self.every == 0:
                self.learn(random, step + 1)

    def state(self):
        """What the next block starts from."""
        return [self.omega, self.critic, self.moments, self.warm, self.seen]

    def restore(self, stored):
        """Go on from what ``state`` said."""
        *own, warm, seen = stored
        self.omega, self.critic, self.moments = (
            serial.like(mine, theirs) for mine, theirs in
            zip((self.omega, self.critic, self.moments), own, strict=True))
        self.warm = warm
        self.seen = dict(zip(sorted(self.seen), seen, strict=True))

    def reward(self, number):
        """Mean reward of ten episodes."""
        random = np.random.default_rng([self.seed, number, 1])
        worlds = [gymnasium.make("CartPole-v1") for _ in range(EPISODES)]
        states = [world.reset(seed=int(random.integers(2**31)))[0] for world in worlds]
        running, total = list(range(EPISODES)), 0.0
        while running:
            actions = act(self.critic, np.stack(states), random)
            for k in list(running):
                states[k], reward, over, cut, _ = worlds[k].step(int(actions[k]))
                total += reward
                if over or cut:
                    running.remove(k)
        return total / EPISODES


@functools.cache
def adam(rate):
    """One object for each rate, so that what was compiled with it is found again."""
    return optax.adam(rate)


def run(method, hidden, seed, steps, every, store=None):
    """Rewards and seconds after each block of 1,000 steps."""
    agent = Agent(method, hidden, seed, every, steps)
    path = store and Path(store) / f"{method}-{hidden}-{seed}-{steps}-{every}.npz"
    curve = []
    if path and path.exists():
        with path.open("rb") as file:
            state, known = serial.read(file)
        agent.restore(state)
        curve = known["curve"].tolist()
    for number in range(len(curve), steps // BLOCK):
        started = time.perf_counter()
        agent.block(number)
        seconds = time.perf_counter() - started
        curve.append([agent.reward(number), seconds])
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            serial.write_atomically(
                path, lambda file: serial.write(file, agent.state(), curve=np.asarray(curve)))
    return np.asarray(curve)


def main():
    args = arguments(
        __doc__, methods=["FuncID", "OMD", "MLE", "VEP"], hidden=[32, 3], seeds=10, steps=200_000,
        every=1, store=None)
    table, curves = Table("cartpole"), {}
    for hidden in args.hidden:
        for method in args.methods:
            runs = np.stack([run(method, hidden, seed, args.steps, args.every, args.store)
                             for seed in range(args.seeds)])
            curves[hidden, method] = runs[..., 0]
            last = runs[:, -5:, 0].mean(1)
            whole = runs[..., 0].mean(1)
            table.add({
                "model units": hidden, "method": method, "seeds": args.seeds, "steps": args.steps,
                "every": args.every, "reward of the last 5,000 steps": pm(last),
                "mean reward of all": pm(whole),
                "ms a step": round(float(np.median(runs[:, 1:, 1])) / BLOCK * 1e3, 2)})
    draw(curves, args)


def pm(values):
    """The mean over seeds with its 95 % interval by Student's t."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.0f} ± {half:.0f}"


def draw(curves, args):
    """Reward against steps; bands are 95 % intervals of the mean over seeds."""
    figure, axes = pyplot().subplots(1, len(args.hidden), figsize=(5 * len(args.hidden), 4),
                                     sharey=True, squeeze=False)
    for ax, hidden in zip(axes[0], args.hidden, strict=True):
        for method, color in zip(args.methods, COLORS, strict=False):
            rewards = curves[hidden, method]
            steps = BLOCK * np.arange(1, rewards.shape[1] + 1)
            mean = rewards.mean(0)
            half = stats.t.ppf(0.975, len(rewards) - 1) * rewards.std(0, ddof=1)
            half = half / np.sqrt(len(rewards))
            ax.plot(steps, mean, color=color, label=method)
            ax.fill_between(steps, mean - half, mean + half, color=color, alpha=0.15, lw=0)
        ax.set(title=f"a model of {hidden} units", xlabel="steps in the environment")
    axes[0, 0].set_ylabel("reward of an episode, at most 500")
    axes[0, 0].legend()
    write_figure("cartpole", figure, dpi=120, bbox_inches="tight")


if __name__ == "__main__":
    main()
