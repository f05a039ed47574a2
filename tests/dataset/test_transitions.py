"""A pinned table comes back as columns: right rewards, right chains, nothing missing, nothing filled in."""

import dataclasses
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from rlbake import vocabulary as v
from rlbake.dataset import columns
from rlbake.dataset.snapshot import Snapshot, pin
from rlbake.dataset.transitions import Reading, Transitions, concatenated, load
from rlbake.errors import DataError, NotFoundError
from rlbake.specs import Continuous, Number
from tests.dataset.conftest import ACTION, METRICS, OBSERVATION, START, row

WEIGHTS = {"click": 1.0, "unsubscribe": -20.0}


def loaded(snapshot: Snapshot, **changed) -> Transitions:
    asked = {"observation": OBSERVATION, "action": ACTION, "metrics": METRICS, "reward": WEIGHTS, "gamma": 0.5}
    return load(snapshot, Reading(**(asked | changed)))


def read(write, rows, windows=("2026-01-01",), **changed) -> Transitions:
    return loaded(pin(write(rows), list(windows)), **changed)


def test_columns_of_one_episode(write):
    read_back = read(write, [row("ann", 1, end=v.TERMINATED), row("ann", 0)])
    assert read_back.env_id.tolist() == ["ann", "ann"]
    assert read_back.timestamp.tolist() == sorted(read_back.timestamp.tolist())
    assert read_back.end.tolist() == [v.NOT_ENDED, v.TERMINATED]
    assert read_back.step_type.tolist() == [v.FIRST, v.MID]
    assert read_back.action.tolist() == [0, 1]
    assert read_back.observation["level"].tolist() == [0, 1]
    assert read_back.observation["payer"].tolist() == [True, False]
    assert read_back.observation["country"].tolist() == ["US", "US"]
    assert read_back.next_observation["level"][0] == 1
    assert read_back.next_observation["country"][0] == "DE"
    assert np.isfinite(read_back.next_observation["level"]).all()
    assert read_back.reward.tolist() == [1, 2]
    assert read_back.discount.tolist() == [0.5, 0]
    assert read_back.log_probability.tolist() == [-1.5, -1.5]
    assert read_back.next_action_mask is None
    assert np.isnat(read_back.next_timestamp).tolist() == [False, True]


def test_reward_weights_are_applied_on_reading(write):
    metrics = {"click": 3.0, "unsubscribe": 1.0}
    snapshot = pin(write([row("ann", 0, **{v.METRICS: metrics, v.REWARD: -17.0})]), ["2026-01-01"])
    assert loaded(snapshot).reward.tolist() == [-17]
    assert loaded(snapshot, reward={"unsubscribe": 2.0}).reward.tolist() == [2]
    assert loaded(snapshot, reward={}).reward.tolist() == [0]


def test_what_is_kept_for_an_evaluation(write):
    metrics = {"click": 3.0, "unsubscribe": 1.0}
    rows = [row("ann", 0, **{v.METRICS: metrics}), row("ann", 1, **{v.POLICY_VERSION: None})]
    snapshot = pin(write(rows), ["2026-01-01"])
    kept = loaded(snapshot, kept_metrics=("unsubscribe",), keeps_policy=True, n_step=2)
    assert {name: values.tolist() for name, values in kept.metrics.items()} == {"unsubscribe": [1, 0]}
    assert kept.policy_version.tolist() == ["rules", None]
    assert kept.episode.tolist() == [START.replace(tzinfo=None)] * 2
    assert kept.take(np.array([1])).metrics["unsubscribe"].tolist() == [0]
    assert (loaded(snapshot).metrics, loaded(snapshot).policy_version) == ({}, None)


def test_two_sides_become_one_again(write):
    masked = row("bob", 1, **{v.ACTION_MASK: [True, True, False]})
    snapshot = pin(write([row("ann", 0), masked]), ["2026-01-01"])
    both = loaded(snapshot, kept_metrics=("click",), keeps_policy=True)
    ann, bob = (both.take(np.array([n])) for n in (0, 1))
    joined = concatenated(bob, dataclasses.replace(ann, action_mask=None))
    assert joined.env_id.tolist() == ["bob", "ann"]
    assert joined.metrics["click"].tolist() == [2, 1]
    assert joined.action_mask.tolist() == [[True, True, False], [True, True, True]]
    assert joined.next_action_mask is None
    assert len(concatenated(both.take(np.array([], int)), ann)) == 1


def test_n_steps_cross_windows_but_no_gap(write):
    days = ["2026-01-01", "2026-01-02"]
    rows = [row("ann", 0), row("ann", 1, ds=days[1]), row("ann", 3, ds=days[1])]  # hour 2 was never seen
    both = read(write, rows, days, n_step=3)
    assert both.reward.tolist() == [1 + 0.5 * 2, 2, 4]
    assert both.discount.tolist() == [0.25, 0.5, 0.5]
    assert both.next_observation["level"].tolist() == [2, 2, 4]
    assert read(write, rows, days[:1], n_step=3).reward.tolist() == [1]


def test_n_steps_end_with_the_episode(write):
    cut = read(write, [row("ann", 0), row("ann", 1, end=v.TRUNCATED), row("ann", 2)], n_step=3)
    assert cut.reward.tolist() == [1 + 0.5 * 2, 2, 3]
    assert cut.discount.tolist() == [0.25, 0.5, 0.5]
    over = read(write, [row("bob", 0), row("bob", 1, end=v.TERMINATED)], n_step=3)
    assert over.reward.tolist() == [2, 2]
    assert over.discount.tolist() == [0, 0]


def test_gamma_and_n_step_change_the_result(write):
    snapshot = pin(write([row("ann", 0), row("ann", 1)]), ["2026-01-01"])
    assert loaded(snapshot, gamma=0.9).discount.tolist() == [0.9, 0.9]
    assert loaded(snapshot, gamma=0.9, n_step=2).discount[0] == pytest.approx(0.81)


def test_next_masks_follow_the_chain_and_null_allows_everything(write):
    masks = [{v.NEXT_ACTION_MASK: [True, False, False]}, {v.NEXT_ACTION_MASK: [False, False, True]}, {}]
    rows = [row("ann", hour, **mask) for hour, mask in enumerate(masks)]
    over = row("bob", 0, end=v.TERMINATED, **{v.NEXT_ACTION_MASK: [True, False, False]})
    one = read(write, [*rows, over])
    assert one.next_action_mask.tolist() == [[True, False, False], [False, False, True], [True] * 3, [True] * 3]
    two = read(write, rows, n_step=2)
    assert two.next_action_mask.tolist() == [[False, False, True], [True] * 3, [True] * 3]


def test_a_step_of_one_period_discounts_by_gamma_and_longer_ones_by_more(write):
    day = 86_400.0
    rows = [row("ann", 0, **{v.TIME_GAP: day}), row("ann", 1, **{v.TIME_GAP: day / 2}), row("ann", 2, end=v.TERMINATED)]
    snapshot = pin(write(rows), ["2026-01-01"])
    assert loaded(snapshot).discount.tolist() == [0.5, 0.5, 0]
    daily = loaded(snapshot, gamma_period=timedelta(days=1))
    np.testing.assert_allclose(daily.discount, [0.5, 0.5**0.5, 0])
    hourly = loaded(snapshot, gamma_period=timedelta(hours=1))
    np.testing.assert_allclose(hourly.discount, [0.5**24, 0.5**12, 0])
    long = loaded(snapshot, gamma_period=timedelta(days=1), n_step=3)
    np.testing.assert_allclose(long.reward, [1 + 0.5 * 2 + 0.5**1.5 * 3, 2 + 0.5**0.5 * 3, 3])
    np.testing.assert_allclose(long.discount, [0, 0, 0])
    cut = loaded(snapshot, gamma_period=timedelta(days=1), n_step=2)
    np.testing.assert_allclose(cut.discount, [0.5**1.5, 0, 0])


@pytest.mark.parametrize("gap", [None, -1.0, np.nan])
def test_time_gaps_that_discount_nothing(write, gap):
    snapshot = pin(write([row("ann", 0), row("bob", 0, **{v.TIME_GAP: gap})]), ["2026-01-01"])
    assert len(loaded(snapshot)) == 2
    with pytest.raises(DataError, match=r"time_gap is .*1 of 2 rows, for example bob"):
        loaded(snapshot, gamma_period=timedelta(days=1))


def test_next_actions_follow_the_chain_and_are_absent_at_an_end(write):
    rows = [row("ann", hour, **{v.NEXT_ACTION: (hour + 1) % 3}) for hour in range(3)]
    rows += [row("ann", 3, end=v.TRUNCATED), row("bob", 0, end=v.TERMINATED)]
    one, two = read(write, rows), read(write, rows, n_step=2)
    assert one.next_action_valid.tolist() == [True, True, True, False, False]
    assert one.next_action[one.next_action_valid].tolist() == [1, 2, 0]
    assert two.next_action_valid.tolist() == [True, True, False, False, False]
    assert two.next_action[two.next_action_valid].tolist() == [2, 0]
    with pytest.raises(DataError, match="next_action is not among the 3 actions"):
        read(write, [row("ann", 0, **{v.NEXT_ACTION: 3})])


def test_masks_of_the_decision_itself(write):
    masks = [{v.ACTION_MASK: [True, False, False]}, {}]
    rows = [row("ann", hour, **mask) for hour, mask in enumerate(masks)]
    for n_step in (1, 2):
        own = read(write, rows, n_step=n_step).action_mask
        assert own.tolist() == [[True, False, False], [True] * 3]
    assert read(write, rows[1:]).action_mask is None


def test_vectors_of_actions():
    action = Continuous([0.0, 0.0], [1.0, 1.0], ["price", "discount"])
    vectors = pa.array([[0.5, 1.0], None, [0.25, 0.0]], pa.list_(pa.float32()))
    table = pa.table({v.ENV_ID: list("abc"), v.TIMESTAMP: [0, 1, 2], v.NEXT_ACTION: vectors, v.ACTION: vectors})
    following, valid = columns.next_actions(table, action)
    assert following.tolist() == [[0.5, 1.0], [0.0, 0.0], [0.25, 0.0]]
    assert valid.tolist() == [True, False, True]
    with pytest.raises(DataError, match="action is missing"):
        columns.actions(table, action)
    assert columns.actions(table.take([2, 0]), action).tolist() == [[0.25, 0.0], [0.5, 1.0]]
    with pytest.raises(DataError, match="has not 3 entries"):
        columns.next_actions(table, Continuous([0.0] * 3, [1.0] * 3, ["a", "b", "c"]))


def test_rows_come_in_one_order_however_they_were_written(write):
    rows = [row(env, hour) for env in ("ann", "bob") for hour in range(5)]
    forward, backward = read(write, rows), read(write, rows[::-1])
    for name in ("env_id", "timestamp", "reward"):
        np.testing.assert_array_equal(getattr(forward, name), getattr(backward, name))


def test_a_pinned_version_does_not_change_when_the_table_does(write):
    snapshot = pin(write([row("ann", 0)]), ["2026-01-01"])
    write([row("ann", 0), row("ann", 1)])
    assert len(loaded(snapshot)) == 1
    assert len(loaded(pin(snapshot.uri, ["2026-01-01"]))) == 2


def test_pin_takes_the_windows_that_there_are(write):
    uri = write([row("ann", 0), row("bob", 0, ds="2026-01-03")])
    snapshot = pin(uri, ["2026-01-01", "2026-01-02", "2026-01-03"])
    assert snapshot.windows == ("2026-01-01", "2026-01-03")
    assert snapshot.rows == 2
    assert len(snapshot.digest) == 32
    assert snapshot.digest != pin(uri, ["2026-01-01"]).digest


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({v.ACTION: 3}, "action is not among the 3 actions"),
        ({v.ACTION: None}, "action is missing"),
        ({v.OBSERVATION: {"level": None, "payer": True, "country": "US"}}, "observation.level is missing"),
        ({v.OBSERVATION: {"level": np.nan, "payer": True, "country": "US"}}, "observation.level is not finite"),
        ({v.NEXT_OBSERVATION: None}, "next_observation.level is missing"),
        ({v.METRICS: {"click": None, "unsubscribe": 0.0}}, "metrics.click is missing"),
        ({v.NEXT_ACTION_MASK: [True]}, "has not 3 entries"),
        ({v.NEXT_ACTION_MASK: [False] * 3}, "allows nothing"),
    ],
)
def test_wrong_rows_are_named(write, changed, said):
    with pytest.raises(DataError, match=said) as error:
        read(write, [row("ann", 0), row("bob", 7, **changed)])
    assert "bob at 2026-01-01 07:00" in str(error.value)
    assert "1 of 2 rows" in str(error.value)


def test_what_the_table_lacks_is_named(write):
    snapshot = pin(write([row("ann", 0)]), ["2026-01-01"])
    with pytest.raises(DataError, match="no feature 'spend'"):
        loaded(snapshot, observation=(*OBSERVATION, Number("spend")))
    with pytest.raises(DataError, match="no metric 'sales'"):
        loaded(snapshot, metrics=("sales",), reward={"sales": 1.0})


def test_nothing_to_pin(write, tmp_path):
    with pytest.raises(NotFoundError, match="no table"):
        pin(str(tmp_path / "nowhere"), ["2026-01-01"])
    with pytest.raises(NotFoundError, match="none of the windows"):
        pin(write([row("ann", 0)]), ["2026-02-01"])
