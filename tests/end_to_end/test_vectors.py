"""Periods of several choices at once, and of numbers, through the entry points."""

from __future__ import annotations

import html
import json
from datetime import date, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from mlflow.tracking import MlflowClient

from rlbake.period.off_policy import NUMBERS
from rlbake.scenarios.bundle import Bundle
from rlbake.scenarios.offer_price import OfferPrice
from rlbake.scenarios.shop_day import VISITS
from tests.end_to_end.conftest import Enter
from tests.end_to_end.test_period import nested, runs_below

APPLICATIONS = """
from rlbake.scenarios.bundle import Bundle
from rlbake.scenarios.offer_price import OfferPrice

class FewBundles(Bundle):
    units = 600
    warm_up = 1
    gate = {"primary": "simulated", "loads_in": "process"}

class FewPrices(OfferPrice):
    units = 300
    warm_up = 1
    gate = {"primary": "simulated", "loads_in": "process"}

class Unsimulated(FewPrices):
    gate = {"loads_in": "process"}

    def world(self):
        return None
"""
BUNDLES, PRICES = "main.rl.bundle", "main.rl.offer_price"
QUICK = "steps=600,batch_size=64,agent.layers=[32]"
ACTOR = {
    "agent": "sac",
    "set": "steps=2000,batch_size=128,agent.layers=[32],agent.averaging=0.99,agent.actor_learning_rate=3e-3",
}


@pytest.fixture
def applications(tmp_path: Path) -> str:
    (tmp_path / "few.py").write_text(APPLICATIONS)
    return "few.py"


def champion(name: str) -> str | None:
    found = MlflowClient().get_registered_model(name).aliases.get("champion")
    return found and str(found)


def scores(tmp_path: Path, application: str) -> pa.Table:
    return DeltaTable(str(tmp_path / f"tables/{application}/scores")).to_pyarrow_table()


@pytest.mark.slow
def test_several_choices_from_no_logs_to_scores_and_into_the_next_logs(enter: Enter, applications: str, tmp_path: Path):
    application = {"application": f"{applications}:FewBundles"}
    period = enter("main", **application, set=QUICK, agent="double_dqn")
    assert period.exit_code == 0, period.printed
    stages = ["build_trajectories", "simulate", "train", "evaluate", "promote", "score"]
    assert runs_below(period.run.info.run_id) == [(name, "FINISHED") for name in stages]
    assert champion(BUNDLES) == "1"

    evaluated = next(run for run in nested(period.run.info.run_id) if run.data.tags["rlbake.stage"] == "evaluate")
    whole = evaluated.data.metrics
    assert whole["sim/score"] > 0.5
    assert whole["ope/dr/low"] < whole["sim/mean_return"] / VISITS < whole["ope/dr/high"]
    record = json.loads(mlflow.artifacts.load_text(f"{evaluated.info.artifact_uri}/evaluation.json"))
    assert {"agent", "rules", "best_fixed_action", "behavior_clone", "logged"} <= set(record["estimates"])
    assert list(record["propensities"]["by_action"]) == list(Bundle.action.joint().names)
    page = mlflow.artifacts.load_text(f"{evaluated.info.artifact_uri}/evaluation.html")
    assert record["fixed_action"] in Bundle.action.joint().names
    assert record["fixed_action"] in html.unescape(page)

    scored = scores(tmp_path, "bundle")
    sets = [of for _, of in Bundle.action.sets]
    named = [[of[i] for of, i in zip(sets, row, strict=True)] for row in scored["action_index"].to_pylist()]
    assert scored["action"].to_pylist() == named
    assert pc.max(scored["log_probability"]).as_py() <= 0

    in_parts = "steps=600,batch_size=16,agent.layers=[32],memory=3MB"  # too little for all rows
    assert enter("train", **application, set=in_parts).exit_code == 0
    large = enter("evaluate", **application)
    assert large.exit_code == 0, large.printed
    assert "evaluated on Spark" in large.printed
    parts = large.run.data.metrics
    assert parts["ope/logged/value"] == pytest.approx(whole["ope/logged/value"], rel=1e-6)
    assert parts["ope/dr/low"] < whole["ope/dr/value"] < parts["ope/dr/high"]

    day = (date.fromisoformat(period.run.data.tags["rlbake.window"]) + timedelta(days=1)).isoformat()
    assert enter("build_trajectories", **application, date=day).exit_code == 0
    logged = DeltaTable(str(tmp_path / "tables/bundle/trajectories")).to_pyarrow_table()
    played = logged.filter(pc.equal(logged["ds"], day))
    assert set(played["policy_version"].to_pylist()) == {f"{BUNDLES}/1"}


@pytest.mark.slow
def test_numbers_are_promoted_on_simulated_evidence_alone(enter: Enter, applications: str, tmp_path: Path):
    unsimulated, simulated = f"{applications}:Unsimulated", f"{applications}:FewPrices"
    refused = enter("main", application=unsimulated, **ACTOR)
    assert refused.exit_code == 1
    who = "main.rl.offer_price/1"
    assert refused.failure == f"{who} does not become champion: the logs cannot tell what {who} earns: {NUMBERS}"
    assert f"The logs cannot tell: {NUMBERS}" in refused.printed

    evaluated = enter("evaluate", application=simulated)
    assert evaluated.exit_code == 0, evaluated.printed
    assert evaluated.run.data.metrics["sim/score"] > 0.5
    promoted = enter("promote", application=simulated)
    assert promoted.exit_code == 0, promoted.printed
    assert champion(PRICES) == "1"

    scored = enter("score", application=simulated)
    assert scored.exit_code == 0, scored.printed
    rows = scores(tmp_path, "offer_price")
    prices = np.array(rows["action"].to_pylist())
    assert prices.shape == (rows.num_rows, 1)
    assert prices.min() >= OfferPrice.action.low[0]
    assert prices.max() <= OfferPrice.action.high[0]
    assert rows["action_index"].null_count == rows.num_rows

    assert enter("train", application=simulated, **ACTOR, seed=1).exit_code == 0
    judged = enter("promote", application=simulated, dry_run="true")
    assert judged.exit_code == 0, judged.printed
    rules = {name: value for name, value in judged.run.data.metrics.items() if name.startswith("gate/")}
    assert rules["gate/drift"] == 1
    assert {name for name, value in rules.items() if not value} <= {"gate/better", "gate/simulation"}
