"""Any history, built window by window, gives what a plain reading of the definitions gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlbake import Window
from rlbake.trajectories.build import WindowBuild
from tests.trajectories.conftest import Row, at, window_of

DAYS = (1, 2, 3)
TIMEOUT = timedelta(hours=9)
COLUMNS = [
    "env_id",
    "unix_micros(timestamp)",
    "unix_micros(episode)",
    "unix_micros(next_timestamp)",
    "next_observation.x",
    "next_action",
    "end",
    "reward",
]


@dataclass(frozen=True)
class Step:
    player: str
    time: datetime
    x: float
    action: str | None
    end: str | None
    click: float

    def row(self) -> Row:
        nothing = self.action is None
        return (
            self.player,
            self.time,
            self.x,
            self.action,
            *((None, None) if nothing else (self.click, 0.0)),
            self.end,
        )


KINDS = [
    ("a", None),
    ("b", "none"),
    ("a", "none"),
    ("b", "terminated"),
    ("a", "truncated"),
    (None, None),
    (None, "truncated"),
]
GAPS = [timedelta(minutes=m) for m in (1, 50, 400, 540, 541, 900)]
histories = st.lists(  # one per player: what happens, after how long, how often it was logged
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(GAPS), st.sampled_from([1, 1, 1, 2, 3])), max_size=12),
    min_size=20,
    max_size=60,
)


def logged(history: list[list[tuple[tuple[str | None, str | None], timedelta, int]]]) -> list[tuple[Step, int]]:
    steps = []
    for number, player in enumerate(history):
        time = at("1 00:00")
        for count, ((action, end), gap, copies) in enumerate(player):
            time += gap
            if time < window_of(DAYS[-1]).end:
                steps.append((Step(f"p{number}", time, float(count), action, end, float(count % 3)), copies))
    return steps


def expected(steps: list[Step], day: int, waiting: dict[str, tuple[Step, datetime]]) -> tuple[list[Row], dict]:
    """The transitions of one window and what it leaves open, read off the definitions."""
    window = window_of(day)
    fresh = sorted((s for s in steps if window.start <= s.time < window.end), key=lambda s: s.time)
    done, still = [], {}
    for player in sorted({s.player for s in fresh} | set(waiting)):
        mine = [s for s in fresh if s.player == player]
        before, episode = waiting.get(player, (None, None))
        for step in mine:
            after_end = before is not None and (
                before.action is None
                or before.end == "terminated"
                or (before.end == "truncated" and step.action is not None)
            )
            if before is None or after_end or step.time - before.time > TIMEOUT:
                episode = step.time
            elif before.action is not None:
                done.append(transition(before, episode, step))
            if step.end == "terminated" and step.action is not None:
                done.append(transition(step, episode, None))
            before = step
        open_ = before is not None and before.action is not None and before.end != "terminated"
        if open_ and window.end - before.time <= TIMEOUT:
            still[player] = (before, episode)
    return done, still


def transition(step: Step, episode: datetime, after: Step | None) -> Row:
    reward = 2.0 * step.click
    if after is None:
        return (step.player, micros(step.time), micros(episode), None, None, None, "terminated", reward)
    end = "truncated" if after.action is None else "none"
    action = None if after.action is None else "ab".index(after.action)
    return (step.player, micros(step.time), micros(episode), micros(after.time), after.x, action, end, reward)


def micros(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=time.tzinfo)) // timedelta(microseconds=1)


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=histories)
def test_window_by_window(build: Callable[..., WindowBuild], rows_of: Callable[..., list[Row]], history: list) -> None:
    app, waiting = uuid4().hex, {}
    steps = logged(history)
    unique = [step for step, _ in steps]
    for day in DAYS:
        window = window_of(day)
        rows = [s.row() for s, copies in steps for _ in range(copies) if window.start <= s.time < window.end]
        if not rows:  # a window without rows cannot be built, and nothing is bridged over it
            waiting = {}
            continue
        built = build(day, rows, timeout=TIMEOUT, into=app)
        done, waiting = expected(unique, day, waiting)
        assert rows_of("trajectories", day, COLUMNS, into=app) == sorted(done)
        assert rows_of("open", day, ["env_id", "unix_micros(timestamp)", "unix_micros(episode)"], into=app) == [
            (player, micros(step.time), micros(episode)) for player, (step, episode) in sorted(waiting.items())
        ]
        mine = {s for s in unique if window.start <= s.time < window.end}
        assert (built.rows_in, built.timesteps.rows) == (len(rows), len(mine))
        assert built.duplicates == len(rows) - len(mine)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=histories)
def test_windows_of_any_length(
    build: Callable[..., WindowBuild], rows_of: Callable[..., list[Row]], history: list
) -> None:
    """One window of three days gives the transitions of three windows of a day, if none of these is missing."""
    present = [(Step("always", at(f"{day} 00:00"), 0.0, "a", None, 0.0), 1) for day in DAYS]
    rows = [s.row() for s, copies in [*present, *logged(history)] for _ in range(copies)]
    daily, whole = uuid4().hex, uuid4().hex
    for day in DAYS:
        window = window_of(day)
        build(day, [row for row in rows if window.start <= row[1] < window.end], timeout=TIMEOUT, into=daily)
    build(1, rows, timeout=TIMEOUT, into=whole, window=Window(window_of(1).start, window_of(3).end, window_of(1).ds))
    by_day = [row for day in DAYS for row in rows_of("trajectories", day, COLUMNS, into=daily)]
    assert sorted(by_day, key=str) == sorted(rows_of("trajectories", 1, COLUMNS, into=whole), key=str)
    assert rows_of("open", 3, COLUMNS[:3], into=daily) == rows_of("open", 1, COLUMNS[:3], into=whole)
