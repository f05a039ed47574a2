"""Chance and rules: exact distributions, masks obeyed, propensities right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbake.errors import DataError, SpecError
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.specs import Continuous, Discrete

ABC = Discrete(["a", "b", "c"])


def test_random_policy_is_the_inverse_of_the_uniform_distribution():
    noise = np.array([0.0, 0.33, 0.34, 0.66, 0.67, np.nextafter(1, 0)])
    decided = RandomPolicy(ABC).decide({}, noise)
    assert decided.action.tolist() == [0, 0, 1, 1, 2, 2]
    assert decided.action.dtype == np.int32
    assert decided.log_probability.dtype == np.float32
    np.testing.assert_allclose(np.exp(decided.log_probability), 1 / 3, rtol=1e-6)


def test_random_policy_is_uniform_over_the_allowed():
    mask = np.array([[True, False, True]] * 2 + [[False, True, False]])
    decided = RandomPolicy(ABC).decide({}, np.array([0.4, 0.6, 0.9]), mask)
    assert decided.action.tolist() == [0, 2, 1]
    np.testing.assert_allclose(np.exp(decided.log_probability), [0.5, 0.5, 1.0], rtol=1e-6)


@given(st.data())
def test_random_policy_gives_every_allowed_action_its_share_of_the_noise(data):
    actions = data.draw(st.integers(2, 9))
    allowed = data.draw(st.lists(st.booleans(), min_size=actions, max_size=actions).filter(any))
    grid = (np.arange(840) + 0.5) / 840  # a multiple of every possible number of allowed actions up to 8
    policy = RandomPolicy(Discrete([str(a) for a in range(actions)]))
    decided = policy.decide({}, grid, np.tile(allowed, (len(grid), 1)))
    counts = np.bincount(decided.action, minlength=actions)
    assert (counts[~np.array(allowed)] == 0).all()
    np.testing.assert_allclose(counts[np.array(allowed)] / 840, 1 / sum(allowed), atol=1 / 840)
    np.testing.assert_allclose(np.exp(decided.log_probability), 1 / sum(allowed), rtol=1e-6)


def test_no_noise_reaches_past_the_last_action():
    many = Discrete([str(a) for a in range(49)])  # 49 * (1 - 2^-53) rounds to 49
    assert RandomPolicy(many).decide({}, np.array([np.nextafter(1, 0)])).action.tolist() == [48]


def test_a_mask_that_allows_nothing_is_refused():
    with pytest.raises(DataError, match="1 of 2 rows allow no action, for example row 1"):
        RandomPolicy(ABC).decide({}, np.zeros(2), np.array([[True] * 3, [False] * 3]))
    with pytest.raises(DataError, match=r"shape \[2, 2\], expected \[2, 3\]"):
        RandomPolicy(ABC).decide({}, np.zeros(2), np.ones((2, 2), bool))


def test_rules_decide_with_certainty():
    policy = RulesPolicy(lambda seen: (seen["x"] > 0).astype(int) * 2, ABC)
    decided = policy.decide({"x": np.array([-1.0, 1.0])}, np.array([0.1, 0.9]))
    assert decided.action.tolist() == [0, 2]
    assert decided.action.dtype == np.int32
    assert decided.log_probability.tolist() == [0.0, 0.0]


def test_rules_that_choose_what_is_not_there_are_refused():
    seen = {"x": np.zeros(3)}
    with pytest.raises(SpecError, match=r"unknown actions in 1 of 3 rows, for example row 1: 3"):
        RulesPolicy(lambda _: np.array([0, 3, 2]), ABC).decide(seen, np.zeros(3))
    mask = np.array([[True, False, True]] * 3)
    with pytest.raises(SpecError, match=r"masked actions in 2 of 3 rows"):
        RulesPolicy(lambda _: np.array([1, 1, 2]), ABC).decide(seen, np.zeros(3), mask)
    with pytest.raises(SpecError, match="one integer action index per observation"):
        RulesPolicy(lambda _: np.array([0.0, 1.0, 2.0]), ABC).decide(seen, np.zeros(3))
    with pytest.raises(SpecError, match="one integer action index per observation"):
        RulesPolicy(lambda _: np.array([0]), ABC).decide(seen, np.zeros(3))


def test_only_discrete_actions():
    speed = Continuous([0], [1], ["speed"])
    with pytest.raises(SpecError, match="needs a Discrete action, not Continuous"):
        RandomPolicy(speed)
    with pytest.raises(SpecError, match="needs a Discrete action, not Continuous"):
        RulesPolicy(lambda _: np.zeros(1, int), speed)
