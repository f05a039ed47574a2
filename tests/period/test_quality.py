"""Every build leaves a report of what it built, with the numbers that the tables hold."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import mlflow
import pytest
from deltalake import DeltaTable
from mlflow.tracking import MlflowClient
from pyspark.sql import SparkSession

from rlbake import vocabulary as v
from rlbake.features.stored import read_profiles
from rlbake.period.quality import FACTS, PAGE
from rlbake.period.train import train, training_config
from rlbake.warehouse.table import Table
from tests.period.test_build import Logs, step


@pytest.fixture
def logs(spark: SparkSession, tracking_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Logs:
    caplog.set_level(logging.INFO, "rlbake")
    return Logs(tmp_path)


class Reported:
    """What the latest build has left in the store."""

    def __init__(self) -> None:
        client = MlflowClient()
        everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
        run = client.search_runs(everywhere, f"tags.`{v.TAG_STAGE}` = 'build_trajectories'", max_results=1)[0]
        self.run_id, self.metrics = run.info.run_id, run.data.metrics
        self.page = mlflow.artifacts.load_text(f"runs:/{self.run_id}/{PAGE}").replace("\N{NO-BREAK SPACE}", " ")
        self.facts: dict[str, Any] = json.loads(mlflow.artifacts.load_text(f"runs:/{self.run_id}/{FACTS}"))


def rows(logs: Logs, table: str, day: int) -> list[dict[str, Any]]:
    """Of a day, as the table holds them."""
    held = DeltaTable(f"{logs.period(1).folder}/{table}").to_pyarrow_dataset().to_table().to_pylist()
    return [row for row in held if row[v.DS] == f"2026-01-{day:02d}"]


def test_the_report_holds_what_the_tables_hold(logs: Logs) -> None:
    logs.write(
        [
            *(step("ann", f"1 {hour}:00", x=hour, click=hour % 2) for hour in range(10, 20)),
            step("ann", "1 20:00", end="terminated"),
            *(step("bob", f"1 1{hour}:00", x=5, action="b") for hour in range(3)),
            step("bob", "1 12:00", x=5, action="b"),  # a repetition
            step("cyd", "1 10:00", x=101.0),  # rejected
            step("<i>dan</i>", "1 10:00", action="jump"),  # rejected
        ]
    )
    assert logs.build(1) == ["01"]
    found, transitions, left = Reported(), rows(logs, "trajectories", 1), rows(logs, "open", 1)
    (window,) = found.facts["windows"]
    assert window == {
        "ds": "2026-01-01", "rows_in": 17, "rejected": len(rows(logs, "quarantine", 1)), "duplicates": 1,
        "transitions": len(transitions), "open": len(left), "unobserved": 0, "timed_out": 0, "stray": 0,
        "changed": True, "stale": "",
    }  # fmt: skip
    columns = found.facts["columns"]
    rewards = [row["reward"] for row in transitions]
    assert columns["reward"]["rows"] == len(rewards) == 13
    assert columns["reward"]["mean"] == pytest.approx(sum(rewards) / len(rewards))
    assert columns["metrics.click"]["high"] == 1
    assert columns["observation.x"]["high"] == max(row["observation"]["x"] for row in transitions)
    assert columns["time_gap"]["missing"] == sum(row["time_gap"] is None for row in transitions) == 1
    assert columns["action"]["counts"] == {"a": 11, "b": 2}
    assert columns["log_probability"] == {"kind": "number", "rows": 13, "missing": 13}
    assert found.facts["episode_lengths"]["mean"] == 11
    assert found.facts["episode_lengths"]["rows"] == 1
    assert {(r["rule"], r["column"], r["count"]) for r in found.facts["rejections"]} == {
        ("out_of_range", "x", 1),
        ("unknown_action", "action", 1),
    }
    assert found.metrics["quality/rejected_share"] == pytest.approx(2 / 17)
    assert found.metrics["quality/open_share"] == pytest.approx(1 / 14)
    assert found.metrics["quality/unknown_propensity_share"] == 1
    assert found.metrics["time/quality_s"] > 0
    assert "11.8 % of the rows were rejected (2 of 17)" in found.page
    assert "cyd at 2026-01-01T10:00:00: 101.0" in found.page
    assert "&lt;i&gt;dan&lt;/i&gt; at 2026-01-01T10:00:00: jump" in found.page
    assert "a most often, in 84.6 % of the decisions" in found.page


def test_a_day_more_is_compared_with_the_days_before_whose_profiles_stay(logs: Logs) -> None:
    logs.write([step("ann", f"{day} {hour}:00", x=day) for day in (1, 2, 3) for hour in range(10, 20)])
    for day in (1, 2):
        logs.build(day)
    before = Table(f"{logs.period(1).folder}/{v.PROFILES_TABLE}").builds()
    logs.build(3)
    found, profiles = Reported(), Table(f"{logs.period(1).folder}/{v.PROFILES_TABLE}").builds()
    assert {ds: profiles[ds] for ds in before} == before
    assert set(profiles) - set(before) == {"2026-01-03"}
    assert found.facts["relative_to"] == "the 2 windows before, 2026-01-01 to 2026-01-02"
    assert found.metrics["quality/max_psi"] == max(moved["psi"] for moved in found.facts["drift"].values()) > 0.25
    assert found.facts["drift"]["observation.x"]["psi"] > 0.25
    assert len(read_profiles(logs.period(1).folder, ["2026-01-01", "2026-01-02", "2026-01-03"])) == 3


def test_stale_and_missing_windows_are_told(logs: Logs) -> None:
    logs.write([step("ann", f"{day} {hour}:00") for day in (1, 4) for hour in (10, 11)])
    logs.build(1)
    assert Reported().facts["relative_to"].startswith("there is neither a champion")
    logs.write([step("bob", f"1 {hour}:00") for hour in (10, 11)])
    assert logs.build(4, start=2) == ["01", "04"]
    found = Reported()
    assert found.facts["missing_windows"] == ["2026-01-02", "2026-01-03"]
    assert [window["stale"] for window in found.facts["windows"]] == ["the logs have changed since it was built", ""]
    assert "2 windows had no rows at all: 2026-01-02, 2026-01-03." in found.page


def test_a_window_in_which_nothing_has_a_successor_yet(logs: Logs) -> None:
    logs.write([step("ann", "1 10:00"), step("bob", "1 10:00")])
    logs.build(1)
    found = Reported()
    assert "There is no transition: 2 decisions left open." in found.page
    assert found.metrics["quality/open_share"] == 1
    logs.write([step("ann", "2 10:00")])
    logs.build(2)
    assert Reported().facts["relative_to"].startswith("there is neither")  # the first day has nothing to compare with


@pytest.mark.slow
def test_drift_is_told_against_the_champion(logs: Logs) -> None:
    logs.write([step(f"p{n}", f"{day} {h}:00", x=n) for day in (1, 2) for n in range(40) for h in (10, 11, 12)])
    logs.build(1)
    model = train(logs.period(1), training_config(logs.period(1), set_="steps=10,batch_size=8"))
    logs.build(2)
    assert Reported().facts["relative_to"] == "the window before, 2026-01-01"
    MlflowClient().set_registered_model_alias(model.name, v.CHAMPION, model.version)
    logs.build(2)
    found = Reported()
    assert found.facts["relative_to"] == f"the training window of the champion, {model.name}/{model.version}"
    assert found.facts["drift"]["observation.x"]["psi"] < 0.1
