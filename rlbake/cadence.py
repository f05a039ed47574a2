"""When decisions are made, and how time is cut into windows.

A window is the half-open interval [start, start + every), named by its `ds`: the UTC start in
ISO 8601, `2026-01-31` where every window starts at midnight and `2026-01-31T05` otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pandas as pd

from rlbake.errors import ConfigError, SpecError


def duration(text: str) -> timedelta:
    """Parses "1d", "24h", "90min" and whatever else `pandas.Timedelta` reads.

    Raises:
        SpecError: the text is no duration, or is not positive.
    """
    try:
        parsed = pd.Timedelta(text).to_pytimedelta()
    except ValueError as error:
        raise SpecError(f"{text!r} is not a duration: write it like '1d', '24h' or '90min'.") from error
    if parsed <= timedelta(0):
        raise SpecError(f"duration {text!r} is not positive.")
    return parsed


def instant(text: str) -> datetime:
    """Parses an ISO 8601 date or time; one without an offset is UTC.

    Raises:
        ConfigError: the text is neither.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{text!r} is not an ISO 8601 date or time, such as 2026-01-31.") from error
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


@dataclass(frozen=True, order=True)
class Window:
    """One period of decisions: [start, end), both aware and in UTC."""

    start: datetime
    end: datetime
    ds: str

    def __str__(self) -> str:
        return self.ds


@dataclass(frozen=True, init=False)
class Cadence:
    """How often decisions are made and how long their consequences take.

    Attributes:
        start: UTC start of the first window; a whole hour.
        every: length of a window; whole hours.
        reward_delay: a window may be built this long after its end, when its outcomes are in.
        training_window: how many windows an agent is trained on.
        episode_timeout: silence after which an episode counts as truncated; None: never.
        lateness: how long after the end of its window a log row may still arrive and be noticed
            without being asked for; three windows unless given.
    """

    start: datetime
    every: timedelta
    reward_delay: timedelta
    training_window: int
    episode_timeout: timedelta | None
    lateness: timedelta

    def __init__(
        self,
        start: str,
        every: str = "1d",
        reward_delay: str | None = None,
        training_window: int = 30,
        episode_timeout: str | None = None,
        lateness: str | None = None,
    ) -> None:
        hour = timedelta(hours=1)
        set_ = object.__setattr__
        set_(self, "start", instant(start))
        set_(self, "every", duration(every))
        set_(self, "reward_delay", timedelta(0) if reward_delay is None else duration(reward_delay))
        set_(self, "training_window", training_window)
        set_(self, "episode_timeout", None if episode_timeout is None else duration(episode_timeout))
        set_(self, "lateness", 3 * self.every if lateness is None else duration(lateness))
        if self.every % hour or (self.start - datetime(1970, 1, 1, tzinfo=UTC)) % hour:
            raise SpecError(f"cadence: start {start!r} and every {every!r} must be whole hours.")
        if training_window < 1:
            raise SpecError(f"cadence: training_window {training_window} is below 1.")

    def _window(self, number: int) -> Window:
        start = self.start + number * self.every
        midnight = self.start.hour == 0 and not self.every % timedelta(days=1)
        return Window(start, start + self.every, start.strftime("%Y-%m-%d" if midnight else "%Y-%m-%dT%H"))

    @property
    def first(self) -> Window:
        """The first window of all."""
        return self._window(0)

    def window(self, at: str | datetime) -> Window:
        """The window that holds an instant, given as ISO text, a `ds` or a datetime.

        Raises:
            ConfigError: the text is no date, or lies before the first window.
        """
        time = instant(at) if isinstance(at, str) else at.astimezone(UTC)
        if time < self.start:
            raise ConfigError(f"date {at} lies before the first window, {self.first}.")
        return self._window((time - self.start) // self.every)

    def windows(self, first: Window, last: Window) -> list[Window]:
        """All windows from first to last, both included."""
        low, high = ((w.start - self.start) // self.every for w in (first, last))
        return [self._window(n) for n in range(low, high + 1)]

    def previous(self, window: Window, n: int = 1) -> Window | None:
        """The window n before this one; None before the first."""
        number = (window.start - self.start) // self.every - n
        return self._window(number) if number >= 0 else None

    def following(self, window: Window, n: int = 1) -> Window:
        """The window n after this one."""
        return self._window((window.start - self.start) // self.every + n)

    def training_windows(self, last: Window) -> list[Window]:
        """The `training_window` windows that end with this one, fewer at the start of time."""
        first = self.previous(last, self.training_window - 1) or self.first
        return self.windows(first, last)

    def late_windows(self, before: Window) -> list[Window]:
        """The windows before this one whose rows may still be arriving."""
        windows = -(-self.lateness // self.every)
        previous = self.previous(before)
        first = self.previous(before, windows) or self.first
        return [] if previous is None else self.windows(first, previous)

    def latest_complete(self, now: datetime) -> Window:
        """The last window whose outcomes are in by now.

        Raises:
            ConfigError: not even the first window is complete.
        """
        number = (now.astimezone(UTC) - self.reward_delay - self.start) // self.every - 1
        if number < 0:
            raise ConfigError(f"no window is complete yet: the first starts at {self.start.isoformat()}.")
        return self._window(number)
