"""Chance and rules: exact distributions, masks obeyed, propensities right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlbake.errors import DataError, SpecError
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.specs import Continuous, Discrete, MultiDiscrete

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


# --- several choices at once, and real numbers ---------------------------------------------

SHOP = MultiDiscrete({"item": ["sword", "bow"], "discount": ["0%", "10%", "25%"]})
PRICE = Continuous([1.0, -0.5], [9.99, 0.5], ["price", "bonus"])
NOISE = np.random.default_rng(0).random(60_000)


def test_random_choices_are_every_combination_alike():
    decided = RandomPolicy(SHOP).decide({}, NOISE)
    assert decided.action.shape == (len(NOISE), 2)
    assert decided.action.dtype == np.int32
    assert stats.chisquare(np.bincount(SHOP.flat(decided.action), minlength=6)).pvalue > 1e-4
    assert decided.log_probability.dtype == np.float32
    np.testing.assert_allclose(np.exp(decided.log_probability), 1 / 6, rtol=1e-6)


def test_random_choices_need_no_product_space():
    many = MultiDiscrete({f"s{i}": map(str, range(49)) for i in range(5)})
    decided = RandomPolicy(many).decide({}, NOISE)
    assert decided.action.min(axis=0).tolist() == [0] * 5
    assert decided.action.max(axis=0).tolist() == [48] * 5
    np.testing.assert_allclose(decided.log_probability, -5 * np.log(49), rtol=1e-6)


def test_random_numbers_are_uniform_within_their_bounds():
    decided = RandomPolicy(PRICE).decide({}, NOISE)
    assert decided.action.shape == (len(NOISE), 2)
    assert decided.action.dtype == np.float32
    for values, low, high in zip(decided.action.T, PRICE.low, PRICE.high, strict=True):
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-4
    assert abs(stats.spearmanr(*decided.action.T).statistic) < 0.02
    assert decided.log_probability.dtype == np.float32
    np.testing.assert_allclose(np.exp(decided.log_probability), 1 / 8.99, rtol=1e-6)  # per unit of price x bonus


def test_the_density_of_numbers_in_a_narrow_range_exceeds_one():
    decided = RandomPolicy(Continuous([0.0], [0.01], ["share"])).decide({}, NOISE[:3])
    np.testing.assert_allclose(np.exp(decided.log_probability), 100, rtol=1e-6)


@pytest.mark.parametrize("action", [SHOP, PRICE], ids=["choices", "numbers"])
def test_a_random_vector_is_a_function_of_its_own_noise(action):
    together, alone = RandomPolicy(action).decide({}, NOISE), RandomPolicy(action).decide({}, NOISE[7:8])
    assert (together.action[7] == alone.action[0]).all()


def test_rules_of_several_sets_decide_with_certainty():
    policy = RulesPolicy(lambda seen: np.stack([seen["x"] > 0, 2 * (seen["x"] > 0)], axis=1).astype(np.int64), SHOP)
    decided = policy.decide({"x": np.array([-1.0, 1.0])}, np.array([0.1, 0.9]))
    assert decided.action.tolist() == [[0, 0], [1, 2]]
    assert decided.action.dtype == np.int32
    assert decided.log_probability.tolist() == [0.0, 0.0]


def test_rules_of_real_numbers_have_no_density():
    policy = RulesPolicy(lambda seen: np.stack([seen["x"], seen["x"] * 0], axis=1), PRICE)
    decided = policy.decide({"x": np.array([1.0, 9.99])}, np.array([0.1, 0.9]))
    assert decided.action.tolist() == np.array([[1.0, 0.0], [9.99, 0.0]], np.float32).tolist()
    assert decided.action.dtype == decided.log_probability.dtype == np.float32
    assert np.isnan(decided.log_probability).all()


@pytest.mark.parametrize(
    ("action", "chosen", "says"),
    [
        (
            SHOP,
            [[0, 0], [2, 0], [0, -1]],
            r"unknown actions in 2 of 3 rows, for example row 1: \[2, 0\]; row 2: \[0, -1\]",
        ),
        (SHOP, [[0, 3], [0, 0], [0, 0]], r"Return indices counted from 0: item to 1, discount to 2"),
        (SHOP, [0, 1, 1], r"returned int64 \[3\] for 3 observations. Return .* integer indices each: item, discount"),
        (SHOP, [[0, 1, 2]] * 3, r"int64 \[3, 3\]"),
        (SHOP, [[0.0, 1.0]] * 3, r"float64 \[3, 2\]"),
        (SHOP, [[True, False]] * 3, r"bool \[3, 2\]"),
        (
            PRICE,
            [[1, 0], [0.99, 0], [2, 0.6]],
            r"out-of-bounds actions in 2 of 3 rows, for example row 1: \[0.99, 0.0\]",
        ),
        (PRICE, [[1, 0], [np.nan, 0], [2, 0]], r"1 of 3 rows.*row 1: \[nan, 0.0\]"),
        (PRICE, [[1, 0], [np.inf, 0], [2, 0]], r"within their bounds: price in \[1, 9.99\], bonus in \[-0.5, 0.5\]"),
        (PRICE, [[1.0]] * 3, r"returned float64 \[3, 1\] .* real numbers each: price, bonus"),
        (PRICE, [1.0, 2.0, 3.0], r"float64 \[3\]"),
        (PRICE, [["1", "2"]] * 3, r"Return one row of real numbers each: price, bonus"),
        (PRICE, [[1j, 2.0]] * 3, r"complex128 \[3, 2\]"),
    ],
)
def test_rules_of_vectors_that_cannot_be_followed_are_refused(action, chosen, says):
    with pytest.raises(SpecError, match=says):
        RulesPolicy(lambda _: np.array(chosen), action).decide({}, np.zeros(3))


@pytest.mark.parametrize("action", [SHOP, PRICE], ids=["choices", "numbers"])
def test_only_discrete_actions_can_be_masked(action):
    names = "MultiDiscrete" if action is SHOP else "Continuous"
    mask = np.ones((3, 2), bool)
    with pytest.raises(DataError, match=f"only Discrete actions can be masked, not {names}"):
        RandomPolicy(action).decide({}, np.zeros(3), mask)
    with pytest.raises(DataError, match=f"only Discrete actions can be masked, not {names}"):
        RulesPolicy(lambda _: np.ones((3, 2), int), action).decide({}, np.zeros(3), mask)
