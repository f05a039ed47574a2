"""Players, a server and `main`, for two days."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.live import LiveLevelDifficulty
from benchmarks.loop import Line, Loop, draw, keep, kept
from rlbake.period.build import build_trajectories

PLAYERS = 400
FIRST = f"main.rl.{LiveLevelDifficulty.name}/1"


@pytest.mark.slow
def test_what_a_server_decided_is_learned_from(tracking_uri: str, spark: SparkSession, tmp_path: Path) -> None:
    """A day by chance, a night of `main`, a day over HTTP; what was remembered is what the players lived."""
    with Loop("level_difficulty", PLAYERS, 0, str(tmp_path), "steps=1000") as loop:
        by_chance = loop.day()
        loop.night()
        assert (by_chance.by, loop.champion) == ({"random": 1.0}, FIRST)
        served = loop.day()
        build_trajectories(loop.period)
    assert served.by == {FIRST: 1.0}
    assert served.earned > by_chance.earned

    trajectories = loop.period.trajectories.read(spark)
    days = trajectories.groupBy("ds").agg(
        F.count("*").alias("decisions"),
        (F.sum("reward") / PLAYERS).alias("earned"),
        F.countDistinct("env_id").alias("players"),
        F.count_if(F.expr("end = 'terminated'")).alias("ended"),
        F.collect_set("policy_version").alias("decided_by"),
        F.max("log_probability").alias("likeliest"),
    )
    for lived, row in zip((by_chance, served), days.orderBy("ds").collect(), strict=True):
        assert row["decisions"] == lived.decisions
        assert row["earned"] == pytest.approx(lived.earned)
        assert (row["players"], row["ended"]) == (PLAYERS, PLAYERS)
        assert row["decided_by"] == list(lived.by)
        assert row["likeliest"] <= 0


def test_the_curve_is_kept_and_drawn(tmp_path: Path) -> None:
    line = Line("a", "2026-01-01", "random", 10, 1.0, 1.0, 3.0, 0.0, "main.rl.a/1", True, 1.5, 2.5)
    keep(tmp_path / "loop.csv", [line, replace(line, ds="2026-01-02", promoted=False)])
    assert kept(tmp_path / "loop.csv") == [line, replace(line, ds="2026-01-02", promoted=False)]
    assert draw(kept(tmp_path / "loop.csv")).startswith(b"\x89PNG")
    assert kept(tmp_path / "none.csv") == []
