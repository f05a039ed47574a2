"""Returns in a world small enough to count by hand."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbake.errors import ConfigError, SpecError
from rlbake.evaluation.simulated import simulate
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.specs import Discrete
from rlbake.world import Step

ACTIONS = Discrete(["lose", "win"])
ALWAYS_WIN = RulesPolicy(lambda seen: np.ones(len(seen["left"]), int), ACTIONS)


class Coins:
    """Environment i lives 1 + i mod `lifetimes` decisions; "win" earns a coin; the dead go on claiming coins."""

    best_return = 2.0
    random_return = 1.0
    horizon = 3

    def __init__(self, lifetimes=3):
        self.lifetimes = lifetimes

    def reset(self, environments, seed):
        self.left = 1 + np.arange(environments) % self.lifetimes
        self.batches = []
        return {"left": self.left.astype(np.float32)}

    def step(self, action):
        self.batches.append(len(action))
        self.left = self.left - 1
        ended = self.left <= 0
        metrics = {"coin": action.astype(np.float32), "ignored": np.full(len(action), 99, np.float32)}
        return Step({"left": self.left.astype(np.float32)}, metrics, ended, np.zeros_like(ended))


def test_returns_stop_where_episodes_end():
    played = simulate(Coins(), ALWAYS_WIN, reward={"coin": 2.0}, episodes=6, seed=0)
    assert played.returns.tolist() == [2, 4, 6, 2, 4, 6]
    assert played.mean == 4
    assert (played.best, played.random) == (2, 1)
    assert played.score == 3  # (4 - 1) / (2 - 1)


def test_the_policy_sees_batches_of_one_shape():
    world = Coins()
    simulate(world, ALWAYS_WIN, reward={"coin": 1.0}, episodes=5, seed=0)
    assert world.batches == [5, 5, 5]


def test_interval_is_students_t():
    played = simulate(Coins(), ALWAYS_WIN, reward={"coin": 1.0}, episodes=3, seed=0)
    assert played.returns.tolist() == [1, 2, 3]
    half = 4.302653 / np.sqrt(3)  # t(0.975, 2 degrees of freedom) times 1 / sqrt(3)
    assert (played.low, played.high) == pytest.approx((2 - half, 2 + half))


def test_equal_returns_need_no_width_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        played = simulate(Coins(lifetimes=1), ALWAYS_WIN, reward={"coin": 1.0}, episodes=100, seed=0)
    assert (played.low, played.mean, played.high) == (1, 1, 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_same_seed_same_returns(seed):
    first, second = (
        simulate(Coins(), RandomPolicy(ACTIONS), reward={"coin": 1.0}, episodes=50, seed=seed) for _ in range(2)
    )
    assert first.returns.tolist() == second.returns.tolist()
    assert first.low <= first.mean <= first.high


def test_the_interval_covers_the_expected_return_about_as_often_as_it_says():
    runs = [simulate(Coins(), RandomPolicy(ACTIONS), reward={"coin": 1.0}, episodes=60, seed=s) for s in range(400)]
    covered = np.mean([r.low <= 1.0 <= r.high for r in runs])  # E = (1 + 2 + 3) / 3 / 2
    assert covered > 0.92  # 0.95 less 2.7 standard errors; strata make the true coverage a little higher


def test_too_few_episodes():
    with pytest.raises(ConfigError, match="episodes is 1"):
        simulate(Coins(), ALWAYS_WIN, reward={"coin": 1.0}, episodes=1, seed=0)


def test_a_world_that_outlives_its_horizon():
    world = Coins()
    world.horizon = 2
    with pytest.raises(SpecError, match="Coins: 2 of 6 episodes outlive the horizon of 2"):
        simulate(world, ALWAYS_WIN, reward={"coin": 1.0}, episodes=6, seed=0)
