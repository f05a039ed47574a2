"""Whole periods through the entry points: real Spark, TF-Agents, MLflow store and registry."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import mlflow
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rlbake.tracking.__main__ import main as tracking
from tests.end_to_end.conftest import Enter

FEW_PLAYERS = """
from rlbake.scenarios.message_timing import MessageTiming

class Few(MessageTiming):
    units = 400
    warm_up = 2
    gate = {"primary": "simulated", "loads_in": "process"}

class Many(MessageTiming):
    gate = {"loads_in": "process", "ignored_drift": ["is_weekend"]}"""
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
    return [(run.data.tags["rlbake.stage"], run.info.status) for run in nested(run_id)]


def nested(run_id: str) -> list[Run]:
    """All runs nested in one, in order of their start."""
    found: list[Run] = []
    level = [run_id]
    while level:
        below = [
            run
            for parent in level
            for run in mlflow.search_runs(
                search_all_experiments=True,
                filter_string=f"tags.`mlflow.parentRunId` = '{parent}'",
                output_format="list",
            )
        ]
        found += below
        level = [run.info.run_id for run in below]
    return sorted(found, key=lambda run: run.info.start_time)


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
    lineage = CliRunner().invoke(tracking, [f"models:/{NAME}@champion"])
    assert lineage.exit_code == 0, lineage.output
    for table in ("logs/observations", "logs/decisions", "logs/outcomes", "trajectories"):
        assert str(tmp_path / "tables/message_timing" / table) in lineage.output

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


def test_scores_from_nothing_and_then_a_challenger_that_is_worse(enter: Enter, few_players: str):
    outcome = enter("score", application=few_players)
    assert outcome.exit_code == 0, outcome.printed
    for said in ("Promoting first", "Training first", "Building first", "Simulating first"):
        assert said in outcome.printed
    stages = [stage for stage, _ in runs_below(outcome.run.info.run_id)]
    assert stages == ["promote", "evaluate", "train", "build_trajectories", "simulate"]

    assert enter("train", application=few_players, set="steps=1,batch_size=64", seed=1).exit_code == 0
    refused = enter("promote", application=few_players)
    assert refused.exit_code == 1
    assert refused.run.info.status == "FAILED"
    assert "lower bound" in refused.failure
    assert refused.failure in refused.printed
    assert refused.run.data.metrics["gate/better"] == 0
    assert aliases() == {"champion": "1", "challenger": "2"}

    forced = enter("promote", application=few_players, force="true")
    assert forced.exit_code == 0
    assert "FORCED" in forced.printed
    assert aliases() == {"champion": "2", "previous": "1"}


def test_without_held_out_players_the_logs_cannot_tell(enter: Enter, few_players: str, tmp_path: Path):
    assert enter("train", application=few_players, set=f"{QUICK},holdout=0").exit_code == 0
    evaluated = enter("evaluate", application=few_players)
    assert evaluated.exit_code == 0, evaluated.printed
    assert "The logs cannot tell: no environment was held out of training" in evaluated.printed
    (tmp_path / "gate.yaml").write_text("primary: null\n")
    tried = enter("promote", application=few_players, gate="gate.yaml", dry_run="true")
    assert tried.exit_code == 0, tried.printed
    assert "would be refused: the logs cannot tell what main.rl.message_timing/1 earns" in tried.printed
    assert aliases() == {"challenger": "1"}


@pytest.mark.slow
def test_the_logs_alone_tell_a_harmful_agent_and_a_lucky_one_from_a_better_one(enter: Enter, few_players: str):
    """From nothing but random decisions; the simulated world only says afterwards whether it was right."""
    many = {"application": few_players.replace("Few", "Many")}
    weak = enter("main", **many, set="steps=200")
    assert weak.exit_code == 0, weak.printed
    contenders = {
        "harmful": "reward.click=-1,reward.unsubscribe=2",
        "lucky": "holdout=0.9975,batch_size=32",  # has seen 50 players
        "better": "steps=10000",
    }
    returns = {}
    for name, changed in contenders.items():
        assert enter("train", **many, set=changed).exit_code == 0
        judged = enter("promote", **many)
        assert (judged.exit_code == 0) == (name == "better"), judged.printed
        assert judged.run.data.metrics["gate/better"] == float(name == "better")
        evaluated = next(run for run in nested(judged.run.info.run_id) if run.data.tags["rlbake.stage"] == "evaluate")
        figures = evaluated.data.metrics
        assert figures["ope/dr/low"] <= figures["ope/dr/value"] <= figures["ope/dr/high"]
        returns[name] = figures["sim/mean_return"]
    assert returns["harmful"] < returns["lucky"] < returns["better"]
    assert aliases() == {"champion": "4", "previous": "1"}

    in_parts = "memory=60MB,batch_size=32,steps=2000"  # too little for all rows
    assert enter("train", **many, set=in_parts).exit_code == 0
    large = enter("evaluate", **many)
    assert large.exit_code == 0, large.printed
    assert "evaluated on Spark" in large.printed
    whole, parts = figures, large.run.data.metrics
    assert parts["ope/logged/value"] == pytest.approx(whole["ope/logged/value"], rel=1e-6)
    for name in ("ope/dr", "ope/metric/click"):
        assert parts[f"{name}/low"] < whole[f"{name}/value"] < parts[f"{name}/high"]

    back = enter("promote", **many, version="previous")
    assert back.exit_code == 0, back.printed
    assert "ROLLED BACK" in back.printed
    assert aliases() == {"champion": "1", "challenger": "5"}


def test_a_build_repeated_makes_no_new_version(enter: Enter, few_players: str, tmp_path: Path):
    assert enter("simulate", application=few_players, days=2).exit_code == 0
    assert enter("build_trajectories", application=few_players, start="2026-01-01").exit_code == 0
    table = str(tmp_path / "tables/message_timing/trajectories")
    version = DeltaTable(table).version()
    again = enter("build_trajectories", application=few_players, start="2026-01-01")
    assert "no new version" in again.printed
    assert DeltaTable(table).version() == version == 1
