"""Logs of simulated windows: replaced whole, counted only when complete."""

import shutil
from datetime import UTC, datetime

import pytest
from deltalake import DeltaTable

from rlbake.application import load_application
from rlbake.errors import ConfigError, NotFoundError, StorageError
from rlbake.policies.behaviour import RandomPolicy
from rlbake.scenarios import SHIPPED
from rlbake.scenarios.message_timing import MessageTiming
from rlbake.scenarios.scenario import Scenario

RANDOM = RandomPolicy(MessageTiming.action)
FIRST, SECOND, THIRD = (MessageTiming.cadence.window(f"2026-01-0{day}") for day in (1, 2, 3))
NOW = datetime(2031, 1, 1, tzinfo=UTC)


@pytest.fixture
def timing(tmp_path):
    application = MessageTiming()
    application.tables = str(tmp_path / "tables")
    return application


def rows(application, log):
    table = DeltaTable(f"{application.tables}/message_timing/logs/{log}").to_pyarrow_table()
    return table.sort_by([(name, "ascending") for name in table.column_names])


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_applications_load_by_name(name, tmp_path):
    application = load_application(SHIPPED[name], str(tmp_path))
    assert isinstance(application, Scenario)
    assert application.name == name
    world = application.world()
    assert world.best_return > world.random_return


def test_nothing_simulated_yet(spark, timing):
    assert timing.simulated_windows() == []
    with pytest.raises(NotFoundError, match=r"nothing has been simulated.*mlflow run \. -e simulate"):
        timing.latest_complete(NOW)
    with pytest.raises(NotFoundError, match=r"window 2026-01-01 has not been simulated \(there: none\)"):
        timing.timesteps(spark, FIRST)


def test_windows_count_in_any_order(spark, timing):
    timing.simulate(THIRD, RANDOM, 5, seed=0)
    timing.simulate(FIRST, RANDOM, 5, seed=0)
    assert timing.simulated_windows() == [FIRST, THIRD]
    assert timing.latest_complete(NOW) == THIRD
    with pytest.raises(NotFoundError, match=r"window 2026-01-02 .*\(there: 2026-01-01 to 2026-01-03\)"):
        timing.population(spark, SECOND)


def test_the_same_window_again_leaves_the_same_rows(timing):
    for window in (FIRST, SECOND):
        timing.simulate(window, RANDOM, 300, seed=0)
    before = {log: rows(timing, log) for log in timing.logs}
    timing.simulate(FIRST, RANDOM, 300, seed=0)
    assert all(rows(timing, log).equals(before[log]) for log in timing.logs)


def test_another_simulation_of_a_window_replaces_just_that_window(timing):
    for window in (FIRST, SECOND):
        timing.simulate(window, RANDOM, 300, seed=0)
    before = rows(timing, "decisions").to_pandas()
    timing.simulate(FIRST, RANDOM, 200, seed=1)
    after = rows(timing, "decisions").to_pandas()
    assert (after["ds"] == FIRST.ds).sum() == 200
    assert (
        after[after["ds"] == SECOND.ds]
        .reset_index(drop=True)
        .equals(before[before["ds"] == SECOND.ds].reset_index(drop=True))
    )
    assert not after[after["ds"] == FIRST.ds].reset_index(drop=True).equals(before[before["ds"] == FIRST.ds][:200])


def test_a_simulation_that_broke_off_does_not_count(timing, tmp_path):
    """A file lies where a log belongs, so that the logs before it are written and it is not."""
    timing.simulate(FIRST, RANDOM, 50, seed=0)
    timing.simulate(SECOND, RANDOM, 50, seed=0)
    outcomes = tmp_path / "tables" / "message_timing" / "logs" / "outcomes"
    shutil.move(outcomes, tmp_path / "aside")
    outcomes.write_text("in the way")
    with pytest.raises(StorageError, match="outcomes"):
        timing.simulate(FIRST, RANDOM, 50, seed=1)
    assert timing.simulated_windows() == [SECOND]
    outcomes.unlink()
    shutil.move(tmp_path / "aside", outcomes)
    timing.simulate(FIRST, RANDOM, 50, seed=1)
    assert timing.simulated_windows() == [FIRST, SECOND]


def test_a_policy_that_fails_changes_nothing(timing):
    class Broken:
        version = "broken"

        def decide(self, observations, noise, action_mask=None):
            raise ArithmeticError

    timing.simulate(FIRST, RANDOM, 50, seed=0)
    before = {log: rows(timing, log) for log in timing.logs}
    with pytest.raises(ArithmeticError):
        timing.simulate(FIRST, Broken(), 50, seed=0)
    assert timing.simulated_windows() == [FIRST]
    assert all(rows(timing, log).equals(before[log]) for log in timing.logs)


def test_tables_that_cannot_be_written(timing, tmp_path):
    (tmp_path / "tables").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="cannot write to the table"):
        timing.simulate(FIRST, RANDOM, 5, seed=0)


def test_too_few_units(timing):
    with pytest.raises(ConfigError, match="units is 0"):
        timing.simulate(FIRST, RANDOM, 0, seed=0)


def test_a_log_may_have_no_rows_for_a_day(spark, timing):
    quiet = next(s for s in range(100) if not timing.play(FIRST, RANDOM, 1, seed=s)["outcomes"].num_rows)
    timing.simulate(FIRST, RANDOM, 1, seed=quiet)
    assert timing.read_log(spark, "outcomes", FIRST).count() == 0
    assert timing.read_log(spark, "decisions", FIRST).count() == 1
