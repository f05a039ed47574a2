"""A small real policy, trained and exported as the train stage does it, and whom it decides for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Cadence
from rlbake.policies.exploration import Exploration
from rlbake.scoring.score import score
from rlbake.specs import Binary, Category, Discrete, Number
from rlbake.warehouse.table import Table

OBSERVATION = (
    Number("level", low=0),
    Number("spend"),
    Binary("payer"),
    Category("country", ["US", "DE", "JP"]),
)
ACTION = Discrete(["morning", "noon", "night"])
DAY = Cadence("2026-01-01").window("2026-01-05")
NEXT_DAY = Cadence("2026-01-01").window("2026-01-06")
ROWS = 12_000
VERSION = "main.rl.players/7"


@pytest.fixture(scope="session")
def policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A double DQN after a few steps of training; its epsilon is the default, 0.1."""
    from rlbake.dataset.transitions import Transitions
    from rlbake.policies.export import export_policy
    from rlbake.training.config import nested_config, resolve
    from rlbake.training.fit import fit

    rng, rows = np.random.default_rng(0), 256
    seen = {
        "level": rng.integers(0, 100, rows).astype(np.float32),
        "spend": (rng.normal(size=rows) / 10).astype(np.float32),
        "payer": rng.random(rows) < 0.5,
        "country": rng.choice(["US", "DE", "JP"], rows),
    }
    action = rng.integers(0, 3, rows).astype(np.int32)
    best = (seen["level"].astype(int) // 34 + seen["payer"]) % 3
    start = np.datetime64("2026-01-01", "us")
    played = Transitions(
        env_id=np.arange(rows).astype(str),
        timestamp=np.full(rows, start),
        next_timestamp=np.full(rows, np.datetime64("NaT", "us")),
        step_type=np.zeros(rows, np.int32),
        end=np.full(rows, "terminated"),
        observation=seen,
        action=action,
        log_probability=np.full(rows, -np.log(3), np.float32),
        reward=(action == best).astype(np.float64),
        discount=np.zeros(rows),
        next_observation=seen,
        next_action_mask=None,
    )
    set_ = "steps=300,batch_size=64,agent.layers=[16],agent.learning_rate=1e-2"
    config = resolve(nested_config(set_=set_), gamma=0.9)
    fitted = fit(played, played, observation=OBSERVATION, action=ACTION, config=config, seed=0)
    return export_policy(fitted, tmp_path_factory.mktemp("policy"))


def players(spark, rows: int = ROWS, partitions: int = 3):
    """player_id, the features and a mask that is NULL for every fifth player."""
    mask = F.array(*(F.pmod(F.col("id") + n, F.lit(4)) != 0 for n in range(3)))
    return spark.range(0, rows, 1, partitions).select(
        F.col("id").alias("player_id"),
        F.pmod(F.xxhash64("id"), F.lit(100)).cast("int").alias("level"),
        (F.pmod(F.xxhash64("id", F.lit("spend")), F.lit(1000)) / 2500.0 - 0.2).alias("spend"),
        (F.pmod(F.xxhash64("id", F.lit("payer")), F.lit(2)) == 0).alias("payer"),
        F.element_at(F.array(*map(F.lit, ["US", "DE", "JP"])), (F.col("id") % 3 + 1).cast("int")).alias("country"),
        F.when(F.col("id") % 5 != 0, mask).alias(v.ACTION_MASK),
    )


@pytest.fixture
def run(spark, policy_dir, tmp_path):
    """Scores a population into a table of the test's own; every argument has a default."""

    def run_(population=None, **changed):
        arguments = {
            "keys": ("player_id",),
            "observation": OBSERVATION,
            "action": ACTION,
            "policy_dir": policy_dir,
            "policy_version": VERSION,
            "window": DAY,
            "exploration": Exploration(temperature=0.05),
            "seed": 3,
            "output": Table(str(tmp_path / "scores")),
            "unscored": Table(str(tmp_path / "unscored")),
            "run_id": "run",
        }
        return score(players(spark, 50) if population is None else population, **arguments | changed)

    return run_
