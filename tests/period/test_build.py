"""Day by day, with rows that come late and days that are missing: the tables are those of one build of it all."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from rlbake.cadence import instant
from rlbake.errors import DataError, EmptyWindowError
from rlbake.period import Period, open_period
from rlbake.period.build import build_trajectories, ensure_trajectories
from rlbake.period.quality import profiled_windows
from rlbake.warehouse.table import Table

APPLICATION = f"{Path(__file__).with_name('late_logs.py')}:LateLogs"
TABLES = ("timesteps", "open", "trajectories", "quarantine")
DAY = timedelta(days=1)
START = instant("2026-01-01")
ARROW = pa.schema(
    [
        ("player", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("x", pa.float64()),
        ("action", pa.string()),
        ("click", pa.float64()),
        ("end", pa.string()),
    ]
)

Row = tuple[Any, ...]


class Logs:
    """A folder of logs, and the tables that are built from them."""

    def __init__(self, folder: Path, application: str = APPLICATION) -> None:
        self.folder, self.application = folder, application

    def write(self, rows: Iterable[Row]) -> None:
        """Adds rows to the days they belong to, as new files."""
        by_day: dict[str, list[Row]] = {}
        for row in rows:
            by_day.setdefault(f"{row[1]:%Y-%m-%d}", []).append(row)
        for day, of_day in by_day.items():
            place = self.folder / "logs" / f"ds={day}"
            place.mkdir(parents=True, exist_ok=True)
            columns = zip(*of_day, strict=True)
            table = pa.table([pa.array(c, f.type) for c, f in zip(columns, ARROW, strict=True)], schema=ARROW)
            pq.write_table(table, place / f"{uuid4().hex}.parquet")

    def period(self, day: int, tables: str = "tables") -> Period:
        return open_period(self.application, str(self.folder / tables), f"2026-01-{day:02d}", 0)

    def build(self, day: int, start: int | None = None, tables: str = "tables") -> list[str]:
        """The days that were built, in this order."""
        first = None if start is None else f"2026-01-{start:02d}"
        return [built.window.ds[-2:] for built in build_trajectories(self.period(day, tables), first)]

    def contents(self, tables: str = "tables") -> dict[str, dict[str, Any]]:
        found = {name: Table(f"{self.period(1, tables).folder}/{name}") for name in TABLES}
        contents = {name: table.contents() for name, table in found.items() if table.exists()}
        return {name: {ds: c for ds, c in of.items() if c.rows} for name, of in contents.items()}


@pytest.fixture
def logs(spark: SparkSession, tracking_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Logs:
    caplog.set_level(logging.INFO, "rlbake")
    return Logs(tmp_path)


def step(player: str, when: str, x: float = 0.0, action: str | None = "a", click: float = 0.0, end: str | None = None):
    day, clock = when.split()
    return (player, instant(f"2026-01-{int(day):02d}T{clock}"), x, action, click if action else None, end)


def test_a_late_row_rebuilds_its_window_and_the_one_that_continues_it(
    logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    logs.write([step("ann", f"{day} 10:00", x=day) for day in (1, 2, 3, 4)])
    logs.write([step("bob", f"{day} 10:00", x=day) for day in (1, 2, 3, 4)])
    assert [logs.build(day) for day in (1, 2, 3)] == [["01"], ["02"], ["03"]]
    logs.write([step("ann", "2 11:00", x=2.5)])
    assert logs.build(4) == ["02", "03", "04"]
    assert "Stale window, built again: 2026-01-02 (the logs have changed since it was built)." in caplog.text
    assert "Stale window, built again: 2026-01-03 (2026-01-02 leaves other decisions open now)." in caplog.text
    assert "2026-01-01" not in caplog.text.split("Stale window", 1)[1]
    assert logs.build(4) == ["04"]  # and nothing is stale any more


def test_a_late_row_that_leaves_nothing_else_open_rebuilds_its_window_alone(logs: Logs) -> None:
    logs.write([step("ann", f"{day} {hour}:00") for day in (1, 2, 3) for hour in (10, 12)])
    for day in (1, 2):
        logs.build(day)
    logs.write([step("ann", "1 11:00")])
    assert logs.build(3) == ["01", "03"]


def test_a_late_reward_rebuilds_its_window(logs: Logs) -> None:
    logs.write([step("ann", "1 10:00"), step("ann", "1 11:00", end="terminated"), step("bob", "2 10:00")])
    logs.build(1)
    for file in (logs.folder / "logs" / "ds=2026-01-01").iterdir():
        file.unlink()
    logs.write([step("ann", "1 10:00", click=1.0), step("ann", "1 11:00", end="terminated")])
    assert logs.build(2) == ["01", "02"]
    rewards = Table(f"{logs.period(1).folder}/trajectories").read(
        SparkSession.getActiveSession(), windows=["2026-01-01"]
    )
    assert sorted(row["reward"] for row in rewards.collect()) == [0.0, 2.0]


def test_files_that_are_written_again_with_the_same_rows_change_nothing(logs: Logs) -> None:
    rows = [step("ann", "1 10:00"), step("ann", "1 11:00")]
    logs.write([*rows, step("ann", "2 10:00"), step("ann", "3 10:00")])
    logs.build(1)
    logs.build(2)
    digest = logs.period(1).trajectories.digest()
    for file in (logs.folder / "logs" / "ds=2026-01-01").iterdir():
        file.unlink()
    logs.write(rows)
    assert logs.build(2) == ["01", "02"]
    assert logs.period(1).trajectories.digest() == digest
    assert logs.build(2) == ["02"]  # what it was built from has been noted


def test_rows_beyond_the_lateness_are_found_when_asked_for(logs: Logs) -> None:
    logs.write([step("ann", f"{day} 10:00") for day in range(1, 7)])
    logs.build(6, start=1)
    logs.write([step("bob", "1 10:00")])
    assert logs.build(6) == ["06"]
    assert logs.build(6, start=1) == ["01", "02", "03", "04", "05", "06"]


def test_a_missing_window_that_comes_late_is_bridged_only_then(logs: Logs, caplog: pytest.LogCaptureFixture) -> None:
    logs.write([step("ann", "1 20:00"), step("ann", "3 01:00")])
    logs.build(3, start=1)
    assert "Missing window, left out: window 2026-01-02" in caplog.text
    assert logs.contents()["trajectories"] == {}
    logs.write([step("bob", "2 10:00")])
    assert logs.build(2) == ["02", "03"]  # which now continues ann's episode
    assert logs.contents()["trajectories"]["2026-01-03"].rows == 1


def test_what_needs_trajectories_goes_on_without_a_missing_window(logs: Logs, caplog: pytest.LogCaptureFixture) -> None:
    logs.write([step("ann", "1 20:00"), step("ann", "3 01:00")])
    logs.build(3, start=1)
    ensure_trajectories(logs.period(3))
    assert caplog.text.count("Missing window, left out: window 2026-01-02") == 2
    logs.write([step("ann", "2 10:00")])
    ensure_trajectories(logs.period(3))
    assert logs.contents()["trajectories"]["2026-01-03"].rows == 1


def test_what_a_kill_left_out_is_made_good(logs: Logs) -> None:
    logs.write([step("ann", "1 20:00"), step("ann", "2 01:00")])
    logs.build(2, start=1)
    shutil.rmtree(logs.folder / "tables" / "late_logs" / "profiles")  # a build that was killed before it wrote them
    ensure_trajectories(logs.period(2))
    assert profiled_windows(logs.period(2)) == {"2026-01-01", "2026-01-02"}


def test_a_window_without_rows_is_refused(logs: Logs) -> None:
    with pytest.raises(EmptyWindowError, match="window 2026-01-01: timesteps\\(\\) returned no rows"):
        logs.build(1)


GAPS = [timedelta(minutes=minutes) for minutes in (1, 400, 1100, 1500, 1801, 2600)]
KINDS = [("a", None), ("b", None), ("a", None), ("b", "terminated"), ("a", "truncated"), (None, None), ("jump", None)]
LATE = [0, 0, 0, 0, 1, 2, 3]  # days after its own that a row arrives
PLAYERS, DAYS = 60, 5
steps = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(GAPS), st.sampled_from(LATE)), max_size=9)
histories = st.tuples(
    st.lists(steps, min_size=PLAYERS, max_size=PLAYERS), st.sets(st.integers(2, DAYS - 1), max_size=1)
)


def arrivals(history: list, missing: set[int]) -> list[tuple[int, Row]]:
    """Rows and the day of January on which each arrives, some twice; none of the days that are missing."""
    found = []
    for number, player in enumerate(history):
        time = START + timedelta(minutes=number)
        for count, ((action, end), gap, late) in enumerate(player):
            time += gap
            row = (f"p{number}", time, float(count), action, None if action is None else float(count % 3), end)
            if (day := (time - START) // DAY + 1) <= DAYS and day not in missing:
                found += [(day + late, row)] * (1 + (count == 3))
    return found


@pytest.mark.slow
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(drawn=histories)
def test_day_by_day_is_one_build_of_it_all(
    spark: SparkSession, tracking_uri: str, tmp_path: Path, drawn: tuple[list, set[int]]
) -> None:
    """120 histories: twice 60 players, with gaps, ends, bad rows, repetitions, late rows and missing days."""
    logs, all_rows = Logs(tmp_path / uuid4().hex), arrivals(*drawn)
    last = None
    for day in range(1, DAYS + 1):
        logs.write(row for arrived, row in all_rows if arrived == day)
        if any((row[1] - START) // DAY + 1 == day for arrived, row in all_rows if arrived <= day):
            logs.build(day)
            last = day
    logs.write(row for arrived, row in all_rows if arrived > DAYS)
    days = sorted({(row[1] - START) // DAY + 1 for _, row in all_rows})
    if last is None or not days:
        return
    logs.build(days[-1], start=max(1, days[-1] - 1))
    logs.build(days[-1], start=1, tables="at_once")
    assert logs.contents() == logs.contents("at_once")


JOINED = """
import rlbake
from rlbake.sources import Folder, Logs

OUTCOMES = "player string, timestamp timestamp, click double"

class Joined(rlbake.Application):
    name = "joined"
    keys = ("player",)
    cadence = rlbake.Cadence(start="2026-01-01", reward_delay="1h")
    observation = (rlbake.Number("x", optional=True),)
    action = rlbake.Discrete(["a", "b"])
    metrics = ("click",)
    reward = {"click": 1.0}
    source = Logs(
        observations=Folder("FOLDER/observations"),
        decisions=Folder("FOLDER/decisions"),
        outcomes=Folder("FOLDER/outcomes.csv", format="csv", schema=OUTCOMES),
        attribution="1h",
    )
"""


@pytest.fixture
def joined(logs: Logs) -> Period:
    """Three logs, of which the outcomes are a CSV file: one click belongs to ann, one to nobody."""
    for name, columns in {
        "observations": {"player": ["ann"], "timestamp": [START], "x": [0.5]},
        "decisions": {"player": ["ann", "bob"], "timestamp": [START + timedelta(hours=1)] * 2, "action": ["a", "b"]},
    }.items():
        (logs.folder / name).mkdir()
        pq.write_table(pa.table(columns), logs.folder / name / "part.parquet")
    (logs.folder / "outcomes.csv").write_text(
        "player,timestamp,click\nann,2026-01-01T01:30:00Z,1\nann,2026-01-01T03:00:00Z,1\n"
    )
    (logs.folder / "joined.py").write_text(JOINED.replace("FOLDER", str(logs.folder)))
    return open_period(f"{logs.folder / 'joined.py'}:Joined", str(logs.folder / "tables"), "2026-01-01", 0)


def test_three_declared_logs_are_joined_counted_and_named(joined: Period, caplog: pytest.LogCaptureFixture) -> None:
    build_trajectories(joined)
    assert "1 of 2 outcomes follow no decision, 1 decisions had seen nothing" in caplog.text
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert run.data.metrics["build/unmatched_outcomes"] == 1
    assert {given.dataset.name for given in run.inputs.dataset_inputs} == {"observations", "decisions", "outcomes"}


def test_a_cell_that_cannot_be_read_is_named_with_its_file(joined: Period, logs: Logs) -> None:
    (logs.folder / "outcomes.csv").write_text("player,timestamp,click\nann,2026-01-01T01:30:00Z,often\n")
    with pytest.raises(DataError, match=r"joined.timesteps, window 2026-01-01.*outcomes.csv.*often"):
        build_trajectories(joined)
    assert not joined.trajectories.exists()
