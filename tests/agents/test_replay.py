"""Every row is as likely to be drawn from a working set on disk as if all were in memory."""

import re

import numpy as np
import pytest
import tensorflow as tf

from rlbake.errors import ConfigError
from rlbake.learners.loop import CHUNK, draw
from rlbake.training.replay import WEIGHT, InMemory, OnDisk, recency

EACH = 2 * 4 + 3 * 4 + 1  # bytes of a row
BATCH = 8


def columns(first: int, rows: int, weighted: bool = False) -> dict[str, np.ndarray]:
    """Rows numbered by their feature."""
    number = np.arange(first, first + rows)
    made = {
        "features": number[:, None].astype(np.float32),
        "mask": np.ones((rows, 0), bool),
        "action": number.astype(np.int32),
        "reward": -number.astype(np.float32),
        "discount": np.full(rows, 0.5, np.float32),
        "next_features": number[:, None].astype(np.float32),
        "next_mask": np.ones((rows, 1), bool),
    }
    return made | ({WEIGHT: 1.0 + number % 3} if weighted else {})


def on_disk(folder, sizes, rows_at_once, steps, *, seed=0, weighted=False, prioritisation=None) -> OnDisk:
    each = EACH + (8 if weighted else 0) + (4 if prioritisation else 0)
    drawn = 2 * CHUNK * BATCH * each
    starts = np.cumsum([0, *sizes])
    parts = (columns(first, rows, weighted) for first, rows in zip(starts[:-1], sizes, strict=True))
    limit = 2 * (drawn + rows_at_once * (2 * each + (24 if prioritisation else 0)))
    return OnDisk(parts, folder, limit=limit, steps=steps, batch_size=BATCH, seed=seed, prioritisation=prioritisation)


def drawn_shares(replay: OnDisk, rows: int, steps: int) -> np.ndarray:
    """Expected draws of each row per step of the whole training."""
    shares = np.zeros(rows)
    for segment in replay.segments(0, steps):
        members = segment.rows.action.numpy()
        weight = np.ones(len(members)) if segment.cumulative is None else np.diff(segment.cumulative.numpy(), prepend=0)
        shares[members] += segment.steps * weight / weight.sum()
    return shares / steps


@pytest.mark.parametrize("steps", [700, 40_000])
def test_rows_are_equally_likely(tmp_path, steps):
    sizes = [300, 120, 40, 250, 90]
    replay = on_disk(tmp_path, sizes, 310, steps)
    assert any(len(segment.rows.action) < sum(sizes) for segment in replay.segments(0, steps))
    np.testing.assert_allclose(drawn_shares(replay, 800, steps), 1 / 800, rtol=0.03)


def test_a_share_of_the_steps_follows_the_weights(tmp_path):
    replay = on_disk(tmp_path, [300, 120, 40, 250, 90], 310, 20_000, weighted=True)
    expected = 1.0 + np.arange(800) % 3
    np.testing.assert_allclose(drawn_shares(replay, 800, 20_000), expected / expected.sum(), rtol=0.03)


def test_working_sets_stay_within_the_limit_and_large_parts_are_cut(tmp_path):
    replay = on_disk(tmp_path, [1000, 10], 300, 5_000)
    sets = [segment.rows.action.numpy() for segment in replay.segments(0, 5_000)]
    assert max(map(len, sets)) <= 300
    assert set(np.concatenate(sets)) == set(range(1010))


def test_steps_are_in_order_and_complete_however_they_are_asked_for(tmp_path):
    replay = on_disk(tmp_path, [100, 100, 100], 150, 1000)
    whole = [(s.first, s.steps, s.rows.action.numpy().tolist()) for s in replay.segments(0, 1000)]
    assert [first for first, _, _ in whole] == np.cumsum([0, *(steps for _, steps, _ in whole)])[:-1].tolist()
    assert sum(steps for _, steps, _ in whole) == 1000
    by_step = {first + at: rows for first, steps, rows in whole for at in range(steps)}
    for start in range(0, 1000, 130):
        for segment in replay.segments(start, min(130, 1000 - start)):
            for at in range(segment.first, segment.first + segment.steps):
                assert by_step[at] == segment.rows.action.numpy().tolist()


def test_the_order_depends_on_the_seed_alone(tmp_path):
    orders = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        replay = on_disk(folder, [100] * 6, 110, 2000, seed=seed)
        orders.append([int(segment.rows.action[0]) for segment in replay.segments(0, 2000)])
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_columns_stay_together(tmp_path):
    for segment in on_disk(tmp_path, [500, 77], 100, 300).segments(0, 300):
        np.testing.assert_array_equal(segment.rows.features[:, 0], segment.rows.action)
        np.testing.assert_array_equal(segment.rows.reward, -segment.rows.action)


@pytest.mark.parametrize("most", [1, 7, 64, 10_000])
def test_a_sample_is_from_all_over(tmp_path, most):
    disk, whole = on_disk(tmp_path, [300, 120, 40], 310, 100), InMemory(columns(0, 460))
    np.testing.assert_array_equal(disk.sample(most).action, whole.sample(most).action)
    assert len(whole.sample(most).action) <= most
    assert disk.returns == whole.returns == (-918, 0)  # the rewards are 0 to -459, each discounted by half


def test_a_limit_below_one_batch_says_what_is_needed(tmp_path):
    with pytest.raises(ConfigError, match="the batches of 500 steps, each 8 rows, need at least") as refused:
        OnDisk([columns(0, 100)], tmp_path, limit=1000, steps=10, batch_size=BATCH, seed=0)
    needed = int(re.search(r"at least (\d+)KB", str(refused.value))[1]) * 1000
    OnDisk([columns(0, 100)], tmp_path, limit=needed, steps=10, batch_size=BATCH, seed=0)
    with pytest.raises(ConfigError):
        OnDisk([columns(0, 100)], tmp_path, limit=int(needed / 1.2), steps=10, batch_size=BATCH, seed=0)


def test_draws_follow_the_weights():
    weight = np.array([1.0, 0.0, 3.0, 4.0])
    drawn = draw((400, 100), tf.constant([1, 2]), 4, tf.constant(np.cumsum(weight))).numpy()
    assert drawn.shape == (400, 100)
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=4) / 40_000, weight / 8, atol=0.01)
    again = draw((400, 100), tf.constant([1, 2]), 4, tf.constant(np.cumsum(weight))).numpy()
    np.testing.assert_array_equal(drawn, again)


def test_without_weights_the_draw_is_what_it_always_was():
    seed = tf.constant([5, 1000])
    plain = tf.random.stateless_uniform([CHUNK, 64], seed, 0, 1234, tf.int32)
    np.testing.assert_array_equal(draw((CHUNK, 64), seed, 1234, None), plain)


def test_recency_halves_and_does_not_depend_on_what_else_is_there():
    day = np.timedelta64(1, "D")
    timestamp = np.datetime64("2026-01-10", "us") - np.arange(4) * day
    np.testing.assert_allclose(recency(timestamp, timestamp[0], day), [1, 0.5, 0.25, 0.125])
    moved = recency(timestamp, timestamp[0] + 5 * day, 2 * day)
    np.testing.assert_allclose(moved / moved[0], recency(timestamp, timestamp[0], 2 * day))
