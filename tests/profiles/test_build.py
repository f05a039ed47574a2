"""Spark and numpy take the same profile of the same rows, and a profile says which rows it is of."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Cadence
from rlbake.errors import NotFoundError
from rlbake.features import stored
from rlbake.features.profile import BINARY, CATEGORY, GRID, NUMBER, Profile, merge_all, profile_of
from rlbake.profiles.build import profile_window, profiled
from rlbake.specs import Binary, Category, Continuous, Discrete, MultiDiscrete, Number
from rlbake.warehouse.table import Table

OBSERVATION = (
    Number("level"),
    Number("spend", optional=True),
    Number("never", optional=True),
    Binary("payer", optional=True),
    Category("country", ["US", "DE"], optional=True),
)
ACTION = Discrete(["wait", "offer", "gift"])
CADENCE = Cadence(start="2026-01-01")
FIRST, SECOND = CADENCE.window("2026-01-01"), CADENCE.window("2026-01-02")


def columns(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "level": rng.integers(-3, 300, rows).astype(np.float64),
        "spend": np.where(rng.random(rows) < 0.3, np.nan, rng.lognormal(0, 2, rows).astype(np.float32)),
        "never": np.full(rows, np.nan),
        "payer": rng.choice([0.0, 1.0, np.nan], rows),
        "country": rng.choice(["US", "DE", ""], rows).astype(object),
    }


def trajectories(spark: SparkSession, seen: dict[str, np.ndarray]) -> Any:
    rows = len(seen["level"])
    flat = pd.DataFrame({**seen, "n": np.arange(rows), "end": [v.NOT_ENDED] * (rows - 1) + [v.TERMINATED]})
    number = {name: F.nanvl(name, F.lit(None).cast("double")).cast("float") for name in ("level", "spend", "never")}
    features = [column.alias(name) for name, column in number.items()]
    features.append(F.nanvl("payer", F.lit(None).cast("double")).cast("boolean").alias("payer"))
    features.append(F.nullif("country", F.lit("")).alias("country"))
    return spark.createDataFrame(flat).select(
        F.col("n").cast("string").alias(v.ENV_ID),
        F.timestamp_seconds("n").alias(v.TIMESTAMP),
        F.struct(*features).alias(v.OBSERVATION),
        (F.col("n") % 3).cast("int").alias(v.ACTION),
        F.when(F.col("n") > 0, F.lit(-0.5)).cast("float").alias(v.LOG_PROBABILITY),
        F.struct((F.col("n") % 2).cast("float").alias("click")).alias(v.METRICS),
        (F.col("n") % 2).cast("double").alias(v.REWARD),
        v.END,
        F.when(F.col(v.END) == v.NOT_ENDED, F.lit(60.0)).alias(v.TIME_GAP),
    )


def assert_alike(one: Profile, other: Profile) -> None:
    a, b = asdict(one), asdict(other)
    quantiles = a.pop("quantiles"), b.pop("quantiles")
    for name in ("low", "high", "mean", "m2", "m3", "m4"):
        x, y = a.pop(name), b.pop(name)
        assert x is y is None or x == pytest.approx(y, rel=1e-9), name
    assert a == b
    assert len(quantiles[0]) == len(quantiles[1])


def test_spark_and_numpy_agree(spark):
    seen = columns(3000, 0)
    engine = profiled(trajectories(spark, seen), 3000, observation=OBSERVATION, action=ACTION, metrics=["click"])
    for name, profile in profile_of(seen, OBSERVATION).items():
        assert_alike(engine[name], profile)
    spend = np.sort(seen["spend"][~np.isnan(seen["spend"])])
    ranks = np.searchsorted(spend, engine["observation.spend"].quantiles) / len(spend)
    np.testing.assert_allclose(ranks, GRID, atol=0.002)


def test_everything_of_a_transition_is_profiled(spark):
    of = profiled(trajectories(spark, columns(9, 0)), 9, observation=OBSERVATION, action=ACTION, metrics=["click"])
    assert of[v.ACTION] == Profile(CATEGORY, 9, 0, counts={"gift": 3, "offer": 3, "wait": 3})
    assert of[v.END] == Profile(CATEGORY, 9, 0, counts={"none": 8, "terminated": 1})
    assert (of["metrics.click"].mean, of["metrics.click"].small) == (4 / 9, (0, 1))
    assert (of[v.REWARD].whole, of[v.REWARD].high) == (9, 1.0)
    assert (of[v.TIME_GAP].missing, of[v.TIME_GAP].low, of[v.TIME_GAP].varies) == (1, 60.0, False)
    assert (of[v.LOG_PROBABILITY].missing, of[v.LOG_PROBABILITY].mean) == (1, -0.5)
    assert of["observation.never"] == Profile(NUMBER, 9, 9)
    assert of["observation.payer"].kind == BINARY


def test_actions_of_several_parts(spark):
    rows = trajectories(spark, columns(6, 0))
    prices = rows.withColumn(v.ACTION, F.array(F.lit(1.5), F.lit(2.5)))
    of = profiled(prices, 6, observation=(), action=Continuous([0, 0], [9, 9], ["low", "high"]), metrics=[])
    assert (of["action.low"].mean, of["action.high"].mean) == (1.5, 2.5)
    both = rows.withColumn(v.ACTION, F.array(F.lit(0), (F.col(v.ACTION) % 2).cast("int")))
    sets = MultiDiscrete({"size": ["small", "large"], "colour": ["red", "blue"]})
    of = profiled(both, 6, observation=(), action=sets, metrics=[])
    assert (of["action.size"].counts, of["action.colour"].counts) == ({"small": 6}, {"blue": 2, "red": 4})


def test_a_sample_gives_the_quantiles_of_many_rows(spark):
    rows = 400_000
    many = spark.range(rows).select(
        F.col("id").cast("string").alias(v.ENV_ID),
        F.timestamp_seconds("id").alias(v.TIMESTAMP),
        F.struct(F.col("id").cast("float").alias("level")).alias(v.OBSERVATION),
        F.lit(0).alias(v.ACTION),
        *(F.lit(0.0).alias(name) for name in (v.REWARD, v.TIME_GAP, v.LOG_PROBABILITY)),
        F.lit(v.NOT_ENDED).alias(v.END),
    )
    level = profiled(many, rows, observation=OBSERVATION[:1], action=ACTION, metrics=[])["observation.level"]
    assert (level.low, level.high, level.quantiles[0], level.quantiles[-1]) == (0, rows - 1, 0, rows - 1)
    np.testing.assert_allclose(np.array(level.quantiles) / rows, GRID, atol=0.01)


@pytest.fixture
def window(spark, tmp_path):
    """Builds a window of trajectories and profiles it."""

    def build(window, rows=50, seed=0, digest="config", profile_too=True):
        frame = trajectories(spark, columns(rows, seed))
        Table(f"{tmp_path}/{v.TRAJECTORIES_TABLE}").replace_window(frame, window.ds, run_id="r", config_digest=digest)
        if not profile_too:
            return None
        return profile_window(
            spark, tables=str(tmp_path), window=window, observation=OBSERVATION, action=ACTION, metrics=["click"],
            run_id="r", config_digest=digest,
        )  # fmt: skip

    return build


def test_a_profile_is_read_back_as_it_was_taken(window, tmp_path):
    taken = [window(FIRST, seed=1), window(SECOND, seed=2)]
    read = stored.read_profiles(str(tmp_path), [FIRST.ds, SECOND.ds])
    assert read == taken
    merged = merge_all(read)
    both = {n: np.concatenate([columns(50, 1)[n], columns(50, 2)[n]]) for n in columns(1, 0)}
    for name, profile in profile_of(both, OBSERVATION).items():
        assert_alike(merged[name], profile)
    assert stored.from_rows(stored.to_rows(merged)) == merged


def test_a_window_may_hold_no_transition(spark):
    none = trajectories(spark, columns(9, 0)).limit(0)
    of = profiled(none, 0, observation=OBSERVATION, action=ACTION, metrics=["click"])
    assert of["observation.level"] == Profile(NUMBER, 0, 0)
    assert of[v.ACTION] == Profile(CATEGORY, 0, 0)


def test_a_window_is_profiled_once(window, tmp_path):
    window(FIRST)
    profiles = Table(f"{tmp_path}/{v.PROFILES_TABLE}")
    version = profiles.version()
    window(FIRST)
    assert profiles.version() == version
    window(FIRST, seed=3)
    assert profiles.version() == version + 1


@pytest.mark.parametrize("change", [{"seed": 1}, {"digest": "other"}])
def test_a_profile_of_other_rows_is_refused(window, tmp_path, change):
    window(FIRST)
    window(SECOND)
    window(SECOND, profile_too=False, **change)
    with pytest.raises(NotFoundError, match=r"1 stale \(2026-01-02\).*Build these windows again"):
        stored.read_profiles(str(tmp_path), [FIRST.ds, SECOND.ds])
    assert len(stored.read_profiles(str(tmp_path), [FIRST.ds])) == 1
    window(SECOND, **change)
    assert len(stored.read_profiles(str(tmp_path), [FIRST.ds, SECOND.ds])) == 2


def test_a_window_without_a_profile_is_named(window, tmp_path):
    window(FIRST)
    window(SECOND, profile_too=False)
    with pytest.raises(NotFoundError, match=r"1 missing \(2026-01-02\)"):
        stored.read_profiles(str(tmp_path), [FIRST.ds, SECOND.ds])


def test_no_profiles_at_all(window, tmp_path):
    window(FIRST, profile_too=False)
    with pytest.raises(NotFoundError, match="no table"):
        stored.read_profiles(str(tmp_path), [FIRST.ds])
