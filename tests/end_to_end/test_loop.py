"""Players, a server and `main`, for two days: what is learned on the second is what was decided over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.live import LiveLevelDifficulty
from benchmarks.loop import days, draw, keep, kept
from rlbake.warehouse.table import Table

PLAYERS = 400


@pytest.mark.slow
def test_a_server_remembers_and_the_next_night_learns_from_it(
    tracking_uri: str, spark: SparkSession, tmp_path: Path
) -> None:
    lines = list(days("level_difficulty", 2, PLAYERS, 0, str(tmp_path), "steps=1500"))
    chance, served = lines
    first = f"main.rl.{LiveLevelDifficulty.name}/1"
    assert (chance.decided_by, chance.champion) == ("random", first)
    assert served.decided_by == first
    assert served.earned > chance.earned

    learned = Table(f"{tmp_path}/tables/{LiveLevelDifficulty.name}/trajectories").read(spark, windows=[served.ds])
    of_day = learned.agg(
        F.count("*").alias("decisions"),
        F.sum("reward").alias("reward"),
        F.countDistinct("env_id").alias("players"),
        F.count_if(F.expr("end = 'terminated'")).alias("ended"),
        F.collect_set("policy_version").alias("decided_by"),
        F.min(F.col("log_probability") <= 0).alias("known"),
    ).first()
    assert of_day is not None
    assert of_day["decisions"] == served.decisions
    assert of_day["reward"] / PLAYERS == pytest.approx(served.earned)
    assert of_day["players"] == of_day["ended"] == PLAYERS
    assert of_day["decided_by"] == [first]
    assert of_day["known"]

    keep(tmp_path / "loop.csv", lines)
    assert kept(tmp_path / "loop.csv") == lines
    assert draw(lines).startswith(b"\x89PNG")
