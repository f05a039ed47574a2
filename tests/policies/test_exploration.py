"""Exploration as four numbers: what an exported policy makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from rlbake.errors import ConfigError, DataError
from rlbake.policies.export import export_policy
from rlbake.policies.graph import DiscreteGraph
from rlbake.policies.saved import SavedPolicy
from tests.policies.test_export import BEST, ROWS, VALUES, WEIGHTS
from tests.vector_agents import BUNDLE, BUNDLES, bundle_agent, price_agent
from tests.vector_agents import ROWS as VISITS

MASK = np.array([[True, True, True], [True, True, False], [False, True, True], [False, True, False]])
BEST_ALLOWED = [0, 1, 2, 1]
EVERY = np.arange(4)


@pytest.fixture(scope="module")
def exported(linear_agent, tmp_path_factory):
    """An agent that explores by itself in 10 % of its decisions."""
    return export_policy(linear_agent(WEIGHTS), tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    return export_policy(price_agent(), tmp_path_factory.mktemp("prices"))


def softmax(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    odds = np.where(mask, np.exp(values), 0)
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("explore", [True, False])
def test_epsilon_takes_the_place_of_the_agents_own_exploration(exported, explore):
    policy = SavedPolicy(exported, "model/1", explore=explore, epsilon=0.3)
    expected = 0.3 * MASK / MASK.sum(axis=1, keepdims=True)
    expected[EVERY, BEST_ALLOWED] += 0.7
    np.testing.assert_allclose(policy.probabilities(ROWS, MASK), expected, rtol=1e-6)


def test_epsilon_beside_a_temperature(exported):
    policy = SavedPolicy(exported, "model/1", temperature=2.0, epsilon=0.3)
    expected = 0.7 * softmax(np.array(VALUES) / 2, MASK) + 0.3 * MASK / MASK.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(policy.probabilities(ROWS, MASK), expected, rtol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_epsilon_at_its_ends(exported, epsilon):
    found = SavedPolicy(exported, "model/1", epsilon=epsilon).probabilities(ROWS)
    expected = np.full((4, 3), 1 / 3) if epsilon else np.eye(3)[BEST]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("how", "without"),
    [
        ({"explore": True}, {"explore": True}),
        ({"explore": False}, {"explore": False}),
        ({"explore": True, "temperature": 0.7}, {"explore": True, "temperature": 0.7}),
        ({"temperature": 0.7, "epsilon": 0.2}, {"temperature": 0.7, "epsilon": 0.2}),
    ],
)
def test_the_floor_is_the_least_probability_of_what_is_allowed(exported, how, without):
    floored = SavedPolicy(exported, "model/1", **how, floor=0.05).probabilities(ROWS, MASK)
    plain = SavedPolicy(exported, "model/1", **without).probabilities(ROWS, MASK)
    count = MASK.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(floored, np.where(MASK, (1 - 0.05 * count) * plain + 0.05, 0), rtol=1e-6)
    assert (floored[MASK] >= 0.05 - 1e-9).all()
    assert (floored[~MASK] == 0).all()


def test_what_is_drawn_is_as_frequent_as_the_formula_says_and_logged_exactly(exported):
    rows = 40_000
    many = {name: np.repeat(column, rows) for name, column in ROWS.items()}
    mask = np.repeat(MASK, rows, axis=0)
    policy = SavedPolicy(exported, "model/1", temperature=1.5, epsilon=0.2, floor=0.03)
    decided = policy.decide(many, np.random.default_rng(0).random(4 * rows), mask)
    count = MASK.sum(axis=1, keepdims=True)
    mixed = 0.8 * softmax(np.array(VALUES) / 1.5, MASK) + 0.2 * MASK / count
    expected = np.where(MASK, (1 - 0.03 * count) * mixed + 0.03, 0)
    action = decided.action.reshape(4, rows)
    for row in range(4):
        seen = np.bincount(action[row], minlength=3) / rows
        assert (np.abs(seen - expected[row]) < 4 * np.sqrt(expected[row] * (1 - expected[row]) / rows) + 1e-9).all()
    exact = np.log(expected[EVERY[:, None], action]).ravel()
    np.testing.assert_allclose(decided.log_probability, exact, rtol=1e-6, atol=1e-6)


def test_a_floor_of_all_there_is_leaves_nothing_to_prefer(exported):
    policy = SavedPolicy(exported, "model/1", explore=True, floor=1 / 3)
    np.testing.assert_allclose(policy.probabilities(ROWS), np.full((4, 3), 1 / 3), rtol=1e-6)


def test_a_floor_is_too_much_where_too_many_actions_are_allowed(exported):
    policy = SavedPolicy(exported, "model/1", explore=True, floor=0.4)
    assert policy.probabilities({name: column[1:] for name, column in ROWS.items()}, MASK[1:]).max() <= 1
    with pytest.raises(DataError, match="floor: negative, or more than 1 / the number of actions that a row allows"):
        policy.decide(ROWS, np.zeros(4), MASK)


def test_several_choices_are_explored_as_one(tmp_path):
    policy = SavedPolicy(export_policy(bundle_agent(), tmp_path), "shop/1", epsilon=0.3, floor=0.01)
    expected = np.full((4, 6), 0.94 * 0.3 / 6 + 0.01)
    expected[range(4), BUNDLE.flat(np.array(BUNDLES))] += 0.94 * 0.7
    np.testing.assert_allclose(policy.probabilities(VISITS), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"epsilon": 1.5}, r"epsilon 1\.5 must be in \[0, 1\], or -1"),
        ({"epsilon": float("nan")}, "epsilon nan"),
        ({"floor": -0.1}, r"floor -0\.1 must be in \[0, 1\]"),
        ({"temperature": float("inf")}, "temperature inf"),
    ],
)
def test_what_no_policy_can_do_is_refused(exported, wrong, says):
    with pytest.raises(ConfigError, match=says):
        SavedPolicy(exported, "model/1", **wrong)


@pytest.mark.parametrize("wrong", [{"epsilon": 0.1}, {"epsilon": 0.0}, {"floor": 0.1}])
def test_numbers_have_neither_epsilon_nor_floor(prices, wrong):
    with pytest.raises(ConfigError, match=r"numbers \(price, share\) are not chosen uniformly"):
        SavedPolicy(prices, "shop/1", **wrong)


def test_a_row_without_finite_values_leaves_its_neighbours_alone(linear_agent):
    agent = linear_agent(np.full((4, 3), 3e38, np.float32))
    decide = DiscreteGraph(agent.preprocessing, agent.head, actions=3).decide
    said = decide(
        level=tf.constant([10.0, 1e30, 10.0], tf.float64),
        payer=tf.constant([False] * 3),
        country=tf.constant(["FR"] * 3),
        action_mask=tf.ones([3, 3], tf.bool),
        noise=tf.zeros(3, tf.float64),
        explore=tf.constant(True),
        temperature=tf.constant(0.0),
        epsilon=tf.constant(-1.0, tf.float64),
        floor=tf.constant(0.0, tf.float64),
    )
    assert said["action_index"].numpy().tolist() == [0, -1, 0]
    assert np.isnan(said["log_probability"].numpy()).tolist() == [False, True, False]
    assert np.isnan(said["probabilities"].numpy()).all(axis=1).tolist() == [False, True, False]


def test_whoever_asks_for_such_a_row_is_told_which(linear_agent, tmp_path):
    policy = SavedPolicy(export_policy(linear_agent(np.full((4, 3), 3e38, np.float32)), tmp_path), "model/1")
    with pytest.raises(DataError, match="no finite values for 1 of 4 rows, for example row 2"):
        policy.decide({**ROWS, "level": np.array([10.0, 10.0, 1e30, 10.0])}, np.zeros(4))
