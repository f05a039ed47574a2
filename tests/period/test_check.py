"""What `check` says of an application and its logs, and that the contract class says the same."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rlbake
from rlbake.errors import DataError, EmptyWindowError, SpecError
from rlbake.period import open_period
from rlbake.period.check import check
from rlbake.testing import ApplicationContract
from rlbake.warehouse.table import Table
from tests.period.test_build import APPLICATION, Logs, step

SCHEMA = "player string, timestamp timestamp, x double, action string, click double, end string"


@pytest.fixture
def logs(spark: SparkSession, tracking_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Logs:
    caplog.set_level(logging.INFO, "rlbake")
    return Logs(tmp_path)


def test_what_the_logs_would_become(logs: Logs, caplog: pytest.LogCaptureFixture) -> None:
    logs.write(
        [step("ann", "1 10:00"), step("ann", "1 11:00"), step("ann", "1 11:00"), step("ann", "1 12:00", x=101.0)]
    )
    period = open_period(APPLICATION, str(logs.folder / "tables"), "2026-01-01", 0)
    check(period)
    assert (
        "timesteps of 2026-01-01: 4 rows; 1 rejected (25.00 %; at most 100.00 %), 1 repetitions, 1 transitions, 1 open"
        in (caplog.text)
    )
    assert (
        "number outside [-inf, 100] (column x): 1 of 4 rows, for example ann at 2026-01-01T12:00:00: 101.0"
        in caplog.text
    )
    assert "rules: not defined" in caplog.text
    assert "population: not defined" in caplog.text
    assert not Table(f"{period.folder}/timesteps").exists()
    assert not Table(f"{period.folder}/quarantine").exists()


def test_no_logs_at_all(logs: Logs) -> None:
    with pytest.raises(EmptyWindowError):
        check(open_period(APPLICATION, str(logs.folder / "tables"), "2026-01-01", 0))


def test_every_row_is_a_stray_end(logs: Logs) -> None:
    logs.write([step("ann", "1 10:00", action=None), step("bob", "1 10:00", action=None)])
    with pytest.raises(DataError, match="2 rows, and none becomes a transition"):
        check(open_period(APPLICATION, str(logs.folder / "tables"), "2026-01-01", 0))


class Lamps(rlbake.Application):
    name = "lamps"
    keys = ("player",)
    cadence = rlbake.Cadence(start="2026-01-01")
    observation = (rlbake.Number("x", optional=True), rlbake.Category("colour", ["red", "blue"], optional=True))
    action = rlbake.Discrete(["off", "on"])
    metrics = ("click",)
    reward = {"click": 1.0}

    change: Callable[[DataFrame], DataFrame] = staticmethod(lambda frame: frame)
    decide: Callable[[dict], np.ndarray] = staticmethod(lambda observations: (observations["x"] > 4).astype(int))

    def timesteps(self, spark, window):
        start = int(window.start.timestamp() * 1e6)
        return self.change(
            spark.range(200).select(
                F.concat(F.lit("lamp-"), "id").alias("player"),
                F.timestamp_micros(F.lit(start) + F.col("id")).alias("timestamp"),
                F.when(F.col("id") % 2 == 0, F.col("id").cast("double")).alias("x"),
                F.when(F.col("id") % 3 == 0, F.lit("red")).alias("colour"),
                F.lit("on").alias("action"),
                F.lit(1.0).alias("click"),
                F.lit("terminated").alias("end"),
            )
        )

    def population(self, spark, date):
        return self.timesteps(spark, date).select("player", "x", "colour")

    def rules(self, observations):
        return self.decide(observations)


class TestLamps(ApplicationContract):
    application = f"{__file__}:Lamps"
    date = "2026-01-01"

    @pytest.fixture(autouse=True)
    def _running(self, spark: SparkSession) -> None:
        """The session that all tests share is there."""


BROKEN = {
    "rejected": (
        {"change": lambda frame: frame.withColumn("action", F.when(F.col("x") > 100, "dim").otherwise("on"))},
        "test_timesteps_hold_the_contract",
        DataError,
        "unknown action (column action): 49 of 200 rows",
    ),
    "twice": (
        {"change": lambda frame: frame.select("*", F.col("x"))},
        "test_timesteps_hold_the_contract",
        DataError,
        "two columns named 'x'",
    ),
    "random": (
        {"change": lambda frame: frame.withColumn("click", F.rand())},
        "test_timesteps_are_the_same_when_asked_again",
        DataError,
        "asked twice, it returned 200 and 200 rows of different content",
    ),
    "rules": (
        {"decide": lambda observations: np.full(len(observations["x"]), 2)},
        "test_rules_decide_what_can_be_done",
        SpecError,
        "unknown actions in 200 of 200 rows",
    ),
    "repeated": (
        {"change": lambda frame: frame.withColumn("player", F.lit("lamp-1"))},
        "test_population_can_be_scored",
        DataError,
        "rows that contradict each other (column all but key and timestamp): ",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_application_fails_the_test_that_names_it(spark: SparkSession, broken: str) -> None:
    change, test, error, says = BROKEN[broken]
    application = type("Broken", (Lamps,), {name: staticmethod(function) for name, function in change.items()})()
    contract = ApplicationContract()
    with pytest.raises(error, match=says.replace("(", r"\(").replace(")", r"\)")):
        getattr(contract, test)(application, application.cadence.window("2026-01-01"))
