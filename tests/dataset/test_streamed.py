"""What is streamed is what would be in memory, whatever order the files have."""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rlbake import vocabulary as v
from rlbake.dataset import memory, streamed
from rlbake.dataset.reading import read
from rlbake.dataset.snapshot import pin
from rlbake.dataset.streamed import Streamed, row_bytes
from rlbake.dataset.transitions import Reading, Transitions
from rlbake.errors import ConfigError, DataError
from rlbake.specs import Continuous, MultiDiscrete
from tests.dataset.conftest import ACTION, METRICS, OBSERVATION, row

HOLDOUT = 0.3
READING = Reading(
    OBSERVATION, ACTION, METRICS, {"click": 1.0}, gamma=0.9, n_step=3, kept_metrics=METRICS, keeps_policy=True
)
DAYS = ["2026-01-01", "2026-01-02"]


@pytest.fixture
def snapshot(write):
    """80 environments of 1 to 9 steps over two windows, in a random order; some end, some rows are masked."""
    rows = []
    for env in range(80):
        steps = env % 9 + 1
        for hour in range(steps):
            end = (v.NOT_ENDED, v.TERMINATED, v.TRUNCATED)[env % 3] if hour == steps - 1 else v.NOT_ENDED
            mask = {v.NEXT_ACTION_MASK: [True, hour % 2 == 0, True]} if env % 20 == 3 else {}
            rows.append(row(f"player {env}", hour, end=end, ds=DAYS[hour // 5], **mask))
    order = np.random.default_rng(0).permutation(len(rows))
    return pin(write([rows[at] for at in order]), DAYS)


def budget_for(snapshot, buckets: int) -> int:
    """Enough memory for so many buckets, and no fewer."""
    each = memory.while_read(row_bytes(snapshot, READING), OBSERVATION)
    return 2 * int(snapshot.rows * each * streamed._SPREAD / streamed._SHARE / (buckets - 0.5))


def by_row(transitions: Transitions) -> dict[tuple, dict]:
    """Every value, by environment and timestamp."""
    columns = {f.name: getattr(transitions, f.name) for f in dataclasses.fields(transitions)}
    for name in (v.OBSERVATION, v.NEXT_OBSERVATION, v.METRICS):
        columns |= {f"{name}.{feature}": column for feature, column in columns.pop(name).items()}
    masks = {name for name in (v.ACTION_MASK, v.NEXT_ACTION_MASK) if columns[name] is None}
    return {
        (env, instant): {name: repr(column[at]) for name, column in columns.items() if name not in masks}
        for at, (env, instant) in enumerate(zip(transitions.env_id, transitions.timestamp, strict=True))
    }


def all_rows(side: Streamed) -> dict[tuple, dict]:
    return {key: values for part in side.parts() for key, values in by_row(part).items()}


def test_the_same_rows_on_the_same_sides(snapshot):
    with read(snapshot, READING, holdout=HOLDOUT) as (training, holdout):
        assert isinstance(training, Transitions)
        known = by_row(training), by_row(holdout)
    with read(snapshot, READING, holdout=HOLDOUT, budget=budget_for(snapshot, 8)) as sides:
        assert all(isinstance(side, Streamed) for side in sides)
        assert len(sides[0].files) > 2
        assert tuple(map(all_rows, sides)) == known
        assert tuple(map(len, sides)) == tuple(map(len, known))
        assert sides[0].newest == max(instant for _, instant in known[0])
        assert [all_rows(side) for side in sides] == list(known)  # and again


SHOP = MultiDiscrete({"item": "xyz", "discount": "no"})
PRICE = Continuous([0, -1], [99, 1], ["price", "share"])


@pytest.mark.parametrize(
    ("action", "type_", "of", "stored"),
    [
        (SHOP, pa.list_(pa.int32()), lambda n: [n % 3, n % 2], SHOP.flat),
        (PRICE, pa.list_(pa.float32()), lambda n: [n / 2, -1 / (n + 1)], np.float32),
    ],
)
def test_vectors_are_the_same_and_know_no_mask(write, action, type_, of, stored):
    mask = {v.ACTION_MASK: [True, False], v.NEXT_ACTION_MASK: [True, False]}
    rows = [row(f"player {n % 40}", n // 40, **{v.ACTION: of(n)}, **mask) for n in range(160)]
    snapshot = pin(write(rows, type_), DAYS[:1])
    reading = dataclasses.replace(READING, action=action)
    with read(snapshot, reading, holdout=HOLDOUT) as (training, _):
        known = by_row(training)
        number = [
            int(env.split()[1]) + 40 * int(hour)
            for env, hour in zip(training.env_id, training.observation["level"], strict=True)
        ]
        np.testing.assert_allclose(training.action, stored(np.array([of(n) for n in number])), rtol=1e-6)
    with read(snapshot, reading, holdout=HOLDOUT, budget=budget_for(snapshot, 8)) as (training, _):
        assert isinstance(training, Streamed)
        assert training.masked == (False, False)
        assert all_rows(training) == known


def test_an_environment_is_in_one_bucket(snapshot):
    with read(snapshot, READING, holdout=HOLDOUT, budget=budget_for(snapshot, 8)) as (training, _):
        parts = [set(part.env_id) for part in training.parts()]
        assert sum(map(len, parts)) == len(set().union(*parts))


def test_observations_alone(snapshot):
    with read(snapshot, READING, holdout=HOLDOUT, budget=budget_for(snapshot, 8)) as (training, _):
        alone = np.concatenate([part["level"] for part in training.observations()])
        along = np.concatenate([part.observation["level"] for part in training.parts()])
        np.testing.assert_array_equal(np.sort(alone), np.sort(along))


@pytest.mark.parametrize("holdout", [0.0, 0.9])
def test_any_share_may_be_held_out(snapshot, holdout):
    with read(snapshot, READING, holdout=holdout, budget=budget_for(snapshot, 8)) as (training, held):
        assert len(training) + len(held) == snapshot.rows
        assert (len(held) == 0) == (holdout == 0)


def test_nothing_is_left_behind_even_after_a_failure(snapshot):
    folders: list[Path] = []

    def reading(fails: bool) -> None:
        with read(snapshot, READING, holdout=HOLDOUT, budget=budget_for(snapshot, 8)) as (training, _):
            folders.append(training.folder)
            assert any(training.folder.iterdir())
            if fails:
                raise KeyboardInterrupt

    reading(fails=False)
    with pytest.raises(KeyboardInterrupt):
        reading(fails=True)
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)


def test_a_budget_too_small_says_what_is_needed(snapshot):
    with (
        pytest.raises(ConfigError, match=r"memory = '1KB' is too little: .* need at least (\d+KB)\. ") as refused,
        read(snapshot, READING, holdout=HOLDOUT, budget=600),
    ):
        pass
    needed = int(str(refused.value).split("at least ")[1].split("KB")[0]) * 1000
    assert 600 < needed < 100_000


def test_environments_that_do_not_fit_are_told(write):
    snapshot = pin(write([row("ann", hour) for hour in range(200)]), DAYS[:1])
    with (
        pytest.raises(ConfigError, match="the 200 transitions of a few environments need at least"),
        read(snapshot, READING, holdout=HOLDOUT, budget=budget_for(snapshot, 8)),
    ):
        pass


def test_wrong_rows_are_named_when_they_are_used(write):
    snapshot = pin(write([row(str(env), 0, **({v.ACTION: 7} if env == 3 else {})) for env in range(50)]), DAYS[:1])
    with (
        read(snapshot, READING, holdout=0.0, budget=budget_for(snapshot, 8)) as (training, _),
        pytest.raises(DataError, match=r"action is not among the 3 actions.* 3 at 2026-01-01"),
    ):
        all_rows(training)
