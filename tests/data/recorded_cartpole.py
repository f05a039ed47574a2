"""CartPole from a file of recorded steps, as somebody else logged them."""

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import rlbake
from rlbake.scenarios.cartpole import CartPoleWorld

LOG = Path(__file__).parent / "cartpole_random_10k.parquet"
STATE = ("position", "velocity", "angle", "angular_velocity")


class RecordedCartPole(rlbake.Application):
    name = "recorded_cartpole"
    keys = ("mdp_id",)
    cadence = rlbake.Cadence(start="2026-01-01", training_window=1)
    observation = tuple(rlbake.Number(name) for name in STATE)
    action = rlbake.Discrete(["left", "right"])
    metrics = ("alive",)
    reward = {"alive": 1.0}
    gamma = 0.99

    def timesteps(self, spark: SparkSession, window: rlbake.Window) -> DataFrame:
        steps = spark.read.parquet(str(LOG))
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

    def world(self) -> CartPoleWorld:
        return CartPoleWorld()
