"""What a server remembered, as timesteps: hand-made decisions and outcomes in, exact rows out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from rlbake import Binary, Cadence, Continuous, MultiDiscrete, Number
from rlbake.application import Application
from rlbake.errors import DataError, NotFoundError, SpecError
from rlbake.experience import Decision, Experience, Outcome
from rlbake.period.sources import fingerprint
from rlbake.sources import ExperienceLog
from rlbake.timesteps import columns
from rlbake.timesteps.join_logs import counted
from rlbake.warehouse.table import Table
from tests.sources.conftest import Clicks, at, reading, shown, window_of

ROW = ("player", "date_format(timestamp, 'd HH:mm')", "x", "action", "click", "end")


def decided(name: str, player: object, when: str, x: float | None = 1.0, action: Any = 0, **changes: Any) -> Decision:
    values: dict[str, Any] = {"action_mask": None, "log_probability": -0.5, "policy_version": "main.rl.clicks/1"}
    return Decision(name, at(when), {"player": player}, {"x": x}, action, **{**values, **changes})


def clicked(when: str, of: str | None = None, player: str | None = None, **changes: Any) -> Outcome:
    keys = None if player is None else {"player": player}
    return Outcome(at(when), of, keys, **{"metrics": {"click": 1.0}, **changes})


def remember(uri: Path, decisions: list[Decision], outcomes: list[Outcome], of: type[Application] = Clicks) -> None:
    log = Experience(str(uri), keys=of.keys, observation=of.observation, action=of.action, metrics=of.metrics)
    log.log_decisions(decisions)
    log.log_outcomes(outcomes)
    log.close()


def application(uri: Path | str, **options: Any) -> Application:
    return reading(ExperienceLog(str(uri), **options))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two players around the second of January."""
    decisions = [
        decided("a1", "ann", "1 23:30"),
        decided("a2", "ann", "2 10:00", x=2.0, action=1),
        decided("a3", "ann", "2 23:30", x=None),
        decided("a4", "ann", "3 00:30"),
        decided(
            "b1", 7, "2 12:00", action_mask=[True, False], log_probability=0.0, policy_version="rules", fallback=True
        ),
        decided("c1", "cat", "2 08:00"),
    ]
    outcomes = [
        clicked("2 09:59", player="ann"),  # follows a1
        clicked("2 10:00", player="ann"),  # a2, at the same instant
        clicked("2 11:00", of="a2"),
        clicked("3 01:00", of="a2"),  # although a3 and a4 have been made since
        clicked("3 10:01", of="a2"),  # late: more than 24 hours
        clicked("2 10:05", player="ann", outcome_id="once"),
        clicked("2 10:09", player="ann", outcome_id="once"),  # told again
        clicked("2 10:05", of="a2", outcome_id="other"),
        clicked("2 23:29", of="a3"),  # a clock that is a minute slow
        clicked("3 00:31", player="ann"),  # a4
        clicked("2 13:00", player="7", metrics={}, end="terminated"),
        clicked("2 08:30", of="c1", end="truncated"),
        clicked("2 08:30", of="z9"),  # nobody knows it
        clicked("2 08:30", player="dan"),
    ]
    remember(tmp_path / "log", decisions, outcomes)
    return tmp_path / "log"


def test_decisions_and_outcomes_become_the_timesteps_of_a_window(spark: SparkSession, log: Path) -> None:
    with counted() as counts:
        frame = application(log).timesteps(spark, window_of(2))
    assert shown(frame, *ROW, "log_probability", "policy_version", "action_mask", "decision_id") == [
        ("7", "2 12:00", 1.0, "a", 0.0, "terminated", 0.0, "rules", [True, False], "b1"),
        ("ann", "2 10:00", 2.0, "b", 5.0, "none", -0.5, "main.rl.clicks/1", None, "a2"),
        ("ann", "2 23:30", None, "a", 1.0, "none", -0.5, "main.rl.clicks/1", None, "a3"),
        ("cat", "2 08:00", 1.0, "a", 1.0, "truncated", -0.5, "main.rl.clicks/1", None, "c1"),
    ]
    assert counts.get() == {"outcomes": 10, "unmatched_outcomes": 2, "unseen_decisions": 0}


def test_the_window_before_has_what_followed_it(spark: SparkSession, log: Path) -> None:
    frame = application(log, attribution="12h").timesteps(spark, window_of(1))
    assert shown(frame, *ROW) == [("ann", "1 23:30", 1.0, "a", 1.0, "none")]


def test_how_the_outcomes_of_a_decision_become_one_number(spark: SparkSession, tmp_path: Path) -> None:
    """The last by time, whether it names the decision or was found by key."""
    told = [
        clicked("2 10:03", player="ann", metrics={"click": 3.0}),
        clicked("2 10:02", of="a", metrics={"click": 2.0}),
        clicked("2 10:04", of="a", metrics={"click": 4.0}),
        clicked("2 10:01", player="ann", metrics={"click": 1.0}),
    ]
    remember(tmp_path, [decided("a", "ann", "2 10:00"), decided("b", "bob", "2 10:00")], told)
    frame = application(tmp_path, metrics={"click": ("last", -1.0)}).timesteps(spark, window_of(2))
    assert shown(frame, "player", "click") == [("ann", 4.0), ("bob", -1.0)]


def test_whom_to_score_next(spark: SparkSession, log: Path) -> None:
    source = ExperienceLog(str(log))
    frame = source.last_seen(spark, window_of(2), reading(source))
    assert frame.columns == ["player", "action_mask", "x"]
    assert shown(frame, "player", "x") == [("ann", None)]


def test_only_the_hours_around_the_window_are_read(spark: SparkSession, log: Path) -> None:
    hours = {
        Path(file).parent.name
        for file in application(log, attribution="2h").timesteps(spark, window_of(3)).inputFiles()
    }
    assert hours == {"hour=2026-01-02T23", "hour=2026-01-03T00", "hour=2026-01-03T01", "hour=2026-01-03T10"}


def test_a_late_outcome_makes_the_window_stale(spark: SparkSession, log: Path) -> None:
    source = application(log)
    before = fingerprint(source.timesteps(spark, window_of(2)))
    remember(log, [], [clicked("5 12:00", of="a2")])
    assert fingerprint(source.timesteps(spark, window_of(2))) == before  # too late for it
    remember(log, [], [clicked("3 09:00", of="a2")])
    assert fingerprint(source.timesteps(spark, window_of(2))) != before


def test_the_lineage_tells_the_version_that_was_read(spark: SparkSession, log: Path) -> None:
    source = ExperienceLog(str(log))
    reading(source).timesteps(spark, window_of(2))
    versions = {name: Table(f"{log}/{name}").version() for name in ("decisions", "outcomes")}
    remember(log, [decided("a9", "ann", "9 10:00")], [])
    assert source.lineage(window_of(2)) == [
        ("decisions", f"{log}/decisions@v{versions['decisions']}"),
        ("outcomes", f"{log}/outcomes@v{versions['outcomes']}"),
    ]


def test_batch_scores_are_remembered_too(spark: SparkSession, log: Path, tmp_path: Path) -> None:
    """A score is dated at the end of its window, so it is one of the next window's decisions."""
    live = reading(ExperienceLog(str(log), scores=True))
    live.tables = str(tmp_path)
    assert live.timesteps(spark, window_of(2)).count() == 4  # nothing is scored yet
    scored = spark.createDataFrame(
        [(7, at("2 00:00"), (5.0,), None, "b", 1, -0.25, "main.rl.clicks/2", "s1")],
        "player long, timestamp timestamp, observation struct<x: float>, action_mask array<boolean>, action string, "
        "action_index int, log_probability float, policy_version string, decision_id string",
    )
    scores = Table(f"{tmp_path}/clicks/scores")
    scores.replace_window(scored, "2026-01-01", run_id="r", config_digest="c")
    remember(log, [], [clicked("2 09:00", of="s1")])
    frame = live.timesteps(spark, window_of(2))
    assert shown(frame.where("player = '7'"), *ROW, "log_probability") == [
        ("7", "2 00:00", 5.0, "b", 1.0, "none", -0.25),
        ("7", "2 12:00", 1.0, "a", 0.0, "terminated", 0.0),
    ]
    assert [name for name, _ in live.source.lineage(window_of(2))] == ["decisions", "scores", "outcomes"]  # type: ignore[union-attr]


def test_a_feature_that_came_later_is_missing_before(spark: SparkSession, log: Path) -> None:
    later = (Number("x"), Binary("vip", optional=True))
    frame = reading(ExperienceLog(str(log)), observation=later).timesteps(spark, window_of(2))
    assert dict(frame.dtypes)["vip"] == "boolean"
    assert frame.where("vip IS NULL").count() == 4


@pytest.mark.parametrize(
    ("action", "chosen", "stored"),
    [
        (MultiDiscrete({"item": ["sword", "bow"], "off": ["0%", "10%"]}), [1, 0], [1, 0]),
        (Continuous([0.0], [9.0], ["price"]), [2.5], [2.5]),
    ],
)
def test_several_actions_at_once(spark: SparkSession, tmp_path: Path, action: Any, chosen: Any, stored: Any) -> None:
    live = reading(ExperienceLog(str(tmp_path)), action=action)
    remember(tmp_path, [decided("a", "ann", "2 10:00", action=chosen)], [], of=type(live))
    frame = live.timesteps(spark, window_of(2))
    (row,) = frame.select(columns.action(frame, action).alias("stored")).collect()
    assert row["stored"] == stored


def test_the_application_names_its_own_log(spark: SparkSession, tmp_path: Path) -> None:
    live = reading(ExperienceLog())
    live.tables = str(tmp_path)
    remember(tmp_path / "clicks" / "experience", [decided("a", "ann", "2 10:00")], [])
    assert live.timesteps(spark, window_of(2)).count() == 1


def test_logs_that_do_not_fit_the_application(spark: SparkSession, log: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no Delta table at .*elsewhere/decisions"):
        application(tmp_path / "elsewhere").timesteps(spark, window_of(2))
    with pytest.raises(DataError, match=r"has no key 'user': it is not of application clicks"):
        reading(ExperienceLog(str(log)), keys=("user",)).timesteps(spark, window_of(2))
    with pytest.raises(SpecError, match="reward_delay is shorter than attribution '24h'"):
        reading(ExperienceLog(str(log)), cadence=Cadence(start="2026-01-01")).timesteps(spark, window_of(2))
    with pytest.raises(SpecError, match="'soon' is not a duration"):
        ExperienceLog(str(log), attribution="soon")


def test_outcomes_that_name_decisions_in_logs_of_ones_own(spark: SparkSession, tmp_path: Path) -> None:
    """`join_logs` takes them from any log; an outcome without a decision id goes by its key."""
    import rlbake

    seen = [("ann", at("2 09:00"), 1.0)]
    made = [("ann", at("2 10:00"), "a", "d1"), ("ann", at("2 11:00"), "b", "d2")]
    events = [(None, at("2 11:30"), "d1", 1), ("ann", at("2 11:30"), None, 10), ("ann", at("2 11:30"), "d9", 100)]
    frame = rlbake.join_logs(
        observations=spark.createDataFrame(seen, "player string, timestamp timestamp, x double"),
        decisions=spark.createDataFrame(made, "player string, timestamp timestamp, action string, decision_id string"),
        outcomes=spark.createDataFrame(events, "player string, timestamp timestamp, decision_id string, click int"),
        attribution="24h",
    )
    assert shown(frame, "decision_id", "x", "click") == [("d1", 1.0, 1.0), ("d2", 1.0, 10.0)]
    with pytest.raises(DataError, match="decisions have no such column"):
        rlbake.join_logs(
            observations=None,
            decisions=spark.createDataFrame(made, "player string, timestamp timestamp, action string, id string"),
            outcomes=spark.createDataFrame(events, "player string, timestamp timestamp, decision_id string, click int"),
            attribution="24h",
        )
