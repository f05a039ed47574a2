"""Whole periods through the entry points: real Spark, TF-Agents, MLflow store and registry."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import mlflow
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from mlflow.tracking import MlflowClient

from tests.end_to_end.conftest import Enter

FEW_PLAYERS = """
from rlbake.scenarios.message_timing import MessageTiming

class Few(MessageTiming):
    units = 400
"""
NAME = "main.rl.message_timing"
QUICK = "steps=500,batch_size=64,agent.layers=[32]"


@pytest.fixture
def few_players(tmp_path: Path) -> str:
    (tmp_path / "few.py").write_text(FEW_PLAYERS)
    return "few.py:Few"


def aliases() -> dict[str, str]:
    return {alias: str(version) for alias, version in MlflowClient().get_registered_model(NAME).aliases.items()}


def runs_below(run_id: str) -> list[tuple[str, str]]:
    """(stage, status) of all runs nested in one, in order of their start."""
    found, level = [], [run_id]
    while level:
        nested = [
            run
            for parent in level
            for run in mlflow.search_runs(
                search_all_experiments=True,
                filter_string=f"tags.`mlflow.parentRunId` = '{parent}'",
                output_format="list",
            )
        ]
        found += nested
        level = [run.info.run_id for run in nested]
    found.sort(key=lambda run: run.info.start_time)
    return [(run.data.tags["rlbake.stage"], run.info.status) for run in found]


def test_a_period_from_no_logs_to_scores_and_then_the_next(enter: Enter, few_players: str, tmp_path: Path):
    first = enter("main", application=few_players, set=QUICK)
    assert first.exit_code == 0, first.printed
    assert runs_below(first.run.info.run_id) == [
        ("build_trajectories", "FINISHED"),
        ("simulate", "FINISHED"),
        ("train", "FINISHED"),
        ("evaluate", "FINISHED"),
        ("promote", "FINISHED"),
        ("score", "FINISHED"),
    ]
    assert aliases() == {"champion": "1"}

    last = first.run.data.tags["rlbake.window"]
    day = date.fromisoformat(last) + timedelta(days=1)
    second = enter("main", application=few_players, set=QUICK, date=day.isoformat())
    assert second.exit_code == 0, second.printed
    now = aliases()
    assert now in ({"champion": "1", "challenger": "2"}, {"champion": "2", "previous": "1"})

    logged = DeltaTable(str(tmp_path / "tables/message_timing/logs/decisions")).to_pyarrow_table()
    played_by_champion = logged.filter(pc.equal(logged["ds"], day.isoformat()))
    assert set(played_by_champion["policy_version"].to_pylist()) == {f"{NAME}/1"}

    scores = DeltaTable(str(tmp_path / "tables/message_timing/scores")).to_pyarrow_table()
    assert set(scores["ds"].to_pylist()) == {last, day.isoformat()}
    assert pc.count_distinct(scores["decision_id"]).as_py() == scores.num_rows
    newest = scores.filter(pc.equal(scores["ds"], day.isoformat()))
    assert set(newest["policy_version"].to_pylist()) == {f"{NAME}/{now['champion']}"}


def test_every_step_builds_what_it_does_not_find_and_says_so(enter: Enter, few_players: str):
    outcome = enter("score", application=few_players)
    assert outcome.exit_code == 0, outcome.printed
    for said in ("Promoting first", "Training first", "Building first", "Simulating first"):
        assert said in outcome.printed
    stages = [stage for stage, _ in runs_below(outcome.run.info.run_id)]
    assert stages == ["promote", "evaluate", "train", "build_trajectories", "simulate"]


def test_a_challenger_that_is_worse_is_refused_and_nothing_else_moves(enter: Enter, few_players: str):
    assert enter("main", application=few_players, set="steps=3000,batch_size=64").exit_code == 0
    assert enter("train", application=few_players, set="steps=1,batch_size=64", seed=1).exit_code == 0
    refused = enter("promote", application=few_players)
    assert refused.exit_code == 1
    assert refused.run.info.status == "FAILED"
    assert "lower bound" in refused.failure
    assert refused.failure in refused.printed
    assert refused.run.data.metrics["gate/not_worse_than_champion"] == 0
    assert aliases() == {"champion": "1", "challenger": "2"}

    forced = enter("promote", application=few_players, force="true")
    assert forced.exit_code == 0
    assert "FORCED" in forced.printed
    assert aliases() == {"champion": "2", "previous": "1"}


def test_a_build_repeated_makes_no_new_version(enter: Enter, few_players: str, tmp_path: Path):
    assert enter("simulate", application=few_players, days=2).exit_code == 0
    assert enter("build_trajectories", application=few_players, start="2026-01-01").exit_code == 0
    table = str(tmp_path / "tables/message_timing/trajectories")
    version = DeltaTable(table).version()
    again = enter("build_trajectories", application=few_players, start="2026-01-01")
    assert "no new version" in again.printed
    assert DeltaTable(table).version() == version == 1


def test_the_champion_leads_back_to_its_logs(enter: Enter, few_players: str, tmp_path: Path):
    from click.testing import CliRunner

    from rlbake.tracking.__main__ import main

    assert enter("main", application=few_players, set=QUICK).exit_code == 0
    printed = CliRunner().invoke(main, [f"models:/{NAME}@champion"])
    assert printed.exit_code == 0, printed.output
    for log in ("observations", "decisions", "outcomes"):
        assert str(tmp_path / "tables/message_timing/logs" / log) in printed.output
    assert str(tmp_path / "tables/message_timing/trajectories") in printed.output
