"""What keeps Q-learning steady on logged data: soft targets, conservatism, and staying with what the logs do."""

import numpy as np
import pytest
import tensorflow as tf

from rlbake.policies.export import export_policy
from rlbake.policies.saved import SavedPolicy
from rlbake.training.fit import fit
from tests.agents.conftest import ACTION, OBSERVATION
from tests.agents.test_loop import learner, random_rows
from tests.agents.test_training import PLACES, config, values

Q_LEARNERS = ("dqn", "double_dqn")


def trained(training, agent=None, seed=0, **changed):
    nothing = training.take(np.arange(0))
    configured = config(agent, **changed)
    return fit(training, nothing, observation=OBSERVATION, action=ACTION, config=configured, seed=seed)


@pytest.mark.parametrize("tau", [0.25, 1.0])
def test_the_target_network_moves_by_tau_every_period(tau):
    made = learner("double_dqn", False, target_update_period=10, target_update_tau=tau)
    target = made._agent._target_q_network
    before = [weight.numpy() for weight in target.variables]
    made.run(random_rows(50, False), batch_size=8, first_step=0, steps=10, seed=0)
    for old, new, here in zip(before, target.variables, made.network.variables, strict=True):
        np.testing.assert_allclose(new, (1 - tau) * old + tau * here, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", Q_LEARNERS)
def test_conservatism_adds_its_penalty_to_the_loss_of_training_alone(name, masked):
    rows = random_rows(50, masked)
    if masked:  # of what was seen, as of what followed; what was done is allowed
        done = tf.one_hot(rows.action, 3, on_value=True, off_value=False)
        rows = rows._replace(mask=rows.next_mask | done)
    frozen = {"learning_rate": 1e-12, "weight_decay": 0.0}
    made = learner(name, masked, conservatism=2.0, **frozen)
    q = made.network(rows.features)[0].numpy().astype(np.float64)
    allowed = np.where(rows.mask.numpy(), q, -np.inf) if masked else q
    penalty = np.log(np.exp(allowed).sum(axis=1)) - q[np.arange(50), rows.action.numpy()]
    drawn = tf.random.stateless_uniform([500, 8], [3, 0], 0, 50, tf.int32)[0].numpy()
    plain = learner(name, masked, **frozen).run(rows, batch_size=8, first_step=0, steps=1, seed=3)
    loss = learner(name, masked, conservatism=2.0, **frozen)
    assert loss.run(rows, batch_size=8, first_step=0, steps=1, seed=3) == pytest.approx(
        plain + 2 * penalty[drawn].mean(), rel=1e-4
    )
    assert loss.loss(rows) == pytest.approx(learner(name, masked, **frozen).loss(rows), rel=1e-5)


def test_conservatism_lowers_what_the_logs_do_not_hold(transitions):
    """Only staying is logged, and earns 1. What going would earn, nobody knows."""
    rows = 400
    world = transitions(np.arange(rows) % 2, np.zeros(rows), np.ones(rows), np.zeros(rows), np.zeros(rows))
    free, conservative = (values(trained(world, {"conservatism": c}, steps=1000)) for c in (0.0, 1.0))
    assert (conservative[:, 0] > conservative[:, 1] + 1).all()
    assert (conservative[:, 1] < free[:, 1]).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"target_update_tau": 0.5},
        {"conservatism": 0.1},
        {"conservatism": 0.2},
        {"constraint": 0.9},
    ],
)
def test_every_number_changes_the_values_and_repeats_bit_for_bit(daring, changed):
    before, after, again = (values(trained(daring, given, steps=200)) for given in ({}, changed, changed))
    assert (before != after).any()
    np.testing.assert_array_equal(after, again)


@pytest.fixture(scope="module")
def daring(transitions):
    """Two places, 0 and 1. Staying at 0 leads to 1. At 1 the logs go once in twenty times, for a reward of 10."""
    rows = 2000
    x = np.arange(rows) // 2 % 2
    action = np.where(x == 0, 0, np.arange(rows) % 40 == 3)
    return transitions(x, action, 10.0 * action * x, np.ones(rows), np.where(x == 0, 0.5, 0.0))


def constrained(world, constraint: float):
    return trained(world, {"constraint": constraint, "epsilon": 0.5}, steps=1500)


def test_what_the_logs_hardly_do_is_neither_chosen_nor_bootstrapped_from(daring, tmp_path):
    for constraint, next_value, going in ((0.0, 10, 0.75), (0.02, 10, 0.75), (0.3, 0, 0.0)):
        fitted = constrained(daring, constraint)
        assert values(fitted)[0, 0] == pytest.approx(next_value / 2, abs=0.5)
        assert values(fitted)[1, 1] == pytest.approx(10, abs=0.5)  # known nonetheless
        policy = SavedPolicy(export_policy(fitted, tmp_path / str(constraint)), "v", explore=True)
        assert policy.probabilities(PLACES)[1, 1] == pytest.approx(going)
        decided = policy.decide(PLACES, np.array([0.3, 0.99]))
        assert np.exp(decided.log_probability) == pytest.approx(
            policy.probabilities(PLACES)[[0, 1], decided.action], rel=1e-5
        )


def test_a_constraint_leaves_the_favourite_of_what_a_mask_allows(daring, tmp_path):
    policy = SavedPolicy(export_policy(constrained(daring, 0.3), tmp_path), "v")
    only_go = np.array([[True, True], [False, True]])
    assert policy.decide(PLACES, np.zeros(2), only_go).action[1] == 1
