"""Every rule of the contract: one bad row among good ones, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from rlbake import Binary, Cadence, Category, Continuous, Discrete, MultiDiscrete, Number
from rlbake.errors import DataError
from rlbake.specs import Action
from rlbake.timesteps.contract import TIMESTEP, Checked, checked
from rlbake.timesteps.env_id import env_id

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCHEMA = (
    "player string, match int, timestamp timestamp, x double, vip boolean, country string, action string, "
    "click int, action_mask array<boolean>, log_probability double, end string, policy_version string"
)
GOOD: dict[str, Any] = {
    "player": "ann",
    "match": 1,
    "timestamp": NOON,
    "x": 0.5,
    "vip": True,
    "country": "DE",
    "action": "b",
    "click": 1,
    "action_mask": [False, True, True],
    "log_probability": -0.25,
    "end": "none",
    "policy_version": "rules",
}
OBSERVATION = (Number("x", low=-1, high=10), Binary("vip"), Category("country", ["DE", "US"]))


def check(frame: DataFrame, action: Action | None = None) -> Checked:
    return checked(
        frame,
        keys=("player", "match"),
        observation=OBSERVATION,
        action=action or Discrete(["a", "b", "c"]),
        metrics=("click",),
        window=Cadence(start="2026-01-01").window("2026-01-01"),
    )


def rows(spark: SparkSession, *changes: dict[str, Any], schema: str = SCHEMA) -> DataFrame:
    return spark.createDataFrame([tuple({**GOOD, **change}.values()) for change in changes], schema)


def refusal(found: Checked) -> str:
    (breach,) = found.breaches(found.rows)
    said = breach.described(found.rows.count())
    assert "\n" not in said
    return said


def stored(found: Checked) -> dict[str, Any]:
    assert found.breaches(found.rows) == []
    return found.rows.select(*TIMESTEP).first().asDict(recursive=True)


def test_a_good_row_in_its_stored_form(spark: SparkSession) -> None:
    found = check(rows(spark, {}))
    schema = {f.name: f.dataType.simpleString() for f in found.rows.select(*TIMESTEP).schema}
    assert schema == {
        "env_id": "string",
        "timestamp": "timestamp",
        "observation": "struct<x:float,vip:boolean,country:string>",
        "action": "int",
        "action_mask": "array<boolean>",
        "log_probability": "float",
        "metrics": "struct<click:float>",
        "end": "string",
        "policy_version": "string",
    }
    row = stored(found)
    del row["timestamp"]
    assert row == {
        "env_id": "ann|1",
        "observation": {"x": 0.5, "vip": True, "country": "DE"},
        "action": 1,
        "action_mask": [False, True, True],
        "log_probability": -0.25,
        "metrics": {"click": 1.0},
        "end": "none",
        "policy_version": "rules",
    }


def test_what_need_not_be_logged(spark: SparkSession) -> None:
    found = check(rows(spark, {}).drop("action_mask", "log_probability", "end", "policy_version"))
    row = stored(found)
    assert (row["action_mask"], row["log_probability"], row["end"], row["policy_version"]) == (None, None, "none", None)


def test_a_final_observation_has_no_action_and_no_metrics(spark: SparkSession) -> None:
    row = stored(check(rows(spark, {"action": None, "click": None, "end": "truncated"})))
    assert (row["action"], row["metrics"]) == (None, None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"player": None}, "NULL key (column player, match)"),
        ({"timestamp": None}, "NULL timestamp (column timestamp)"),
        ({"timestamp": datetime(2026, 1, 2, tzinfo=UTC)}, "outside the window [2026-01-01T00:00, 2026-01-02T00:00)"),
        ({"x": None}, "NULL feature (column x)"),
        ({"vip": None}, "NULL feature (column vip)"),
        ({"x": float("nan")}, "number not finite (column x)"),
        ({"x": 1e300}, "number not finite (column x)"),
        ({"x": 11.0}, "number outside [-1, 10] (column x)"),
        ({"country": "FR"}, "unknown category (column country)"),
        ({"action": "jump"}, "unknown action (column action)"),
        ({"click": None}, "NULL metric (column click)"),
        ({"log_probability": float("nan")}, "not a log-probability (column log_probability)"),
        ({"log_probability": 0.25}, "not a log-probability (column log_probability)"),
        ({"log_probability": float("-inf")}, "not a log-probability (column log_probability)"),
        ({"action_mask": [True, True]}, "mask of wrong length (column action_mask)"),
        ({"action_mask": [True, None, True]}, "mask of wrong length (column action_mask)"),
        ({"action_mask": [True, False, True]}, "action that its mask forbids (column action_mask)"),
        ({"end": "done"}, "unknown end (column end)"),
        ({"action": None, "end": "terminated"}, "terminated row without an action (column end)"),
    ],
)
def test_a_bad_row(spark: SparkSession, change: dict[str, Any], says: str) -> None:
    said = refusal(check(rows(spark, {"match": 2}, change, {"match": 3})))
    assert says in said
    assert "1 of 3 rows" in said


def test_five_examples_with_key_time_and_value_and_the_remedy(spark: SparkSession) -> None:
    said = refusal(check(rows(spark, *({"match": n, "log_probability": n / 10} for n in range(1, 8)))))
    assert "7 of 7 rows, for example ann|1 at 2026-01-01T12:00:00: 0.1; ann|2 at" in said
    assert "ann|5" in said
    assert "ann|6" not in said
    assert said.endswith("of a probability in (0, 1]: log the logarithm, or leave it NULL if unknown.")


def test_missing_columns_are_all_named_with_their_neighbours(spark: SparkSession) -> None:
    frame = rows(spark, {}).withColumnsRenamed({"x": "xx", "click": "clicks"})
    with pytest.raises(DataError, match=r"'x' is missing\. Did you mean 'xx'\?.*'click' is missing\. Did you mean 'cl"):
        check(frame)


@pytest.mark.parametrize(
    ("column", "type_", "says"),
    [
        ("timestamp", "string", "'timestamp' is STRING: it must be a TIMESTAMP"),
        ("timestamp", "timestamp_ntz", "'timestamp' is TIMESTAMP_NTZ: it must be a TIMESTAMP"),
        ("x", "string", "'x' is STRING: it must be a number"),
        ("vip", "string", "'vip' is STRING: a Binary feature must be boolean"),
        ("country", "int", "'country' is INT: a Category feature must be a string"),
        ("action", "double", "'action' is DOUBLE: a Discrete action must be a name or an integer"),
        ("click", "boolean", "'click' is BOOLEAN: it must be a number"),
        ("player", "double", "'player' is DOUBLE: a key must be"),
    ],
)
def test_a_wrong_type(spark: SparkSession, column: str, type_: str, says: str) -> None:
    with pytest.raises(DataError) as raised:
        check(rows(spark, {}).withColumn(column, F.lit(None).cast(type_)))
    assert says in str(raised.value)


def with_action(spark: SparkSession, value: str) -> DataFrame:
    return rows(spark, {"action_mask": None}).withColumn("action", F.expr(value))


def test_an_action_by_index(spark: SparkSession) -> None:
    assert stored(check(with_action(spark, "2L").drop("action_mask")))["action"] == 2
    assert "unknown action" in refusal(check(with_action(spark, "3000000000L")))
    assert "unknown action" in refusal(check(with_action(spark, "-1")))


def test_multi_discrete_actions(spark: SparkSession) -> None:
    action = MultiDiscrete({"item": ["sword", "bow"], "price": ["low", "mid", "high"]})
    assert stored(check(with_action(spark, "array('bow', 'high')"), action))["action"] == [1, 2]
    assert stored(check(with_action(spark, "array(0, 2)"), action))["action"] == [0, 2]
    for wrong in ("array('bow')", "array('bow', 'high', 'low')", "array('high', 'bow')", "array(0, 3)"):
        assert "Log one name or index for each of item, price" in refusal(check(with_action(spark, wrong), action))


def test_continuous_actions(spark: SparkSession) -> None:
    action = Continuous([0.0, -1.0], [0.1, 1.0], ["price", "tilt"])
    assert stored(check(with_action(spark, "array(0.1f, -1.0f)"), action))["action"] == pytest.approx([0.1, -1.0])
    assert "without exactly 2 numbers" in refusal(check(with_action(spark, "array(0.1)"), action))
    assert "without exactly 2 numbers" in refusal(check(with_action(spark, "array(0.1, null)"), action))
    for wrong in ("array(0.11, 0.0)", "array(0.0, double('nan'))"):
        assert "action out of bounds" in refusal(check(with_action(spark, wrong), action))


@pytest.mark.parametrize(
    ("logged", "rejected"), [("2.5", False), ("-9.0", False), ("'NaN'", True), ("'Infinity'", True)]
)
def test_a_density_may_exceed_one(spark: SparkSession, logged: str, rejected: bool) -> None:
    priced = with_action(spark, "array(0.5)").withColumn("log_probability", F.expr(f"double({logged})"))
    found = check(priced, Continuous([0.0], [1.0], ["price"]))
    if rejected:
        assert "natural logarithm of a density of the action, per unit of it" in refusal(found)
    else:
        assert stored(found)["log_probability"] == float(logged)


def test_only_discrete_actions_have_masks(spark: SparkSession) -> None:
    frame = rows(spark, {}).withColumn("action", F.expr("array(0.5)"))
    assert "Only Discrete actions can be masked" in refusal(check(frame, Continuous([0], [1], ["price"])))


def test_keys_are_joined_so_that_they_can_be_told_apart(spark: SparkSession) -> None:
    frame = spark.createDataFrame(
        [("a|b", "c"), ("a", "b|c"), ("a\\|b", "c"), ("a\\", "b|c"), (None, "c")], "k string, l string"
    )
    ids = [row[0] for row in frame.select(env_id(("k", "l"))).collect()]
    assert ids[:2] == ["a\\|b|c", "a|b\\|c"]
    assert len(set(ids)) == 5
    assert ids[-1] is None
    assert frame.select(env_id(("k",))).first()[0] == "a|b"
