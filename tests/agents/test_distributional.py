"""C51 and Rainbow find expected values whatever unit rewards have, and take TF-Agents' own steps."""

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.agents.categorical_dqn import categorical_dqn_agent
from tf_agents.trajectories import trajectory

from rlbake.errors import ConfigError
from rlbake.policies.export import export_policy
from rlbake.policies.saved import SavedPolicy
from rlbake.training.config import resolve
from rlbake.training.fit import fit
from rlbake.training.fitted import read_warm_start
from rlbake.training.replay import possible_returns
from tests.agents.conftest import ACTION, OBSERVATION
from tests.agents.test_loop import learner, random_rows
from tests.agents.test_training import PLACES, QUICK_AGENT, values

DISTRIBUTIONAL = ("categorical_dqn", "rainbow")


def trained(training, name, agent=None, seed=0, steps=1500, **kwargs):
    nothing = training.take(np.arange(0))
    nested = {"agent": QUICK_AGENT | {"name": name} | (agent or {}), "steps": steps, "batch_size": 32}
    configured = resolve(nested, gamma=0.9)
    return fit(training, nothing, observation=OBSERVATION, action=ACTION, config=configured, seed=seed, **kwargs)


def scaled(world, factor: float):
    """The same world, paid in another currency."""
    return type(world)(**(vars(world) | {"reward": world.reward * factor}))


@pytest.mark.parametrize("name", DISTRIBUTIONAL)
def test_values_of_a_known_world_in_any_unit(walk, name, tmp_path):
    known = np.array([[0.81, 0.9], [0.9, 1]])
    for factor in (1.0, -2e4, 1e-3):
        fitted = trained(scaled(walk(0.9), factor), name)
        if factor > 0:  # of losses the least is none, by staying
            np.testing.assert_allclose(values(fitted) / factor, known, atol=0.05)
        else:
            np.testing.assert_allclose(values(fitted)[1] / factor, [0, 1], atol=0.05)
        saved = SavedPolicy(export_policy(fitted, tmp_path / str(factor)), "v")
        np.testing.assert_allclose(saved.values(PLACES), values(fitted), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", DISTRIBUTIONAL)
def test_values_beyond_a_mask_are_not_bootstrapped_from(transitions, name):
    """Both actions lead from 0 to 1, where going ends it with 1, staying with 0; going is not allowed there."""
    rows = 400
    x, action = np.arange(rows) // 2 % 2, np.arange(rows) % 2
    reward, mask = (x == 1) & (action == 1), np.ones((rows, 2), bool)
    mask[x == 0] = [True, False]
    fitted = trained(transitions(x, action, reward, np.ones(rows), np.where(x == 0, 0.5, 0), mask), name)
    np.testing.assert_allclose(values(fitted), [[0, 0], [0, 1]], atol=0.05)


def test_the_loss_is_that_of_tf_agents():
    rows = random_rows(50, False)
    made = learner("categorical_dqn", False)
    made.expect((-4.0, 2.0))
    here = made._experience(rows, False)
    pair = tf.nest.map_structure(lambda now, then: tf.stack([now, then], axis=1), here[0], here[2])
    first = tf.zeros([50, 2], tf.int32)
    following = tf.stack([here.next_time_step.reward, tf.zeros(50)], axis=1)
    discount = tf.stack([here.next_time_step.discount, tf.ones(50)], axis=1)
    action = tf.stack([rows.action, rows.action], axis=1)
    whole = trajectory.Trajectory(first, pair.observation, action, (), first + 1, following, discount)
    known = categorical_dqn_agent.CategoricalDqnAgent._loss(made._agent, whole)
    assert made.loss(rows) == pytest.approx(float(known.loss), rel=1e-5)
    own = made._agent.loss(here)
    assert float(tf.reduce_mean(own.extra.td_loss)) == pytest.approx(float(known.loss), rel=1e-5)
    assert (own.extra.td_error.numpy() >= -1e-5).all()


def test_weights_count():
    rows = random_rows(50, False)
    made = learner("categorical_dqn", False)
    weights = np.arange(50, dtype=np.float32)
    found = made._agent._loss(made._experience(rows, False), weights=tf.constant(weights))
    assert float(found.loss) == pytest.approx((weights * found.extra.td_loss.numpy()).mean(), rel=1e-5)


def test_rainbow_chooses_by_the_network_and_values_by_the_target_network():
    rows = random_rows(200, False)
    made = learner("rainbow", False, target_update_period=1000, learning_rate=0.01)
    made.expect((-3.0, 3.0))
    made.run(rows, batch_size=32, first_step=0, steps=300, seed=0)
    agent = made._agent
    there = made._experience(rows, False).next_time_step
    online, target = (network(rows.next_features)[0] for network in (agent._q_network, agent._target_q_network))
    best = tf.argmax(tf.reduce_sum(tf.nn.softmax(online) * agent._support, axis=2), axis=1)
    lagging = tf.argmax(tf.reduce_sum(tf.nn.softmax(target) * agent._support, axis=2), axis=1)
    assert (best.numpy() != lagging.numpy()).any()
    expected = tf.gather(tf.nn.softmax(target), best, batch_dims=1)
    np.testing.assert_allclose(agent._next_q_distribution(there), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("reward", "discount", "least", "greatest"),
    [
        ([1.0, -2.0, 3.0], [0.0, 0.0, 0.0], -2, 3),  # one decision, one reward
        ([1.0, 1.0], [0.9, 0.0], 1, 10),
        ([0.0, 1.0], [0.99, 0.0], 0, 1),  # a reward that ends it is earned once
        ([1.0, 1.0], [1.0, 0.0], 1, 40),  # episodes end every second time
        ([1.0, 0.0], [1.0, 1.0], 0, 10_000),
    ],
)
def test_what_returns_can_be(reward, discount, least, greatest):
    assert possible_returns(np.array(reward), np.array(discount)) == pytest.approx((least, greatest))


@pytest.mark.parametrize("changed", [{"atoms": 21}, {"support": [-1, 3]}, {"name": "rainbow"}, {"priority": 0.3}])
def test_every_number_changes_the_values_and_repeats_bit_for_bit(walk, changed):
    before, after, again = (
        values(trained(walk(0.9), **({"name": "categorical_dqn", "steps": 100} | split(given))))
        for given in ({}, changed, changed)
    )
    assert (before != after).any()
    np.testing.assert_array_equal(after, again)


def split(changed):
    """The agent's name apart from its other hyperparameters."""
    agent = {name: value for name, value in changed.items() if name != "name"}
    return {"agent": agent} | ({"name": changed["name"]} if "name" in changed else {})


def test_returns_beyond_the_support_count_as_its_ends(walk):
    fitted = trained(walk(0.9), "categorical_dqn", {"support": [-0.5, 0.5]})
    np.testing.assert_allclose(values(fitted)[1, 1], 0.5, atol=0.01)


def test_a_support_is_a_least_and_a_greatest_return():
    with pytest.raises(ConfigError, match=r"agent\.support.*below the greatest"):
        resolve({"agent": {"name": "rainbow", "support": [1, 1]}}, gamma=0.9)


def test_a_warm_start_keeps_the_scale_its_weights_were_learned_with(walk, tmp_path):
    once = trained(walk(0.9), "categorical_dqn")
    once.save(tmp_path)
    richer = scaled(walk(0.9), 1.2)
    further = trained(richer, "categorical_dqn", {"learning_rate": 1e-12}, warm_start=read_warm_start(tmp_path))
    np.testing.assert_allclose(values(further), values(once), atol=1e-3)
