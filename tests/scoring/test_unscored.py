"""Rows of a population that cannot be decided on: kept apart, told, and no hindrance to the others."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pytest
from pyspark.sql import Column
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.errors import ConfigError, DataError, StorageError
from rlbake.policies.exploration import Exploration
from rlbake.policies.export import export_policy
from rlbake.scoring.score import score
from rlbake.warehouse.table import Table
from tests.policies import conftest as linear
from tests.policies.conftest import linear_agent  # noqa: F401 # a fixture
from tests.scoring.conftest import DAY, NEXT_DAY, VERSION, players

UNSCORED = [v.ENV_ID, v.TIMESTAMP, v.RULE, v.COLUMN, v.VALUE, v.ROW, v.DS]


@pytest.fixture
def kept(spark, tmp_path):
    """What the tables hold of the day: players with their action, and rejected rows, in order."""

    def read():
        scores, unscored = Table(str(tmp_path / "scores")), Table(str(tmp_path / "unscored"))
        decided = scores.read(spark, windows=[DAY.ds]).orderBy("player_id").collect() if scores.exists() else []
        rejected = (
            unscored.read(spark, windows=[DAY.ds]).orderBy(v.ENV_ID, v.ROW).collect() if unscored.exists() else []
        )
        return {row.player_id: row[v.ACTION] for row in decided}, rejected

    return read


def only(player: int, column: str, value: Column) -> Column:
    return F.when(F.col("player_id") == player, value).otherwise(F.col(column)).alias(column)


@pytest.mark.parametrize(
    ("column", "value", "rule", "shown"),
    [
        ("spend", "nan", "not_finite", "NaN"),
        ("level", "-1", "out_of_range", "-1.0"),
        ("country", "FR", "unknown_category", "FR"),
        ("payer", None, "null_feature", None),
    ],
)
def test_a_bad_row_is_kept_whole_with_the_rule_it_breaks_and_the_rest_is_scored(
    run, spark, kept, column, value, rule, shown
):
    given = players(spark, 50)
    run(given)
    expected, _ = kept()
    type_ = given.schema[column].dataType
    result = run(given.withColumn(column, only(7, column, F.lit(value).cast(type_))))
    decided, rejected = kept()
    assert decided == {player: action for player, action in expected.items() if player != 7}
    assert (result.rows, result.rejected, [b.rule.name for b in result.breaches]) == (49, 1, [rule])
    (row,) = rejected
    assert list(row.asDict()) == UNSCORED
    assert (row.env_id, row.rule, row.column, row.value) == ("7", rule, column, shown)
    assert row.timestamp == datetime(2026, 1, 6)
    assert json.loads(row.row).keys() == {"player_id", "level", "spend", "payer", "country", v.ACTION_MASK}
    assert json.loads(row.row)["player_id"] == 7


def test_rows_without_a_key_and_masks_that_make_no_sense(run, spark, kept):
    nothing = F.array_repeat(F.lit(False), 3)
    masks = F.when(F.col("player_id") == 1, F.array(F.lit(True))).when(F.col("player_id") == 2, nothing)
    given = players(spark, 20).withColumn(v.ACTION_MASK, masks)
    result = run(given.withColumn("player_id", F.when(F.col("player_id") != 3, F.col("player_id"))))
    decided, rejected = kept()
    assert decided.keys() == set(range(20)) - {1, 2, 3}
    assert sorted(row.rule for row in rejected) == ["mask_empty", "mask_length", "null_key"]
    assert result.rejected == 3


def test_identical_rows_count_once_and_contradicting_ones_are_all_rejected(run, spark, kept):
    given = players(spark, 30)
    expected_of = run(given) and kept()[0]
    twice = given.union(given.where("player_id < 4"))
    other = given.where("player_id in (2, 9)").withColumn("spend", F.col("spend") + 1)
    bad = given.where("player_id = 5").withColumn("spend", F.lit(float("inf")).cast(given.schema["spend"].dataType))
    result = run(twice.union(other).union(bad))
    decided, rejected = kept()
    assert decided == {player: action for player, action in expected_of.items() if player not in (2, 9)}
    assert [(row.env_id, row.rule) for row in rejected] == [("2", "conflict")] * 3 + [("5", "not_finite")] + [
        ("9", "conflict")
    ] * 2
    assert (result.rows, result.rejected) == (28, 6)
    assert not run(twice.union(other).union(bad).orderBy(F.rand(3)), run_id="again").commit.changed


def test_a_row_without_finite_values_does_not_take_its_neighbours_down(spark, linear_agent, tmp_path):  # noqa: F811
    directory = export_policy(linear_agent(np.full((4, 3), 3e38, np.float32)), tmp_path / "policy")
    visits = spark.range(0, 400, 1, 2).select(
        F.col("id").alias("visit"),
        F.when(F.col("id").isin(5, 399), F.lit(1e30)).otherwise(10.0).alias("level"),
        F.lit(False).alias("payer"),
        F.lit("US").alias("country"),
    )
    scores, unscored = (Table(str(tmp_path / name)) for name in ("scores", "unscored"))

    def decide(population):
        return score(
            population, keys=("visit",), observation=linear.OBSERVATION, action=linear.ACTION,
            policy_dir=directory, policy_version=VERSION, window=DAY, exploration=Exploration(), seed=0,
            output=scores, unscored=unscored, run_id="run",
        )  # fmt: skip

    result = decide(visits)
    assert (result.rows, result.rejected) == (398, 2)
    rows = unscored.read(spark).orderBy(v.ENV_ID).collect()
    assert [(row.env_id, row.rule, row.value) for row in rows] == [
        ("399", "undecided", "level: 1.0E30"), ("5", "undecided", "level: 1.0E30")
    ]  # fmt: skip
    assert json.loads(rows[0].row) == {
        "visit": 399,
        "level": 1e30,
        "payer": False,
        "country": "US",
        v.ACTION_MASK: None,
    }
    assert not scores.read(spark).where(F.col("visit").isin(5, 399)).count()
    with pytest.raises(DataError, match=r"nobody can be decided on. row that the policy has no finite action values"):
        decide(visits.withColumn("level", F.lit(1e30)))
    assert scores.read(spark).count() == 398


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.withColumn("spend", F.expr("nullif(spend, spend)")), r"NULL feature \(column spend\): 50 of 50"),
        (lambda p: p.withColumn("country", F.lit("FR")), r"unknown category \(column country\): 50 of 50.*0 at .*FR"),
        (lambda p: p.withColumn("player_id", F.lit(1)), r"rows that contradict each other .*: 50 of 50"),
    ],
)
def test_it_fails_where_nobody_is_left(run, spark, kept, change, says):
    run(players(spark, 50))
    before, _ = kept()
    with pytest.raises(DataError, match=f"population: nobody can be decided on. {says}.*All are in .*unscored, ds="):
        run(change(players(spark, 50)))
    decided, rejected = kept()
    assert decided == before
    assert len(rejected) == 50


def test_what_is_put_right_leaves_the_table_of_rejected_rows(run, spark, kept, tmp_path):
    given = players(spark, 20)
    broken = given.withColumn("level", only(3, "level", F.lit(-1)))
    run(broken, window=NEXT_DAY)
    run(broken)
    assert [row.env_id for row in kept()[1]] == ["3"]
    run(given)
    assert kept()[1] == []
    assert Table(str(tmp_path / "unscored")).read(spark, windows=[NEXT_DAY.ds]).count() == 1


def test_cut_short_between_the_two_tables_it_is_made_good_by_running_it_again(run, spark, kept, tmp_path):
    given = players(spark, 20).withColumn("level", only(3, "level", F.lit(-1)))

    class Full(Table):
        def _commit(self, *_):
            raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="full"):
        run(given, output=Full(str(tmp_path / "scores")))
    assert not Table(str(tmp_path / "scores")).exists()
    run(given)
    first = kept()
    version = Table(str(tmp_path / "unscored")).version()
    assert not run(given).commit.changed
    assert kept() == first
    assert Table(str(tmp_path / "unscored")).version() == version == 0


def test_a_floor_that_is_too_much(run, spark, kept):
    given = players(spark, 40)
    with pytest.raises(ConfigError, match=r"floor 0\.4 is too much: 3 allowed actions can have 0\.333333 each at most"):
        run(given.drop(v.ACTION_MASK), exploration=Exploration(floor=0.4))
    run(given, exploration=Exploration(floor=0.4))
    decided, rejected = kept()
    masks = {row.player_id: row[v.ACTION_MASK] for row in given.collect()}
    fit = {player for player, mask in masks.items() if mask is not None and sum(mask) <= 2}
    assert decided.keys() == fit
    assert fit
    assert {row.env_id for row in rejected} == {str(player) for player in masks.keys() - fit}
    assert {row.rule for row in rejected} == {"floor"}


def test_the_floor_and_epsilon_reach_the_decisions(run, spark, tmp_path):
    run(players(spark, 3000).drop(v.ACTION_MASK), exploration=Exploration(explore=False, epsilon=0.3, floor=0.05))
    rows = Table(str(tmp_path / "scores")).read(spark).toPandas()
    uniform = 0.85 * 0.1 + 0.05
    seen = np.exp(rows[v.LOG_PROBABILITY])
    best = seen > 0.5
    np.testing.assert_allclose(seen[best], 1 - 2 * uniform, rtol=1e-5)
    np.testing.assert_allclose(seen[~best], uniform, rtol=1e-5)
    assert abs(best.mean() - (1 - 2 * uniform)) < 4 * np.sqrt(uniform / len(rows))
