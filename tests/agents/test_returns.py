"""λ-returns follow chains of rows, and bootstrap from whatever is left of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rlbake.training.returns import lambda_returns, to_come


def successors(lengths):
    following = np.arange(1, sum(lengths) + 1)
    following[np.cumsum(lengths) - 1] = -1
    return following


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_recursion_of_generalised_advantage_estimation(lengths, trace, seed):
    random, rows = np.random.default_rng(seed), sum(lengths)
    reward, value, next_value = random.normal(size=(3, rows))
    discount = random.choice([0.0, 0.5, 0.9], rows)
    successor = successors(lengths)
    expected = np.zeros(rows)
    for row in reversed(range(rows)):
        expected[row] = reward[row] + discount[row] * next_value[row] - value[row]
        if successor[row] >= 0:
            expected[row] += discount[row] * trace * expected[successor[row]]
    found = lambda_returns(reward, discount, value, next_value, successor, trace)
    np.testing.assert_allclose(found, value + expected, atol=1e-12)


def test_with_a_trace_of_one_an_ended_episode_counts_what_was_earned_and_a_cut_one_what_is_left():
    reward, successor = np.ones(6), successors([3, 3])
    discount = np.array([0.5, 0.5, 0.0, 0.5, 0.5, 0.5])
    next_value = np.array([7.0, 7, 7, 2, 2, 8])
    value = np.array([7.0, 7, 7, 7, 2, 2])  # of the same places as seen from the row before, in the second chain
    found = lambda_returns(reward, discount, value, next_value, successor, 1.0)
    np.testing.assert_allclose(found[3:], [1 + 0.5 * (1 + 0.5 * (1 + 0.5 * 8)), 1 + 0.5 * (1 + 0.5 * 8), 1 + 0.5 * 8])
    np.testing.assert_allclose(found[:3], [1.75, 1.5, 1.0])


def test_with_a_trace_of_zero_only_the_next_step_counts():
    found = lambda_returns(np.ones(3), np.full(3, 0.5), np.zeros(3), np.array([4.0, 6, 8]), successors([3]), 0.0)
    np.testing.assert_allclose(found, [3, 4, 5])


def test_rows_to_come():
    assert to_come(successors([3, 1, 2])).tolist() == [2, 1, 0, 0, 1, 0]
