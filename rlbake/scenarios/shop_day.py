"""A day of visits to a shop, ten per player, each with one decision that changes nothing about the next."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.scenarios.counter_noise import CounterNoise
from rlbake.scenarios.scenario import UTC_MICROSECONDS, microseconds

VISITS = 10  # of every player, every day
PLAYER = "player_id"
MINUTE, HOUR = 60, 3600  # seconds
EARLIEST, SPREAD = HOUR, 13 * HOUR  # of the first visit, in seconds of the day; all others follow within the day
DELAY = 15 * MINUTE  # at most; but for it, visits are an hour apart


class ShopDay:
    """All visits of one window, N = units x VISITS.

    Attributes:
        noise: of this scenario and seed.
        identity: (player, day, visit), int64 [N] each, by which all that is random about a visit is looked up.
        player_id: str [N].
        second: int64 [N], of the day.
        last: bool [N], the player's last visit of the day.
    """

    def __init__(self, scenario: str, window: Window, number: int, units: int, seed: int) -> None:
        self._start = window.start
        self.noise = CounterNoise(scenario, seed)
        player, visit = (grid.ravel() for grid in np.mgrid[:units, :VISITS])
        self.identity = (player, np.full(len(player), number), visit)
        self.player_id = np.char.add("p", player.astype(str))
        first = EARLIEST + self.noise.integers("first visit", SPREAD, player, number)
        self.second = first + HOUR * visit + self.between("delay", 0, DELAY)
        self.last = visit == VISITS - 1

    def uniform(self, stream: str) -> np.ndarray:
        """float64 [N]."""
        return self.noise.uniform(stream, *self.identity)

    def between(self, stream: str, low: int, high: int) -> np.ndarray:
        """Seconds, int64 [N], the highest excluded."""
        return low + self.noise.integers(stream, high - low, *self.identity)

    def log(self, columns: dict[str, np.ndarray | pa.Array]) -> pa.Table:
        """Rows in order of time, their timestamps given in seconds of the day."""
        seconds = np.asarray(columns[v.TIMESTAMP])
        instants = pa.array(microseconds(self._start, seconds)).cast(UTC_MICROSECONDS)
        table = pa.table({name: pa.array(values) for name, values in (columns | {v.TIMESTAMP: instants}).items()})
        return table.take(np.argsort(seconds, kind="stable"))
