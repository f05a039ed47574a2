"""Gradient steps per CPU second, against what a user would write by hand.

python -m benchmarks.training [--steps 10000]

First of double DQN:

graph     TF-Agents' agent.train in a tf.function over tf.range, with batches gathered at random
          from tensors in memory
buffer    TFUniformReplayBuffer as a tf.data dataset, and common.function(agent.train)
rlbake    rlbake.training.fit.fit as it is: preprocessing, metrics and copies included, and
          weight decay and weight averaging, which the other two do without
d3rlpy    its double DQN with the same network, batches and learning rate, on as many rows; in an
          environment of its own, where `make bench-d3rlpy` has made one

All learn from the same 10,000 rows of CartPole's shape, in one process, one after the other and
then again; the best of each counts. Tracing is not counted for anyone, and shown apart.

Then of every agent that learns off-policy by gradient steps, at its default network: rlbake's fit against
the same agent of TF-Agents in such a graph loop. The peak is the process's, after each of them.
"""

from __future__ import annotations

from rlbake import Continuous, Discrete, Number  # before TensorFlow: it chooses Keras

# isort: split

import json
import resource
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import tensorflow as tf
from tf_agents.agents.dqn import dqn_agent
from tf_agents.replay_buffers import tf_uniform_replay_buffer
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import policy_step, time_step, trajectory
from tf_agents.utils import common

from rlbake.agents import AGENTS
from rlbake.dataset.transitions import Transitions
from rlbake.learners.learner import Learner
from rlbake.learners.loop import Rows
from rlbake.learners.networks import dense_network
from rlbake.training.config import TrainConfig, resolve
from rlbake.training.fit import fit

ROWS, FEATURES, ACTIONS, GAMMA = 10_000, 4, 2, 0.99
OBSERVATION = tuple(Number(f"f{i}") for i in range(FEATURES))
ACTION = Discrete(["left", "right"])
NUMBERS = Continuous([-1.0], [1.0], ["push"])
SHAPES = ((64, (100,)), (256, (256, 256)))  # batch size, hidden layers
PEER = Path(__file__).with_name("d3rlpy_peer.py")
PEER_PYTHON = PEER.parent.parent / ".venv-d3rlpy/bin/python"
PEER_SHAPE = (64, (64, 64))
PEER_BOUND = 8.0  # times d3rlpy's steps per CPU second
ENVIRONMENTS = 100  # in the replay buffer, filled side by side
ROUNDS = 3
BOUND = 0.9  # rlbake's steps per CPU second must be at least this share of the graph loop's


@dataclass(frozen=True)
class Side:
    """One way to train: `run` takes so many steps and returns how many it took."""

    name: str
    run: Callable[[int], int]


def transitions() -> Transitions:
    random = np.random.default_rng(0)
    instants = np.arange(ROWS).astype("datetime64[us]")
    ended = random.random(ROWS) < 0.05
    return Transitions(
        env_id=np.array([str(i) for i in range(ROWS)], object),
        timestamp=instants,
        next_timestamp=instants + 1,
        step_type=np.ones(ROWS, np.int32),
        end=np.where(ended, "terminated", "none").astype(object),
        observation={f.name: random.normal(size=ROWS) for f in OBSERVATION},
        action=random.integers(0, ACTIONS, ROWS).astype(np.int32),
        log_probability=np.full(ROWS, np.log(1 / ACTIONS), np.float32),
        reward=np.ones(ROWS),
        discount=np.where(ended, 0.0, GAMMA),
        next_observation={f.name: random.normal(size=ROWS) for f in OBSERVATION},
        next_action_mask=None,
    )


def action_of(rows: Transitions) -> Discrete | Continuous:
    return ACTION if rows.action.ndim == 1 else NUMBERS


def agent(config: TrainConfig) -> dqn_agent.DdqnAgent:
    """The same agent, network and learning rate as rlbake's, with TF-Agents' target updates and plain Adam."""
    made = dqn_agent.DdqnAgent(
        time_step.time_step_spec(tf.TensorSpec([FEATURES], tf.float32)),
        tensor_spec.BoundedTensorSpec([], tf.int32, 0, ACTIONS - 1),
        dense_network(config.agent.layers, FEATURES, ACTIONS),
        tf.keras.optimizers.Adam(config.agent.learning_rate),
        target_update_period=config.agent.target_update_period,
        gradient_clipping=config.agent.gradient_clipping,
        td_errors_loss_fn=common.element_wise_squared_loss,
        gamma=GAMMA,
        train_step_counter=tf.Variable(0, dtype=tf.int64),
    )
    made.initialize()
    return made


def graph_side(rows: Transitions, config: TrainConfig) -> Side:
    trained, size = agent(config), config.batch_size
    features, following = (
        tf.constant(np.stack(list(o.values()), axis=1), tf.float32) for o in (rows.observation, rows.next_observation)
    )
    columns = (features, tf.constant(rows.action), tf.constant(rows.discount / GAMMA, tf.float32), following)

    @tf.function
    def loop(steps: tf.Tensor) -> tf.Tensor:
        loss = tf.constant(0.0)
        for _ in tf.range(steps):
            drawn = tf.random.uniform([size], 0, ROWS, tf.int32)
            now, action, discount, then = (tf.gather(column, drawn) for column in columns)
            first, ones = tf.zeros([size], tf.int32), tf.ones([size])
            batch = trajectory.Transition(
                time_step.TimeStep(first, ones, ones, now),
                policy_step.PolicyStep(action),
                time_step.TimeStep(first + 1, ones, discount, then),
            )
            loss = trained.train(batch).loss
        return loss

    def run(steps: int) -> int:
        loop(tf.constant(steps)).numpy()
        return steps

    return Side("graph", run)


def buffer_side(rows: Transitions, config: TrainConfig) -> Side:
    trained = agent(config)
    buffer = tf_uniform_replay_buffer.TFUniformReplayBuffer(
        trained.collect_data_spec, batch_size=ENVIRONMENTS, max_length=ROWS // ENVIRONMENTS
    )
    features = np.stack(list(rows.observation.values()), axis=1).astype(np.float32)
    for start in range(0, ROWS, ENVIRONMENTS):
        part = slice(start, start + ENVIRONMENTS)
        mid = tf.ones([ENVIRONMENTS], tf.int32)
        buffer.add_batch(
            trajectory.Trajectory(
                step_type=mid,
                observation=tf.constant(features[part]),
                action=tf.constant(rows.action[part]),
                policy_info=(),
                next_step_type=mid,
                reward=tf.ones([ENVIRONMENTS]),
                discount=tf.constant(rows.discount[part] / GAMMA, tf.float32),
            )
        )
    batches = buffer.as_dataset(num_parallel_calls=3, sample_batch_size=config.batch_size, num_steps=2).prefetch(3)
    drawn, train = iter(batches), common.function(trained.train)

    def run(steps: int) -> int:
        steps //= 5  # it is that much slower; its rate does not depend on how many
        for _ in range(steps):
            experience, _ = next(drawn)
            train(experience)
        return steps

    return Side("buffer", run)


def rlbake_side(rows: Transitions, config: TrainConfig) -> Side:
    nothing = rows.take(np.arange(0))

    def run(steps: int) -> int:
        fit(rows, nothing, observation=OBSERVATION, action=action_of(rows), config=replace(config, steps=steps), seed=0)
        return steps

    return Side("rlbake", run)


def peer_rate(config: TrainConfig, steps: int) -> tuple[float, float] | None:
    """d3rlpy's steps per second of CPU and of the clock; None if it is not installed."""
    if not PEER_PYTHON.is_file():
        return None
    agent = config.agent
    settings = {
        "rows": ROWS, "features": FEATURES, "actions": ACTIONS, "gamma": GAMMA, "batch_size": config.batch_size,
        "learning_rate": agent.learning_rate, "target_update_period": agent.target_update_period,
        "layers": agent.layers, "threads": 1, "steps": steps,
    }  # fmt: skip
    said = subprocess.run(
        [PEER_PYTHON, PEER], input=json.dumps(settings), text=True, capture_output=True, check=True
    ).stdout
    rates = json.loads(said.splitlines()[-1])
    return rates["cpu"], rates["wall"]


def bare_side(rows: Transitions, name: str, config: TrainConfig) -> Side:
    """TF-Agents' agent in a graph loop of its own: nothing of rlbake is in it but how the agent is made."""
    learner = learner_of(rows, name, config)
    agent, experience = learner.loop.agent, learner.loop.experience
    columns = Rows(
        tf.constant(np.stack(list(rows.observation.values()), axis=1), tf.float32),
        tf.ones([ROWS, 0], tf.bool),
        tf.constant(rows.action),
        tf.constant(rows.reward, tf.float32),
        tf.constant(rows.discount, tf.float32),
        tf.constant(np.stack(list(rows.next_observation.values()), axis=1), tf.float32),
        tf.ones([ROWS, 0], tf.bool),
    )

    @tf.function
    def loop(steps: tf.Tensor) -> tf.Tensor:
        loss = tf.constant(0.0)
        for _ in tf.range(steps):
            drawn = tf.random.uniform([config.batch_size], 0, ROWS, tf.int32)
            loss = agent.train(experience(Rows(*(tf.gather(column, drawn) for column in columns)))).loss
        return loss

    def run(steps: int) -> int:
        loop(tf.constant(steps)).numpy()
        return steps

    return Side("graph", run)


def learner_of(rows: Transitions, name: str, config: TrainConfig) -> Learner:
    made = AGENTS[name].learner(config.agent, size=FEATURES, action=action_of(rows), masked=False)
    made.start(config.agent, 0)
    return made


def traced(side: Side) -> float:
    """Seconds of a first call, in which nearly nothing is trained."""
    began = time.perf_counter()
    side.run(5)
    return time.perf_counter() - began


def rate(side: Side, steps: int) -> tuple[float, float]:
    """Steps per second of this process's CPU, and of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    taken = side.run(steps)
    return taken / (time.process_time() - cpu), taken / (time.perf_counter() - wall)


def off_policy_agents() -> dict[str, Transitions]:
    """Those that learn by gradient steps, and rows with actions for them."""
    rows = transitions()
    numbers = replace(rows, action=np.random.default_rng(1).uniform(-1, 1, (ROWS, 1)).astype(np.float32))
    found = {}
    for name, module in AGENTS.items():
        if not module.FACTS.on_policy and "steps" not in module.FACTS.unread:
            found[name] = rows if isinstance(ACTION, module.FACTS.actions) else numbers
    return found


def double_dqn(rows: Transitions, batch_size: int, layers: tuple[int, ...], steps: int) -> dict[str, float]:
    """Prints how the sides compare, and returns their steps per CPU second."""
    config = resolve({"batch_size": batch_size, "agent": {"layers": layers}}, gamma=GAMMA)
    sides = [make(rows, config) for make in (graph_side, buffer_side, rlbake_side)]
    first = {side.name: traced(side) for side in sides}
    changed = resolve({**vars(config), "agent": {"layers": layers, "learning_rate": 2e-3}}, gamma=0.9)
    again = traced(rlbake_side(rows, changed))
    rates = best(sides, steps)
    shape = f"batch {batch_size:>3}, layers {layers}"
    for name, (cpu, wall) in rates.items():
        click.echo(
            f"{shape:<30} {name:<7} {cpu:9,.0f} steps/CPU-s {wall:9,.0f} steps/s  first call {first[name]:5.2f} s"
        )
    ratio = rates["rlbake"][0] / rates["graph"][0]
    click.echo(f"{shape:<30} ratio {ratio:.2f} (bound {BOUND}); second trial's first call {again:.2f} s (bound 1)")
    return {name: cpu for name, (cpu, _) in rates.items()}


def best(sides: list[Side], steps: int) -> dict[str, tuple[float, float]]:
    """The best rates of several rounds."""
    rates = {side.name: (0.0, 0.0) for side in sides}
    for _ in range(ROUNDS):
        for side in sides:
            rates[side.name] = max(rates[side.name], rate(side, steps))
    return rates


@click.command()
@click.option("--steps", default=10_000, help="Gradient steps per measurement of double DQN; a fifth for the others.")
def main(steps: int) -> None:
    rows = transitions()
    for batch_size, layers in SHAPES:
        double_dqn(rows, batch_size, layers, steps)
    batch_size, layers = PEER_SHAPE
    config = resolve({"batch_size": batch_size, "agent": {"layers": layers}}, gamma=GAMMA)
    peer = peer_rate(config, steps // 5)
    if peer:
        own = double_dqn(rows, batch_size, layers, steps)["rlbake"]
        click.echo(f"d3rlpy {peer[0]:,.0f} steps/CPU-s; ratio {own / peer[0]:.1f} (bound {PEER_BOUND:g})")
    else:
        click.echo("d3rlpy is not installed: make bench-d3rlpy")
    for name, seen in off_policy_agents().items():
        config = resolve({"agent": name}, gamma=GAMMA if AGENTS[name].FACTS.foresight else 0)
        sides = [bare_side(seen, name, config), rlbake_side(seen, config)]
        for side in sides:
            traced(side)
        again = traced(sides[1])
        rates = best(sides, steps // 5)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        click.echo(
            f"{name:<22} graph {rates['graph'][0]:8,.0f} rlbake {rates['rlbake'][0]:8,.0f} steps/CPU-s  "
            f"ratio {rates['rlbake'][0] / rates['graph'][0]:.2f} (bound {BOUND})  second trial's first call "
            f"{again:.2f} s  peak {peak:,.0f} MB"
        )


if __name__ == "__main__":
    main()
