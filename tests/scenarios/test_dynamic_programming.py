"""Exact values of small processes: by hand, and by enumerating every policy there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbake.scenarios.dynamic_programming import DecisionProcess, best_policy, expected_return, random_return

# Waiting (0) earns 1 and leads to the second state, where leaping (1) earns 10. Leaping at once earns 2 and ends it.
PATIENCE = DecisionProcess(
    start=np.array([1.0, 0.0]),
    transition=np.array([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]),
    reward=np.array([[1.0, 2.0], [0.0, 10.0]]),
    steps=2,
)


def test_looking_ahead_by_hand():
    assert best_policy(PATIENCE).argmax(axis=-1).tolist() == [[0, 1], [1, 1]]
    assert expected_return(PATIENCE, best_policy(PATIENCE)) == 11
    assert expected_return(PATIENCE, best_policy(PATIENCE, gamma=0.0)) == 2
    assert random_return(PATIENCE) == 0.5 * 2 + 0.5 * (1 + 5)


@pytest.mark.parametrize(("gamma", "waits"), [(0.11, True), (0.09, False)])
def test_gamma_weighs_the_future(gamma, waits):
    assert best_policy(PATIENCE, gamma)[0, 0].argmax() == (0 if waits else 1)


def test_an_episode_has_no_more_steps_than_it_has():
    once = DecisionProcess(PATIENCE.start, PATIENCE.transition, PATIENCE.reward, steps=1)
    assert expected_return(once, best_policy(once)) == 2


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_no_policy_earns_more_than_the_best(seed):
    """All 64 of a random process with two states, two actions and three steps."""
    random = np.random.default_rng(seed)
    transition = random.dirichlet([1.0, 1.0, 0.5], size=(2, 2))[..., :2]  # the third share ends the episode
    process = DecisionProcess(random.dirichlet([1.0, 1.0]), transition, random.normal(size=(2, 2)), steps=3)
    policies = [np.eye(2)[np.reshape(choices, (3, 2))] for choices in itertools.product((0, 1), repeat=6)]
    returns = [expected_return(process, policy) for policy in policies]
    assert expected_return(process, best_policy(process)) == pytest.approx(max(returns))
    # Chance is each of them as often as any other.
    assert random_return(process) == pytest.approx(np.mean(returns))


def test_an_expected_return_is_what_is_earned_on_average():
    random = np.random.default_rng(0)
    transition = random.dirichlet([1.0, 1.0, 0.5], size=(2, 2))[..., :2]
    process = DecisionProcess(np.array([0.3, 0.7]), transition, random.normal(size=(2, 2)), steps=4)
    policy = random.dirichlet([1.0, 1.0], size=(4, 2))
    episodes = 200_000
    state, alive, total = (random.random(episodes) < 0.7).astype(int), np.ones(episodes, bool), np.zeros(episodes)
    for t in range(process.steps):
        action = (random.random(episodes) < policy[t, state, 1]).astype(int)
        total += alive * process.reward[state, action]
        reached = transition[state, action].cumsum(axis=1)
        drawn = random.random(episodes)
        alive &= drawn < reached[:, 1]
        state = (drawn >= reached[:, 0]).astype(int)
    assert expected_return(process, policy) == pytest.approx(total.mean(), abs=4 * total.std() / np.sqrt(episodes))
