"""Scoring several choices at once, and numbers: the policy's own decisions, named and repeatable."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.cadence import Cadence
from rlbake.errors import DataError, SpecError
from rlbake.evaluation.estimators import ONE_STEP
from rlbake.policies.exploration import Exploration
from rlbake.policies.export import export_policy
from rlbake.policies.saved import SavedPolicy
from rlbake.scoring import joint
from rlbake.scoring.evaluation import evaluate_on_spark
from rlbake.scoring.score import noise, score
from rlbake.scoring.shipment import pack
from rlbake.specs import Continuous, Discrete, MultiDiscrete
from rlbake.warehouse.table import Table
from tests.vector_agents import BUNDLE, OBSERVATION, PRICES, bundle_agent, price_agent

DAY = Cadence("2026-01-01").window("2026-01-05")
VERSION = "main.rl.shop/2"
FEATURES = [feature.name for feature in OBSERVATION]
ROWS = 6_000  # more than the worker decides on at once


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    return {
        MultiDiscrete: export_policy(bundle_agent(), folder / "bundles"),
        Continuous: export_policy(price_agent(), folder / "prices"),
    }


def visitors(spark, rows: int = 40, partitions: int = 2):
    return spark.range(0, rows, 1, partitions).select(
        F.col("id").alias("player_id"),
        (F.pmod(F.xxhash64("id"), F.lit(160)) / 10).alias("level"),
        (F.col("id") % 2 == 0).alias("payer"),
        F.element_at(F.array(F.lit("US"), F.lit("DE")), (F.col("id") % 2 + 1).cast("int")).alias("country"),
    )


@pytest.fixture
def run(spark, policies, tmp_path):
    def run_(action, population=None, **changed):
        arguments = {
            "keys": ("player_id",),
            "observation": OBSERVATION,
            "action": action,
            "policy_dir": policies.get(type(action)),
            "policy_version": VERSION,
            "window": DAY,
            "exploration": Exploration(),
            "seed": 3,
            "output": Table(str(tmp_path / "scores")),
            "unscored": Table(str(tmp_path / "unscored")),
            "run_id": "run",
        }
        return score(visitors(spark) if population is None else population, **arguments | changed)

    return run_


@pytest.fixture
def rows(spark, tmp_path):
    """The scores, with the noise that they were drawn with; sorted by player."""

    def read() -> pd.DataFrame:
        scored = Table(str(tmp_path / "scores")).read(spark, windows=[DAY.ds])
        named = scored.withColumn("noise", noise(("player_id",), DAY, 3)).select("*", f"{v.OBSERVATION}.*")
        return named.toPandas().sort_values("player_id", ignore_index=True)

    return read


def in_process(policy_dir, frame: pd.DataFrame, explore: bool = True):
    policy = SavedPolicy(policy_dir, VERSION, explore=explore)
    return policy.decide({name: frame[name].to_numpy() for name in FEATURES}, frame["noise"].to_numpy())


def test_several_choices_are_those_of_the_policy_in_process(run, rows, spark, policies):
    assert run(BUNDLE, visitors(spark, ROWS)).rows == ROWS
    frame = rows()
    expected = in_process(policies[MultiDiscrete], frame)
    np.testing.assert_array_equal(np.stack(frame[v.ACTION_INDEX]), expected.action)
    np.testing.assert_allclose(frame[v.LOG_PROBABILITY], expected.log_probability, rtol=1e-5)
    names = [[of[index] for index, (_, of) in zip(row, BUNDLE.sets, strict=True)] for row in expected.action]
    assert [list(row) for row in frame[v.ACTION]] == names
    assert len(np.unique(expected.action, axis=0)) == 6  # every combination was shown to somebody


def test_numbers_are_those_of_the_policy_in_process(run, rows, spark, policies):
    assert run(PRICES, visitors(spark, ROWS)).rows == ROWS
    frame = rows()
    expected = in_process(policies[Continuous], frame)
    np.testing.assert_allclose(np.stack(frame[v.ACTION]), expected.action, rtol=1e-5)
    np.testing.assert_allclose(frame[v.LOG_PROBABILITY], expected.log_probability, rtol=1e-4, atol=1e-5)
    assert frame[v.ACTION_INDEX].isna().all()


@pytest.mark.parametrize(
    ("action", "types"),
    [(BUNDLE, ("array<string>", "array<int>")), (PRICES, ("array<float>", "int"))],
)
def test_a_rerun_makes_no_new_version_and_another_seed_replaces(run, spark, tmp_path, action, types):
    first, again = run(action), run(action, visitors(spark, partitions=3).orderBy(F.rand(1)), run_id="another run")
    assert (first.commit.changed, again.commit.changed) == (True, False)
    assert run(action, seed=4).commit.changed
    scored = Table(str(tmp_path / "scores")).read(spark)
    assert scored.count() == 40
    kept = dict(scored.dtypes)
    assert (kept[v.ACTION], kept[v.ACTION_INDEX], kept[v.LOG_PROBABILITY]) == (*types, "float")


def test_the_best_numbers_have_no_log_probability(run, rows, policies):
    run(PRICES, exploration=Exploration(explore=False))
    frame = rows()
    assert frame[v.LOG_PROBABILITY].isna().all()
    expected = in_process(policies[Continuous], frame, explore=False)
    np.testing.assert_allclose(np.stack(frame[v.ACTION]), expected.action, rtol=1e-5)


@pytest.mark.parametrize(
    ("action", "instead", "says"),
    [
        (BUNDLE, PRICES, r"price in \[1, 20\], share in \[0, 1\] instead of item \(sword, shield, cape\), discount \("),
        (PRICES, BUNDLE, r"\(none, half\) instead of price in"),
        (Continuous([1, 0], [30, 1], ["price", "share"]), PRICES, r"share in \[0, 1\] instead of price in \[1, 30\]"),
        (MultiDiscrete(dict(reversed(BUNDLE.sets))), BUNDLE, r"instead of discount \(none, half\), item \("),
        (Discrete(["a", "b"]), BUNDLE, r"instead of a, b"),
    ],
)
def test_other_actions_than_the_policys_are_refused(run, policies, action, instead, says):
    with pytest.raises(SpecError, match=says):
        run(action, policy_dir=policies[type(instead)])


@pytest.mark.parametrize("action", [BUNDLE, PRICES])
def test_a_mask_is_refused(run, spark, tmp_path, action):
    with pytest.raises(DataError, match="Only Discrete actions can be masked"):
        run(action, visitors(spark).withColumn(v.ACTION_MASK, F.array(F.lit(True))))
    assert not Table(str(tmp_path / "scores")).exists()


def test_numbers_and_their_combinations_are_told_apart_on_spark_as_in_memory(spark):
    action = MultiDiscrete({"a": "xyz", "b": "vw", "c": "klmn"})
    number = np.arange(24)
    frame = spark.createDataFrame([*((int(n),) for n in number), (None,)], "n int")
    split = frame.select("n", joint.indices(F.col("n"), action).alias("each"), joint.names(F.col("n"), action))
    *found, missing = sorted(split.collect(), key=lambda row: 24 if row.n is None else row.n)
    assert [row.each for row in found] == action.split(number).tolist()
    assert ["+".join(row[2]) for row in found] == list(action.joint().names)
    assert tuple(missing) == (None, None, None)
    back = split.select("n", joint.flat(F.col("each"), action).alias("number")).collect()
    assert all(row.n == row.number for row in back)


def shown(spark, rows: int = 300):
    """Trajectories of one step: who saw what, was shown which combination, with which probability, and paid."""
    random = np.random.default_rng(5)
    chosen = BUNDLE.split(random.integers(0, 6, rows))
    seen = zip(random.normal(10, 2, rows), random.random(rows) < 0.5, random.choice(["US", "DE"], rows), strict=True)
    table = [
        (
            f"player {n % 60}",
            (float(level), bool(payer), str(country)),
            chosen[n].tolist(),
            float(-np.log(6)),
            (float(n % 5),),
        )
        for n, (level, payer, country) in enumerate(seen)
    ]
    schema = (
        "env_id string, observation struct<level: float, payer: boolean, country: string>, action array<int>, "
        "log_probability float, metrics struct<paid: float>"
    )
    return spark.createDataFrame(table, schema).withColumn(v.ACTION_MASK, F.lit(None).cast("array<boolean>"))


def test_logged_choices_weigh_on_spark_what_they_do_in_memory(spark, policies):
    frame, directory = shown(spark), policies[MultiDiscrete]
    policy = pack(directory, observation=OBSERVATION, action=BUNDLE, exploration=Exploration())
    found = evaluate_on_spark(
        frame, policies={"agent": policy}, values={}, estimators={"ips": ONE_STEP["ips"]()}, sequential=False,
        observation=OBSERVATION, action=BUNDLE, reward={"paid": 1.0}, units=16,
    )["agent"]  # fmt: skip
    rows = frame.select("*", f"{v.OBSERVATION}.*", "metrics.paid").toPandas()
    probabilities = SavedPolicy(directory, VERSION, explore=True).probabilities(
        {name: rows[name].to_numpy() for name in FEATURES}
    )
    weight = 6 * probabilities[np.arange(len(rows)), BUNDLE.flat(np.stack(rows[v.ACTION]))]
    assert found.moments.total == pytest.approx(weight.sum(), rel=1e-5)
    value = ONE_STEP["ips"]().value(found.components["ips"].sum(axis=0))
    assert float(value) == pytest.approx((weight * rows["paid"]).mean(), rel=1e-5)
