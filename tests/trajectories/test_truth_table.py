"""What becomes of logs, as a table: a few rows in, exact rows out.

Every case is one player of one application, logged on 1, 2 and 4 January; nobody was logged on the
third. An episode times out after 30 hours. A step is: when, what was seen (x), what was done, how
many clicks followed, how it ended, and what else its log holds. What is expected are transitions
(when → when: x → x, action → action, reward, discount, step types, end), the decisions left open at
the end of a day, and the rows in the quarantine (rule, column, value).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from rlbake import Binary, Category, Discrete, Number
from rlbake.trajectories.build import WindowBuild, build_window
from rlbake.warehouse.table import Table
from tests.trajectories.conftest import CADENCE, at, window_of

DAYS = (1, 2, 4)
SCHEMA = (
    "player string, timestamp timestamp, x double, vip boolean, country string, device string, action string, "
    "click double, log_probability double, action_mask array<boolean>, end string, step_type int"
)
ORDINARY = {"vip": True, "country": "DE", "device": "ios", "log_probability": None, "action_mask": None}
INF = math.inf


def step(when: str, x: float | None, action: str | None, click: float | None = 0.0, end: str | None = None, **log: Any):
    numbers = {name: None if value is None else float(value) for name, value in {"x": x, "click": click}.items()}
    return {"timestamp": at(when), "action": action, "end": end, "step_type": None, **numbers, **ORDINARY, **log}


def seen(when: str, x: float, end: str | None = None, **log: Any):
    """A final observation: something was seen and nothing was done."""
    return step(when, x, None, None, end, **log)


def went_on(when: str, then: str, x: tuple[float, float], actions: str, reward: float = 0.0, types: str = "FIRST MID"):
    return (when, then, *x, actions[0], actions[1], reward, 1.0, *types.split(), "none")


def was_cut(when: str, then: str, x: tuple[float, float], action: str, reward: float = 0.0, first: str = "FIRST"):
    return (when, then, *x, action, None, reward, 1.0, first, "LAST", "truncated")


def terminated(when: str, x: float, action: str, reward: float = 0.0, first: str = "FIRST"):
    return (when, None, x, None, action, None, reward, 0.0, first, "LAST", "terminated")


@dataclass(frozen=True)
class Case:
    title: str
    log: list[dict[str, Any]]
    transitions: list[tuple] = field(default_factory=list)
    open: dict[int, str] = field(default_factory=dict)  # by day: the decision that waits at its end
    quarantine: list[tuple] = field(default_factory=list)
    keyed: bool = True

    @property
    def player(self) -> str | None:
        return self.title if self.keyed else None


GOOD = step("1 10:00", 1, "a")
AFTER = step("1 12:00", 3, "b", 0, "terminated")
AROUND_A_BAD_ROW = [
    went_on("1 10:00", "1 12:00", (1, 3), "ab"),
    terminated("1 12:00", 3, "b", first="MID"),
]
YESTERDAY = at("1 00:00") - timedelta(microseconds=1)
LATE_EVENING = datetime(2026, 1, 1, 23, 59, 59, 999999, tzinfo=CADENCE.start.tzinfo)


def bad(title: str, change: dict[str, Any], *why: Any) -> Case:
    """One bad row between two good ones, which are paired with each other as if it had never been logged."""
    row = {**step("1 11:00", 2, "c"), **change}
    return Case(title, [GOOD, row, AFTER], AROUND_A_BAD_ROW, quarantine=[why])


ENDS = [
    Case(
        "the reward is what followed the row's own action",
        [step("1 10:00", 1, "a", 3), step("1 11:00", 2, "b", 5, "terminated")],
        [
            went_on("1 10:00", "1 11:00", (1, 2), "ab", reward=6.0),
            terminated("1 11:00", 2, "b", reward=10.0, first="MID"),
        ],
    ),
    Case(
        "terminated: discount 0 and nothing after it",
        [step("1 10:00", 1, "a", 0, "terminated")],
        [terminated("1 10:00", 1, "a")],
    ),
    Case(
        "a decision after a terminated one starts an episode",
        [step("1 10:00", 1, "a", 0, "terminated"), step("1 11:00", 2, "b", 0, "terminated")],
        [terminated("1 10:00", 1, "a"), terminated("1 11:00", 2, "b")],
    ),
    Case(
        "truncated: bootstraps from the final observation",
        [step("1 10:00", 1, "a", 0, "truncated"), seen("1 11:00", 2)],
        [was_cut("1 10:00", "1 11:00", (1, 2), "a")],
    ),
    Case(
        "truncated, said only by the final observation",
        [step("1 10:00", 1, "a"), seen("1 11:00", 2, "truncated")],
        [was_cut("1 10:00", "1 11:00", (1, 2), "a")],
    ),
    Case(
        "truncated without a final observation cannot be trained on",
        [step("1 10:00", 1, "a", 0, "truncated")],
        open={1: "1 10:00"},  # it may still come
    ),
    Case(
        "truncated, and the final observation comes the next day",
        [step("1 23:00", 1, "a", 0, "truncated"), seen("2 00:30", 2)],
        [was_cut("1 23:00", "2 00:30", (1, 2), "a")],
        open={1: "1 23:00"},
    ),
    Case(
        "truncated, and the next day starts another episode",
        [step("1 23:00", 1, "a", 0, "truncated"), step("2 00:30", 2, "b", 0, "terminated")],
        [terminated("2 00:30", 2, "b")],
        open={1: "1 23:00"},
    ),
    Case(
        "truncated, and the next decision starts another episode",
        [step("1 10:00", 1, "a", 0, "truncated"), step("1 11:00", 2, "b", 0, "terminated")],
        [terminated("1 11:00", 2, "b")],
    ),
    Case("a final observation that no decision leads to gives nothing", [seen("1 10:00", 1)]),
    Case(
        "after a final observation an episode starts",
        [step("1 10:00", 1, "a"), seen("1 11:00", 2), step("1 12:00", 3, "b", 0, "terminated")],
        [was_cut("1 10:00", "1 11:00", (1, 2), "a"), terminated("1 12:00", 3, "b")],
    ),
    Case(
        "open: its successor has not been seen yet, not on the next day either",
        [step("1 20:00", 1, "a")],
        open={1: "1 20:00", 2: "1 20:00"},
    ),
    Case(
        "open, and completed by the next window",
        [step("1 20:00", 1, "a", 4), step("2 10:00", 2, "b", 0, "terminated")],
        [went_on("1 20:00", "2 10:00", (1, 2), "ab", reward=8.0), terminated("2 10:00", 2, "b", first="MID")],
        open={1: "1 20:00"},
    ),
    Case(
        "open, and cut by what the next window sees",
        [step("1 20:00", 1, "a"), seen("2 00:00", 2)],
        [was_cut("1 20:00", "2 00:00", (1, 2), "a")],
        open={1: "1 20:00"},
    ),
    Case(
        "an episode over three windows keeps its start",
        [
            step("1 08:00", 1, "a"),
            step("1 23:00", 2, "b"),
            step("2 10:00", 3, "a"),
            step("2 20:00", 4, "c", 0, "terminated"),
        ],
        [
            went_on("1 08:00", "1 23:00", (1, 2), "ab"),
            went_on("1 23:00", "2 10:00", (2, 3), "ba", types="MID MID"),
            went_on("2 10:00", "2 20:00", (3, 4), "ac", types="MID MID"),
            terminated("2 20:00", 4, "c", first="MID"),
        ],
        open={1: "1 23:00"},
    ),
]
SILENCE = [
    Case(
        "silence of just the timeout continues an episode",
        [step("1 04:00", 1, "a"), step("2 10:00", 2, "b", 0, "terminated")],
        [went_on("1 04:00", "2 10:00", (1, 2), "ab"), terminated("2 10:00", 2, "b", first="MID")],
        open={1: "1 04:00"},
    ),
    Case(
        "silence beyond the timeout ends it, and there is nothing to learn from its last decision",
        [step("1 04:00", 1, "a"), step("2 10:01", 2, "b", 0, "terminated")],
        [terminated("2 10:01", 2, "b")],
        open={1: "1 04:00"},
    ),
    Case(
        "what cannot be followed in time is not kept open",
        [step("1 17:59", 1, "a"), step("1 18:00", 2, "b")],
        [went_on("1 17:59", "1 18:00", (1, 2), "ab")],
        open={1: "1 18:00", 2: "1 18:00"},
    ),
    Case(
        "a missing window is never bridged, however short the silence",
        [step("2 23:59", 1, "a"), step("4 00:01", 2, "b", 0, "terminated")],
        [terminated("4 00:01", 2, "b")],
        open={2: "2 23:59"},
    ),
    Case(
        "time zones are none of our business: an instant is an instant",
        [
            {**step("1 10:00", 1, "a"), "timestamp": datetime.fromisoformat("2026-01-01T12:00:00+02:00")},
            {**step("1 10:00", 2, "b"), "timestamp": datetime.fromisoformat("2026-01-01T06:00:00-05:00")},
        ],
        [went_on("1 10:00", "1 11:00", (1, 2), "ab")],
        open={1: "1 11:00"},
    ),
    Case(
        "the last microsecond of a window is in it",
        [{**step("1 10:00", 1, "a", 0, "terminated"), "timestamp": LATE_EVENING}],
        [terminated("1 23:59", 1, "a")],
    ),
]
COPIES = [
    Case(
        "identical rows count once",
        [GOOD, GOOD, GOOD, AFTER, AFTER],
        AROUND_A_BAD_ROW,
    ),
    Case(
        "rows that contradict each other are all rejected",
        [GOOD, step("1 11:00", 2, "b"), step("1 11:00", 2, "c"), AFTER],
        AROUND_A_BAD_ROW,
        quarantine=[("conflict", "all but key and timestamp", None)] * 2,
    ),
    Case(
        "a copy of a contradicted row is rejected with it",
        [GOOD, step("1 11:00", 2, "b"), step("1 11:00", 2, "b"), step("1 11:00", 7, "b"), AFTER],
        AROUND_A_BAD_ROW,
        quarantine=[("conflict", "all but key and timestamp", None)] * 3,
    ),
    Case(
        "a bad row contradicts nobody",
        [GOOD, {**GOOD, "x": 11.0}, AFTER],
        AROUND_A_BAD_ROW,
        quarantine=[("out_of_range", "x", "11.0")],
    ),
    Case(
        "a bad row that was logged twice is rejected twice",
        [GOOD, *[step("1 11:00", 2, "jump")] * 2, AFTER],
        AROUND_A_BAD_ROW,
        quarantine=[("unknown_action", "action", "jump")] * 2,
    ),
]
ROWS = [
    Case("a row without a key", [step("1 10:00", 1, "a")], quarantine=[("null_key", "player", None)], keyed=False),
    bad("no instant", {"timestamp": None, "logged_on": 1}, "null_timestamp", "timestamp", None),
    bad("a later window's instant", {"timestamp": at("2 00:00"), "logged_on": 1}, "outside_window", "timestamp", None),
    bad("an earlier window's instant", {"timestamp": YESTERDAY, "logged_on": 1}, "outside_window", "timestamp", None),
    bad("a number is missing", {"x": None}, "null_feature", "x", None),
    bad("a category is missing", {"country": None}, "null_feature", "country", None),
    bad("a number is NaN", {"x": math.nan}, "not_finite", "x", "NaN"),
    bad("a number is infinite", {"x": -INF}, "not_finite", "x", "-Infinity"),
    bad("a number is too large for a float", {"x": 1e300}, "not_finite", "x", "Infinity"),
    bad("a number is beyond its bounds", {"x": -10.5}, "out_of_range", "x", "-10.5"),
    bad("a category is unknown", {"country": "FR"}, "unknown_category", "country", "FR"),
    bad("an action is unknown", {"action": "jump"}, "unknown_action", "action", "jump"),
    bad("a metric is missing: NULL is not zero", {"click": None}, "null_metric", "click", None),
    bad("a metric is infinite", {"click": INF}, "not_finite", "click", "Infinity"),
    bad("a probability above one", {"log_probability": 0.5}, "probability", "log_probability", "0.5"),
    bad("a probability of zero", {"log_probability": -INF}, "probability", "log_probability", "-Infinity"),
    bad("a mask for two of three actions", {"action_mask": [True, True]}, "mask_length", "action_mask", "[true, true]"),
    bad("a mask of nothing", {"action_mask": [False] * 3}, "mask_empty", "action_mask", "[false, false, false]"),
    bad("an action that was forbidden", {"action_mask": [True, True, False]}, "masked_action", "action_mask", "c"),
    bad("an end of some other name", {"end": "won"}, "unknown_end", "end", "won"),
    bad("nothing done, and terminated", {"action": None, "click": None, "end": "terminated"}, "end_without_action",
        "end", None),
    bad("the first of two faults counts", {"x": None, "action": "jump"}, "null_feature", "x", None),
    Case(
        "an optional feature may be missing",
        [{**GOOD, "vip": None}, AFTER],
        AROUND_A_BAD_ROW,
    ),
    Case(
        "a category outside the known may count as other",
        [{**GOOD, "device": "fridge"}, AFTER],
        AROUND_A_BAD_ROW,
    ),
    Case(
        "bounds, probability one and a mask that allows the action are fine",
        [
            step("1 10:00", -10, "a", log_probability=0.0, action_mask=[True, False, False]),
            step("1 12:00", 10, "b", 0, "terminated", log_probability=-3.5),
        ],
        [
            went_on("1 10:00", "1 12:00", (-10, 10), "ab"),
            terminated("1 12:00", 10, "b", first="MID"),
        ],
    ),
    Case(
        "a rejected last row leaves the one before it open",
        [step("1 20:00", 1, "a"), step("1 21:00", 99, "b", 0, "terminated")],
        open={1: "1 20:00", 2: "1 20:00"},
        quarantine=[("out_of_range", "x", "99.0")],
    ),
]  # fmt: skip
STEPPED = [
    Case(
        "step_type 0 starts an episode, whatever was before",
        [
            step("1 10:00", 1, "a", step_type=0),
            step("1 11:00", 2, "b", step_type=0),
            step("1 12:00", 3, "a", 0, "terminated", step_type=1),
        ],
        [
            went_on("1 11:00", "1 12:00", (2, 3), "ba"),
            terminated("1 12:00", 3, "a", first="MID"),
        ],
    ),
    Case(
        "step_type 1 after the end is out of order, and so is all up to the next 0",
        [
            step("1 10:00", 1, "a", 0, "terminated", step_type=0),
            step("1 11:00", 2, "b", step_type=1),
            step("1 12:00", 3, "b", step_type=1),
            step("1 13:00", 4, "c", 0, "terminated", step_type=0),
        ],
        [terminated("1 10:00", 1, "a"), terminated("1 13:00", 4, "c")],
        quarantine=[("out_of_order", "step_type", None)] * 2,
    ),
    Case(
        "a final observation may follow a cut, a decision may not",
        [
            step("1 10:00", 1, "a", 0, "truncated", step_type=0),
            step("1 11:00", 2, "b", step_type=1),
            seen("1 12:00", 3, step_type=2),
        ],
        [was_cut("1 10:00", "1 12:00", (1, 3), "a")],
        quarantine=[("out_of_order", "step_type", None)],
    ),
    Case(
        "a step type that does not exist, or that ends an episode with a decision",
        [
            step("1 10:00", 1, "a", step_type=0),
            step("1 11:00", 2, "b", step_type=3),
            step("1 12:00", 2, "b", step_type=2),
            step("1 13:00", 2, "b", step_type=None),
            step("1 14:00", 4, "c", 0, "terminated", step_type=1),
        ],
        [went_on("1 10:00", "1 14:00", (1, 4), "ac"), terminated("1 14:00", 4, "c", first="MID")],
        quarantine=[("step_type", "step_type", "3"), ("step_type", "step_type", "2"), ("step_type", "step_type", None)],
    ),
    Case(
        "an episode cut at night may be followed by its final observation, and by no decision but a first",
        [
            step("1 20:00", 1, "a", 0, "truncated", step_type=0),
            step("2 01:00", 2, "b", step_type=1),
            seen("2 02:00", 3, step_type=2),
        ],
        [was_cut("1 20:00", "2 02:00", (1, 3), "a")],
        open={1: "1 20:00"},
        quarantine=[("out_of_order", "step_type", None)],
    ),
    Case(
        "an episode left open goes on with step_type 1",
        [step("1 20:00", 1, "a", step_type=0), step("2 08:00", 2, "b", 0, "terminated", step_type=1)],
        [went_on("1 20:00", "2 08:00", (1, 2), "ab"), terminated("2 08:00", 2, "b", first="MID")],
        open={1: "1 20:00"},
    ),
]
TABLES = {"plain": [*ENDS, *SILENCE, *COPIES, *ROWS], "stepped": STEPPED}
CASES = [pytest.param(table, case, id=case.title) for table, cases in TABLES.items() for case in cases]


CLOCK = "date_format(to_utc_timestamp({}, 'America/New_York'), 'd HH:mm')"
SHOWN = {
    "trajectories": [
        *(CLOCK.format("timestamp"), CLOCK.format("next_timestamp"), "observation.x", "next_observation.x"),
        *("substr('abc', action + 1, 1)", "substr('abc', next_action + 1, 1)", "reward", "discount"),
        *(f"array('FIRST', 'MID', 'LAST')[{column}]" for column in ("step_type", "next_step_type")),
        "end",
    ],
    "open": [CLOCK.format("timestamp")],
    "quarantine": ["rule", "column", "value", "row"],
}


@dataclass
class Outcome:
    """What the builds of some days left behind: per table and day, the rows of each player in order of time."""

    builds: list[WindowBuild]
    rows: dict[tuple[str, int], dict[str | None, list[tuple]]]

    def of(self, table: str, player: str | None) -> list[tuple]:
        return [row for day in DAYS for row in self.rows[table, day].get(player, [])]


@pytest.fixture(scope="module")
def outcomes(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    """All cases, built day by day, in a session whose time zone is not UTC."""
    folder = tmp_path_factory.mktemp("truth")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    yield {name: _built(spark, folder / name, cases) for name, cases in TABLES.items()}
    spark.conf.set("spark.sql.session.timeZone", "UTC")


def _built(spark: SparkSession, folder: Path, cases: list[Case]) -> Outcome:
    logged = {_logged_on(row) for case in cases for row in case.log}
    builds = [_build(spark, folder, cases, day) for day in DAYS if day in logged]
    return Outcome(builds, {(table, day): _rows(spark, folder, table, day) for table in SHOWN for day in DAYS})


def _build(spark: SparkSession, folder: Path, cases: list[Case], day: int) -> WindowBuild:
    names = [column.split()[0] for column in SCHEMA.replace("array<boolean>", "mask").split(",")]
    logged = [{"player": case.player, **row} for case in cases for row in case.log if _logged_on(row) == day]
    frame = spark.createDataFrame([tuple(row[name] for name in names) for row in logged], SCHEMA)
    return build_window(
        frame if cases is STEPPED else frame.drop("step_type"),
        tables=str(folder),
        keys=("player",),
        observation=(
            Number("x", low=-10, high=10),
            Binary("vip", optional=True),
            Category("country", ["DE", "US"]),
            Category("device", ["ios", "android"], unknown="other"),
        ),
        action=Discrete(["a", "b", "c"]),
        metrics=("click",),
        reward={"click": 2.0},
        window=window_of(day),
        previous=CADENCE.previous(window_of(day)),
        episode_timeout=timedelta(hours=30),
        run_id="run",
        config_digest="config",
        max_rejected=1.0,
    )


def _logged_on(row: dict[str, Any]) -> int:
    """The day whose log holds a row: wrong instants are logged on the first."""
    return row.get("logged_on") or row["timestamp"].astimezone(CADENCE.start.tzinfo).day


def _rows(spark: SparkSession, folder: Path, name: str, day: int) -> dict[str | None, list[tuple]]:
    table, by_player = Table(str(folder / name)), {}
    if table.exists() and window_of(day).ds in table.windows():
        frame = table.read(spark, windows=[window_of(day).ds]).orderBy("timestamp")
        for player, *row in frame.selectExpr("env_id", *SHOWN[name]).collect():
            by_player.setdefault(player, []).append(tuple(row))
    return by_player


@pytest.mark.parametrize(("table", "case"), CASES)
def test_a_case(outcomes: dict[str, Outcome], table: str, case: Case) -> None:
    outcome = outcomes[table]
    assert outcome.of("trajectories", case.player) == case.transitions
    waiting = {day: outcome.rows["open", day].get(case.player) for day in DAYS}
    assert {day: rows[0][0] for day, rows in waiting.items() if rows} == case.open
    assert [row[:3] for row in outcome.of("quarantine", case.player)] == case.quarantine


def test_the_quarantine_holds_whole_rows(outcomes: dict[str, Outcome]) -> None:
    ((*_, row),) = outcomes["plain"].of("quarantine", "a category is unknown")
    assert json.loads(row) == {
        "player": "a category is unknown",
        "timestamp": "2026-01-01T11:00:00.000000Z",
        "x": 2.0,
        "vip": True,
        "country": "FR",
        "device": "ios",
        "action": "c",
        "click": 0.0,
        "log_probability": None,
        "action_mask": None,
        "end": None,
    }


@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_accounted_for(outcomes: dict[str, Outcome], table: str) -> None:
    builds, cases = outcomes[table].builds, TABLES[table]
    assert sum(b.rows_in for b in builds) == sum(len(case.log) for case in cases)
    assert sum(b.rejected for b in builds) == sum(len(case.quarantine) for case in cases)
    assert sum(b.transitions for b in builds) == sum(len(case.transitions) for case in cases)
    assert sum(b.rows_in - b.rejected - b.duplicates for b in builds) == sum(b.timesteps.rows for b in builds)
    assert sum(breach.count for b in builds for breach in b.breaches) == sum(b.rejected for b in builds)
