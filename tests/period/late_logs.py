"""An application whose logs lie in one folder per day, into which rows may be written late."""

from pathlib import Path

from pyspark.sql import functions as F

import rlbake

SCHEMA = "player string, timestamp timestamp, x double, action string, click double, end string"


class LateLogs(rlbake.Application):
    name = "late_logs"
    keys = ("player",)
    cadence = rlbake.Cadence(start="2026-01-01", training_window=3, episode_timeout="30h", lateness="3d")
    observation = (rlbake.Number("x", high=100),)
    action = rlbake.Discrete(["a", "b"])
    metrics = ("click",)
    reward = {"click": 2.0}
    max_rejected = 1.0

    def timesteps(self, spark, window):
        folder = Path(self.tables).parent / "logs" / f"ds={window.ds}"
        return spark.read.schema(SCHEMA).parquet(str(folder)) if folder.exists() else spark.createDataFrame([], SCHEMA)


class OfRules(LateLogs):
    """Whoever decided left nothing to chance."""

    def timesteps(self, spark, window):
        return super().timesteps(spark, window).withColumn("log_probability", F.lit(0.0))
