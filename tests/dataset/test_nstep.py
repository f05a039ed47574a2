"""n-step returns against the sums written out by hand and in plain Python."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rlbake.dataset.nstep import n_step, successors


def test_three_steps_by_hand():
    returns = n_step(np.array([1.0, 2.0, 4.0, 8.0]), np.full(4, 0.5), np.array([1, 2, 3, -1]), 3)
    np.testing.assert_array_equal(returns.reward, [1 + 0.5 * 2 + 0.25 * 4, 2 + 0.5 * 4 + 0.25 * 8, 4 + 0.5 * 8, 8])
    np.testing.assert_array_equal(returns.discount, [0.125, 0.125, 0.25, 0.5])
    np.testing.assert_array_equal(returns.last, [2, 3, 3, 3])


def test_termination_leaves_nothing_to_bootstrap_from():
    returns = n_step(np.array([1.0, 2.0]), np.array([0.9, 0.0]), np.array([1, -1]), 5)
    np.testing.assert_allclose(returns.reward, [1 + 0.9 * 2, 2])
    np.testing.assert_array_equal(returns.discount, [0, 0])


def test_one_step_changes_nothing():
    returns = n_step(np.array([1.0, 2.0]), np.array([0.9, 0.0]), np.array([1, -1]), 1)
    np.testing.assert_array_equal(returns.reward, [1, 2])
    np.testing.assert_array_equal(returns.discount, [0.9, 0])
    np.testing.assert_array_equal(returns.last, [0, 1])


def test_successors_stay_within_environment_and_episode_and_never_cross_a_gap_or_an_end():
    #                       0  1  2  3  4  5  6
    environment = np.array([0, 0, 0, 0, 0, 1, 1])
    episode = np.array([0, 0, 0, 5, 5, 0, 0])
    timestamp = np.array([0, 1, 3, 5, 6, 6, 7])
    next_timestamp = np.array([1, 2, 5, 6, 6, 7, 8])  # row 1's successor, at 2, is not loaded
    ended = np.array([False, False, True, False, False, True, False])  # row 5 was cut at 7, where row 6 starts
    following = successors(environment, episode, timestamp, next_timestamp, ended)
    assert following.tolist() == [1, -1, -1, 4, -1, -1, -1]


def test_successors_of_no_rows():
    nothing = np.zeros(0, np.int64)
    assert len(successors(nothing, nothing, nothing, nothing, nothing.astype(bool))) == 0


@st.composite
def chains(draw):
    """Rows in chains: each is continued by the one below it, or by none."""
    rows = draw(st.integers(1, 30))
    linked = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    successor = np.array([i + 1 if linked[i] and i + 1 < rows else -1 for i in range(rows)])
    reward = draw(st.lists(st.integers(-9, 9), min_size=rows, max_size=rows))
    gamma = draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    ends = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    discount = [0.0 if successor[i] < 0 and ends[i] else gamma for i in range(rows)]
    return np.array(reward, float), np.array(discount), successor


@given(chains(), st.integers(1, 6))
def test_like_following_every_chain_in_plain_python(rows, n):
    reward, discount, successor = rows
    returns = n_step(reward, discount, successor, n)
    for start in range(len(reward)):
        total, factor, row = 0.0, 1.0, start
        for step in range(n):
            total += factor * reward[row]
            factor *= discount[row]
            if step == n - 1 or successor[row] < 0:
                break
            row = successor[row]
        np.testing.assert_allclose([returns.reward[start], returns.discount[start]], [total, factor], atol=1e-12)
        assert returns.last[start] == row
