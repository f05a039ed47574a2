"""One day of messages as three systems log it: what was seen, what was decided, what happened.

All that a day holds is looked up from (seed, slot, day), so no day needs another one. A slot is a
place in the population that one player after the other takes: each stays for the slot's own number
of days, whatever is sent, and uninstalls after the last message.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.policies.policy import Decisions
from rlbake.scenarios import daily_rhythm as rhythm
from rlbake.scenarios.counter_noise import CounterNoise
from rlbake.scenarios.scenario import microseconds

PLAYER, EVENT, UNINSTALL = "player_id", "event", "uninstall"
SHORTEST_STAY, LONGEST_STAY = 15, 120  # days, the longest excluded
MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds

# Sessions in which a player is observed: share of players, earliest and latest, in seconds from the decision.
FRESH = (1.0, -HOUR, 0)
STALE = (0.5, -12 * HOUR, -6 * HOUR)
LATER = (0.3, MINUTE, 6 * HOUR)
SESSIONS = (FRESH, STALE, LATER)

# Seconds. A message goes out at most 23 hours after its decision, so all of this precedes the next decision.
REACTION = (5, 50 * MINUTE)  # from sending
FAREWELL = (23 * HOUR + 50 * MINUTE, 24 * HOUR)  # from the decision


class MessageDay:
    """The players of one window and what becomes of them.

    Attributes:
        seen: the freshest observations before the decisions, arrays [units].
        policy_noise: float64 [units], for the decisions.
    """

    def __init__(self, window: Window, number: int, units: int, seed: int) -> None:
        self._start, self._number = window.start, number
        self._noise = CounterNoise("message_timing", seed)
        self._slot = np.arange(units)
        stay = SHORTEST_STAY + self._noise.integers("stay", LONGEST_STAY - SHORTEST_STAY, self._slot)
        elapsed = number + (self._noise.uniform("phase", self._slot) * stay).astype(np.int64)
        generation, self._age = np.divmod(elapsed, stay)
        self._last_day = self._age == stay - 1
        self._players = rhythm.draw_players(self._noise, self._slot, generation)
        self._weekend = rhythm.is_weekend(window.start)
        slots, generations = self._slot.astype(str), generation.astype(str)
        self._player_id = np.char.add(np.char.add(np.char.add("p", slots), "-"), generations)
        self._second = self._noise.integers("second", DAY, self._slot)  # of the day, the same every day
        self.seen = self._observed(SESSIONS.index(FRESH))
        self.policy_noise = self._uniform("policy")

    def observations_log(self) -> pa.Table:
        """Features per session: the player, when, and what was seen; some after the decision."""
        parts = []
        for session, (share, earliest, latest) in enumerate(SESSIONS):
            happened = self._uniform(f"session {session}") < share
            second = self._second + self._between(f"session {session} at", earliest, latest)
            columns = {PLAYER: self._player_id, v.TIMESTAMP: second, **self._observed(session)}
            parts.append({name: values[happened] for name, values in columns.items()})
        return self._log({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def decisions_log(self, decided: Decisions, policy_version: str) -> pa.Table:
        """One per player: when, the action's name, its log-probability and who decided."""
        return self._log(
            {
                PLAYER: self._player_id,
                v.TIMESTAMP: self._second,
                v.ACTION: np.array(rhythm.CLOCK)[decided.action],
                v.LOG_PROBABILITY: decided.log_probability,
                v.POLICY_VERSION: np.full(len(self._slot), policy_version),
            }
        )

    def outcomes_log(self, action: np.ndarray) -> pa.Table:
        """One row per event: the player, when, and which."""
        hours_ahead = (action - self._second // HOUR) % rhythm.HOURS
        full_hour = (self._second // HOUR + hours_ahead) * HOUR
        sent = np.maximum(full_hour, self._second)  # at once if the hour has begun
        chances = rhythm.probabilities(self._players.hour, action, self._weekend)
        events = {
            metric: (self._uniform(metric) < chance, sent + self._between(f"{metric} at", *REACTION))
            for metric, chance in chances.items()
        }
        events[UNINSTALL] = (self._last_day, self._second + self._between("uninstall at", *FAREWELL))
        return self._log(
            {
                PLAYER: np.concatenate([self._player_id[happened] for happened, _ in events.values()]),
                v.TIMESTAMP: np.concatenate([second[happened] for happened, second in events.values()]),
                EVENT: np.concatenate([np.full(happened.sum(), event) for event, (happened, _) in events.items()]),
            }
        )

    def _uniform(self, stream: str) -> np.ndarray:
        return self._noise.uniform(stream, self._slot, self._number)

    def _between(self, stream: str, low: int, high: int) -> np.ndarray:
        return low + (self._uniform(stream) * (high - low)).astype(np.int64)

    def _observed(self, session: int) -> dict[str, np.ndarray]:
        return rhythm.observe(self._players, self._uniform(f"reading {session}"), self._weekend, self._age)

    def _log(self, columns: dict[str, np.ndarray]) -> pa.Table:
        """Rows in order of time, their timestamps given in seconds of the day."""
        order = np.argsort(columns[v.TIMESTAMP], kind="stable")
        columns = columns | {v.TIMESTAMP: microseconds(self._start, columns[v.TIMESTAMP])}
        table = pa.table({name: pa.array(values[order]) for name, values in columns.items()})
        instants = table.column(v.TIMESTAMP).cast(pa.timestamp("us", tz="UTC"))
        return table.set_column(1, v.TIMESTAMP, instants)
