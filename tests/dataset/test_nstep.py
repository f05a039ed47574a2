"""n-step returns against the sums written out by hand and in plain Python."""

from datetime import UTC, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from rlbake import vocabulary as v
from rlbake.dataset.nstep import n_step, successors
from rlbake.dataset.transitions import Reading, assemble, needed
from tests.dataset.conftest import ACTION, METRICS, OBSERVATION, SCHEMA, START, row


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


@st.composite
def histories(draw):
    """Logs of some environments as trajectory rows: episodes that end in every way, some rows of some windows missing.

    Decisions are made every hour and windows are four hours long; an episode after a timeout starts hours later.
    """
    rows = []
    for env in range(draw(st.integers(1, 3))):
        hour = draw(st.integers(0, 3))
        for _ in range(draw(st.integers(1, 3))):
            steps, end = draw(st.integers(1, 7)), draw(st.sampled_from(v.ENDS))
            first = hour
            for step in range(steps):
                last = step == steps - 1
                rows.append(row(str(env), hour, end=end if last else v.NOT_ENDED, ds=f"2026-01-{hour // 4 + 1:02}"))
                rows[-1][v.EPISODE] = START + timedelta(hours=first)
                rows[-1][v.METRICS] = {"click": float(draw(st.integers(-3, 3))), "unsubscribe": 0.0}
                rows[-1][v.NEXT_ACTION] = None if last else draw(st.integers(0, 2))
                hour += 1
            hour += draw(st.integers(0, 5))  # after a truncation the next episode may start at the very next timestamp
    built = sorted({r[v.DS] for r in rows})
    missing = draw(st.sets(st.sampled_from(built), max_size=max(0, len(built) - 1)))
    kept = [r for r in rows if r[v.DS] not in missing]
    return draw(st.permutations(kept))


@given(histories(), st.integers(1, 5))
def test_returns_follow_what_was_logged_and_nothing_else(logged, n):
    """Against following each row by hand: to the row of the same episode that was logged at its next timestamp."""
    table = pa.Table.from_pylist(logged, SCHEMA)
    paths = needed(SCHEMA, reading := Reading(OBSERVATION, ACTION, METRICS, {"click": 1.0}, 0.5, n))
    flat = table
    while any(pa.types.is_struct(field.type) for field in flat.schema):
        flat = flat.flatten()
    read = assemble(flat.select(list(paths)), reading)
    known = {(r[v.ENV_ID], r[v.EPISODE], r[v.TIMESTAMP]): r for r in logged}
    by_start = {(r[v.ENV_ID], r[v.TIMESTAMP]): r for r in logged}
    assert len(read) == len(logged)
    for at in range(len(read)):
        start = by_start[read.env_id[at], read.timestamp[at].item().replace(tzinfo=UTC)]
        total, factor, current = 0.0, 1.0, start
        for step in range(n):
            total += factor * current[v.METRICS]["click"]
            factor *= 0.5 * current[v.DISCOUNT]
            following = known.get((current[v.ENV_ID], current[v.EPISODE], current[v.NEXT_TIMESTAMP]))
            if step == n - 1 or current[v.END] != v.NOT_ENDED or following is None:
                break
            current = following
        assert (read.reward[at], read.discount[at]) == (total, factor)
        assert read.next_action_valid[at] == (current[v.NEXT_ACTION] is not None)
        if read.next_action_valid[at]:
            assert read.next_action[at] == current[v.NEXT_ACTION]
        if current[v.NEXT_OBSERVATION]:
            assert read.next_observation["level"][at] == current[v.NEXT_OBSERVATION]["level"]
