"""The compiled loop takes the very steps that TF-Agents' `train` would."""

import numpy as np
import pytest
import tensorflow as tf

from rlbake.agents import AGENTS
from rlbake.learners.loop import CHUNK, Rows
from rlbake.specs import Discrete

ACTION = Discrete(["a", "b", "c"])
Q_LEARNERS = ("dqn", "double_dqn")


def random_rows(rows: int, masked: bool) -> Rows:
    random = np.random.default_rng(1)
    mask = random.random((rows, 3)) < 0.7
    mask[:, 0] |= ~mask.any(axis=1)
    return Rows(
        tf.constant(random.normal(size=(rows, 2)), tf.float32),
        tf.ones([rows, 3 if masked else 0], tf.bool),
        tf.constant(random.integers(0, 3, rows), tf.int32),
        tf.constant(random.normal(size=rows), tf.float32),
        tf.constant(random.choice([0.0, 0.9], rows), tf.float32),
        tf.constant(random.normal(size=(rows, 2)), tf.float32),
        tf.constant(mask if masked else mask[:, :0]),
    )


def learner(name: str, masked: bool, **config):
    configured = AGENTS[name].Config(**({"layers": (8,)} | config))
    made = AGENTS[name].learner(configured, size=2, action=ACTION, masked=masked)
    made.start(configured, 7)
    return made


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", Q_LEARNERS)
def test_one_step_follows_the_equations(name, masked):
    """The loss of the first step is the squared error to the agent's own target, worked out in numpy."""
    rows = random_rows(50, masked)
    made = learner(name, masked)
    values = made.network(rows.features)[0].numpy()
    bootstrap = made.network(rows.next_features)[0].numpy()  # at the start the target network is the same
    allowed = np.where(rows.next_mask.numpy(), bootstrap, -np.inf) if masked else bootstrap
    target = rows.reward.numpy() + rows.discount.numpy() * allowed.max(axis=1)
    squared = (target - values[np.arange(50), rows.action.numpy()]) ** 2
    np.testing.assert_allclose(made.loss(rows), squared.mean(), rtol=1e-5)
    drawn = tf.random.stateless_uniform([CHUNK, 64], [3, 0], 0, 50, tf.int32)[0].numpy()
    loss = made.run(rows, batch_size=64, first_step=0, steps=1, seed=3)
    assert loss == pytest.approx(squared[drawn].mean(), rel=1e-5)


def test_dqn_and_double_dqn_differ_once_the_target_network_lags():
    rows = random_rows(200, False)
    weights = {}
    for name in Q_LEARNERS:
        made = learner(name, False, target_update_period=1000, learning_rate=0.01)
        made.run(rows, batch_size=32, first_step=0, steps=300, seed=0)
        weights[name] = made.network.get_weights()[0]
    assert np.abs(weights["dqn"] - weights["double_dqn"]).max() > 1e-3


@pytest.mark.parametrize("name", Q_LEARNERS)
def test_the_target_network_is_copied_every_period(name):
    rows = random_rows(50, False)
    made = learner(name, False, target_update_period=10)
    target = made._agent._target_q_network

    def distance() -> float:
        pairs = zip(target.variables, made.network.variables, strict=True)
        return max(float(tf.reduce_max(tf.abs(old - new))) for old, new in pairs)

    for first, steps, copied in ((0, 9, False), (9, 1, True), (10, 9, False), (19, 1, True)):
        made.run(rows, batch_size=8, first_step=first, steps=steps, seed=0)
        assert (distance() == 0) == copied


def test_steps_beyond_those_asked_for_are_not_taken():
    rows = random_rows(50, False)
    made = learner("dqn", False)
    made.run(rows, batch_size=8, first_step=0, steps=3, seed=0)
    assert int(made._agent.train_step_counter) == 3


def test_batches_depend_on_the_seed_and_the_step():
    rows = random_rows(50, False)
    losses = []
    for seed, first in ((0, 0), (1, 0), (0, 500), (0, 0)):
        made = learner("dqn", False)
        losses.append(made.run(rows, batch_size=8, first_step=first, steps=1, seed=seed))
    assert len(set(losses[:3])) == 3
    assert losses[3] == losses[0]


def test_large_and_small_networks_take_the_same_steps(monkeypatch):
    """Whether the loop is compiled changes rounding, not what is learned."""
    rows = random_rows(50, True)
    made = learner("double_dqn", True, weight_decay=0.1)
    compiled = made.run(rows, batch_size=8, first_step=0, steps=40, seed=0), made.network.get_weights()
    monkeypatch.setattr("rlbake.learners.loop._COMPILED_BELOW", 0)
    made = learner("double_dqn", True, weight_decay=0.1)
    plain = made.run(rows, batch_size=8, first_step=0, steps=40, seed=0), made.network.get_weights()
    assert plain[0] == pytest.approx(compiled[0], rel=1e-4)
    for one, other in zip(plain[1], compiled[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
