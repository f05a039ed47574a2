"""The canonical check, through the entry points: balance the pole after nothing but random pushes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.conftest import Enter

RECORDED = Path(__file__).parent.parent / "data/cartpole_random_10k.parquet"

APPLICATION = f"""
import rlbake
from pyspark.sql import functions as F
from rlbake.scenarios.cartpole import CartPoleWorld

STATE = ("position", "velocity", "angle", "angular_velocity")

class Recorded(rlbake.Application):
    name = "recorded_cartpole"
    keys = ("mdp_id",)
    cadence = rlbake.Cadence(start="2026-01-01", training_window=1)
    observation = tuple(rlbake.Number(name) for name in STATE)
    action = rlbake.Discrete(["left", "right"])
    metrics = ("alive",)
    reward = {{"alive": 1.0}}
    gamma = 0.99

    def timesteps(self, spark, window):
        steps = spark.read.parquet("{RECORDED}")
        second = F.lit(int(window.start.timestamp())) + F.col("sequence_number")
        end = F.when(F.col("terminal"), "terminated").when(F.col("truncated"), "truncated").otherwise("none")
        return steps.select(
            "mdp_id",
            F.timestamp_seconds(second).alias("timestamp"),
            *(F.get("observation", F.lit(i)).alias(name) for i, name in enumerate(STATE)),
            F.col("action").cast("int").alias("action"),
            F.log("action_probability").alias("log_probability"),
            F.col("reward").alias("alive"),
            end.alias("end"),
        )

    def world(self):
        return CartPoleWorld()
"""


@pytest.mark.slow
def test_ten_thousand_recorded_steps(enter: Enter, tmp_path: Path):
    (tmp_path / "recorded.py").write_text(APPLICATION)
    application = {"application": "recorded.py:Recorded", "date": "2026-01-01"}
    trained = enter("train", **application, set="steps=5000")
    assert trained.exit_code == 0, trained.printed
    evaluated = enter("evaluate", **application)
    assert evaluated.exit_code == 0, evaluated.printed
    assert evaluated.run.data.metrics["sim/mean_return"] >= 195


@pytest.mark.slow
def test_one_simulated_day(enter: Enter):
    evaluated = enter("evaluate", seed=1)
    assert evaluated.exit_code == 0, evaluated.printed
    assert evaluated.run.data.metrics["sim/mean_return"] >= 195
