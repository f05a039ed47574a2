"""ReAgent's table, read as it is: to timesteps, and to trajectories."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from rlbake import Application, Binary, Cadence, Category, Continuous, Discrete, Number
from rlbake.errors import DataError, SpecError
from rlbake.sources import Folder, ReAgent
from rlbake.trajectories.build import build_window
from rlbake.warehouse.table import Table
from tests.sources.conftest import shown, window_of

SCHEMA = (
    "mdp_id string, sequence_number int, state_features map<bigint, double>, action string, reward double, "
    "possible_actions array<string>, action_probability double, ds string"
)
BOTH, DAY = ["left", "right"], "2026-01-02"
ROWS: list[tuple[Any, ...]] = [
    ("7", 0, {0: 0.1, 1: 1.0}, "left", 1.0, BOTH, 0.5, DAY),
    ("7", 1, {0: 0.2}, "right", 2.0, ["right"], 1.0, DAY),
    ("7", 5, {0: 0.3, 1: 0.0, 2: 9.0}, "left", 3.0, None, None, DAY),
    ("8", 0, {0: 0.4, 1: 1.0}, "right", 4.0, ["right", "left"], 0.25, DAY),
    ("9", 0, {0: 0.5, 1: 1.0}, "right", 5.0, BOTH, 0.25, "2026-01-03"),
]
FEATURES = {"0": "x", "1": "odd"}


class Cart(Application):
    name = "cart"
    keys = ("mdp_id",)
    cadence = Cadence(start="2026-01-01")
    observation = (Number("x"), Binary("odd", optional=True))
    action = Discrete(["right", "left"])
    metrics = ("reward",)
    reward = {"reward": 1.0}


def reading(source_: ReAgent, **changes: Any) -> Application:
    return type("Reading", (Cart,), {"source": source_, **changes})()


@pytest.fixture
def table(spark: SparkSession, tmp_path: Path) -> Folder:
    spark.createDataFrame(ROWS, SCHEMA).write.partitionBy("ds").parquet(str(tmp_path / "table"))
    return Folder(str(tmp_path / "table"))


def test_rows_become_timesteps(spark: SparkSession, table: Folder) -> None:
    source = ReAgent(table, FEATURES, last="terminated", step="1min")
    frame = reading(source).timesteps(spark, window_of(2))
    assert shown(frame, "mdp_id", "string(timestamp)", "x", "odd", "action", "action_mask", "reward", "end") == [
        ("7", "2026-01-02 00:00:00", 0.1, True, "left", [True, True], 1.0, "none"),
        ("7", "2026-01-02 00:01:00", 0.2, None, "right", [True, False], 2.0, "none"),  # no key 1: missing, not 0
        ("7", "2026-01-02 00:05:00", 0.3, False, "left", None, 3.0, "terminated"),  # no list: all are possible
        ("8", "2026-01-02 00:00:00", 0.4, True, "right", [True, True], 4.0, "terminated"),
    ]
    assert [row[1] for row in shown(frame, "reward", "log_probability")] == [math.log(0.5), 0.0, None, math.log(0.25)]
    assert {Path(file).parent.name for file in frame.inputFiles()} == {"ds=2026-01-02"}
    assert source.lineage(window_of(2)) == [("timesteps", table.path)]


@pytest.mark.parametrize(("last", "end"), [("terminated", "terminated"), ("truncated", "truncated"), ("open", None)])
def test_what_the_last_row_is_must_be_said(spark: SparkSession, table: Folder, last: str, end: str | None) -> None:
    frame = reading(ReAgent(table, FEATURES, last=last)).timesteps(spark, window_of(2))
    if end is None:
        assert "end" not in frame.columns
    else:
        assert shown(frame, "reward", "end") == [(1.0, "none"), (2.0, "none"), (3.0, end), (4.0, end)]
    with pytest.raises(TypeError, match="last"):
        ReAgent(table, FEATURES)  # type: ignore[call-arg]
    with pytest.raises(SpecError, match="Did you mean 'truncated'"):
        ReAgent(table, FEATURES, last="truncate")


def test_bad_rows_reach_the_contract_as_bad(spark: SparkSession, tmp_path: Path) -> None:
    rows = [
        ("1", 0, {0: 1.0}, "left", 1.0, BOTH, 0.0, DAY),  # a probability that cannot be, not one that is unknown
        ("2", 0, {0: 1.0}, "left", 1.0, BOTH, -0.5, DAY),
        ("3", 0, {0: 1.0}, "left", 1.0, ["left", "up"], 0.5, DAY),  # an action that the application lacks
        ("4", None, None, None, None, None, None, DAY),
        ("5", 0, {0: 1.0, 1: 0.5}, "left", 1.0, [], 0.5, None),
    ]
    spark.createDataFrame(rows, SCHEMA).write.partitionBy("ds").parquet(str(tmp_path / "t"))
    frame = reading(ReAgent(Folder(str(tmp_path / "t")), FEATURES, last="open")).timesteps(spark, window_of(2))
    assert shown(frame, "mdp_id", "string(timestamp)", "x", "odd", "log_probability", "action_mask") == [
        ("1", "2026-01-02 00:00:00", 1.0, None, -math.inf, [True, True]),
        ("2", "2026-01-02 00:00:00", 1.0, None, -math.inf, [True, True]),
        ("3", "2026-01-02 00:00:00", 1.0, None, math.log(0.5), [False, True, True]),
        ("4", None, None, None, None, None),
        ("5", None, 1.0, None, math.log(0.5), [False, False]),
    ]


def test_a_timestamp_of_the_source_and_other_names_are_taken(spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.createDataFrame(ROWS, SCHEMA).selectExpr(
        "mdp_id AS episode_id", "1767312000L + sequence_number AS sequence_number", "reward", "possible_actions",
        "transform_keys(state_features, (key, value) -> string(key)) AS state_features",
        "action", "action_probability", "replace(ds, '-', '/') AS day",
    )  # fmt: skip
    frame.write.json(str(tmp_path / "json"))
    schema = (
        "episode_id string, sequence_number bigint, state_features map<string, double>, action string, reward double, "
        "possible_actions array<string>, action_probability double, day string"
    )
    columns = {
        "mdp_id": "episode_id",
        "timestamp": "timestamp_seconds(sequence_number)",
        "ds": "replace(day, '/', '-')",
    }
    source = ReAgent(
        Folder(str(tmp_path / "json"), format="json", schema=schema, columns=columns), FEATURES, last="open"
    )
    rows = reading(source).timesteps(spark, window_of(2))
    assert shown(rows, "mdp_id", "string(timestamp)", "x", "odd") == [
        ("7", "2026-01-02 00:00:00", 0.1, True),
        ("7", "2026-01-02 00:00:01", 0.2, None),
        ("7", "2026-01-02 00:00:05", 0.3, False),
        ("8", "2026-01-02 00:00:00", 0.4, True),
    ]


@pytest.mark.parametrize(
    ("changes", "features", "error", "says"),
    [
        ({}, {"0": "xx"}, SpecError, "reads state feature '0' as 'xx'. Did you mean 'x'"),
        ({}, {"x": "x"}, SpecError, "keys of state_features are integers, and 'x' is none"),
        ({"observation": (Category("x", ["a"]),)}, {"0": "x"}, SpecError, "a Category is text: derive it"),
        ({"action": Continuous([0.0], [1.0], ["a"])}, FEATURES, SpecError, "must be Discrete"),
        ({"cadence": Cadence(start="2026-01-01", every="1h")}, FEATURES, SpecError, "must be whole days in UTC"),
    ],
)
def test_applications_that_do_not_fit(
    spark: SparkSession, table: Folder, changes: dict[str, Any], features: dict[str, str], error: type, says: str
) -> None:
    application = reading(ReAgent(table, features, last="open"), **changes)
    with pytest.raises(error, match=says):
        application.timesteps(spark, application.cadence.window("2026-01-02"))


def test_tables_that_are_not_reagents(spark: SparkSession, tmp_path: Path) -> None:
    frame = spark.createDataFrame(ROWS, SCHEMA)
    frame.withColumnRenamed("possible_actions", "possible_action").write.parquet(str(tmp_path / "renamed"))
    frame.withColumn("state_features", F.map_keys("state_features")).write.parquet(str(tmp_path / "listed"))
    for name, says in {"renamed": "Did you mean 'possible_action'", "listed": "array<bigint>, not a map"}.items():
        with pytest.raises(DataError, match=says):
            reading(ReAgent(Folder(str(tmp_path / name)), FEATURES, last="open")).timesteps(spark, window_of(2))


def test_from_a_declared_reagent_table_to_trajectories(spark: SparkSession, tmp_path: Path, table: Folder) -> None:
    application = reading(ReAgent(table, FEATURES, last="terminated"))
    for day in (2, 3):
        window = window_of(day)
        built = build_window(
            application.timesteps(spark, window),
            tables=str(tmp_path / "tables"),
            keys=application.keys,
            observation=application.observation,
            action=application.action,
            metrics=application.metrics,
            reward=application.reward,
            window=window,
            previous=application.cadence.previous(window),
            episode_timeout=application.cadence.episode_timeout,
            run_id="run",
            config_digest="config",
        )
        assert (built.rows_in, built.transitions, built.open) == ((4, 4, 0) if day == 2 else (1, 1, 0))
    rows = Table(str(tmp_path / "tables" / "trajectories")).read(spark)
    columns = (
        "env_id",
        "round(double(observation.x), 2)",
        "observation.odd",
        "round(double(next_observation.x), 2)",
        "action",
    )
    assert shown(rows, *columns, "action_mask", "reward", "discount", "end", "time_gap") == [
        ("7", 0.1, True, 0.2, 1, [True, True], 1.0, 1.0, "none", 1.0),
        ("7", 0.2, None, 0.3, 0, [True, False], 2.0, 1.0, "none", 4.0),
        ("7", 0.3, False, None, 1, None, 3.0, 0.0, "terminated", None),
        ("8", 0.4, True, None, 0, [True, True], 4.0, 0.0, "terminated", None),
        ("9", 0.5, True, None, 0, [True, True], 5.0, 0.0, "terminated", None),
    ]
