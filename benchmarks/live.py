"""Shipped scenarios as they would be lived: players who ask for decisions, act on them and tell what followed.

An application here has no logs of its own: its timesteps are what was remembered of decisions and outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from rlbake import Application, Cadence, Window
from rlbake import vocabulary as v
from rlbake.scenarios import daily_rhythm as rhythm
from rlbake.scenarios.counter_noise import CounterNoise
from rlbake.scenarios.level_difficulty import LevelDifficulty, LevelDifficultyWorld
from rlbake.scenarios.message_logs import EVENT, UNINSTALL, MessageDay
from rlbake.scenarios.message_timing import MessageTiming, MessageTimingWorld
from rlbake.sources import ExperienceLog
from rlbake.world import Observations

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Row = dict[str, Any]

NIGHT = timedelta(hours=2)  # from midnight: nobody plays a level, and `main` runs


@dataclass(frozen=True)
class Answer:
    """One decision, as far as a player needs it."""

    decision_id: str
    action: int
    policy_version: str


class Decider(Protocol):
    """Whom the players ask."""

    def decide(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer per row: keys, `timestamp` and features."""
        ...

    def tell(self, rows: Sequence[Row]) -> None:
        """What followed: `timestamp`, `outcome_id`, the decision's id or the keys, metrics or `end`."""
        ...


@dataclass(frozen=True)
class Day:
    """What a day of all players was like.

    Attributes:
        earned: mean return, in the unit of `bounds`.
        decisions: how many there were.
        by: share of them by who decided.
    """

    earned: float
    decisions: int
    by: dict[str, float]


class Players(Protocol):
    """A population that lives one day after the other."""

    def live(self, window: Window, decider: Decider) -> Day:
        """Asks for every decision of a day and tells what followed, some of it on the next day."""
        ...

    def bounds(self, window: Window) -> tuple[float, float]:
        """What chance and the best policy would have earned that day, exactly."""
        ...


class LiveMessageTiming(Application):
    """`message_timing`, a decision a day for every player."""

    name = "live_message_timing"
    keys = MessageTiming.keys
    cadence = MessageTiming.cadence
    observation = MessageTiming.observation
    action = MessageTiming.action
    metrics = MessageTiming.metrics
    reward = MessageTiming.reward
    gamma = MessageTiming.gamma
    gate = {**MessageTiming.gate, "loads_in": "process"}
    source = ExperienceLog(attribution="24h")
    rules = MessageTiming.rules

    units: ClassVar[int] = MessageTiming.units
    nights_behind: ClassVar[int] = 1  # windows: outcomes come up to a day after their decision
    warm_up: ClassVar[int] = MessageTiming.warm_up

    def world(self) -> MessageTimingWorld:
        return MessageTimingWorld()

    def population(self, spark: SparkSession, date: Window) -> DataFrame:
        """Who got a message and stayed, with the calendar moved on a day."""
        from pyspark.sql import functions as F

        tomorrow = {
            rhythm.IS_WEEKEND: F.lit(rhythm.is_weekend(self.cadence.following(date).start)),
            rhythm.DAYS_SINCE_INSTALL: F.col(rhythm.DAYS_SINCE_INSTALL) + F.lit(1.0),
        }
        return self.source.last_seen(spark, date, self).withColumns(tomorrow)


class MessageReaders:
    """The players of `message_timing`. The return is that of one decision."""

    def __init__(self, units: int, seed: int) -> None:
        self._units, self._seed = units, seed
        self._tomorrow: list[Row] = []

    def live(self, window: Window, decider: Decider) -> Day:
        """Clicks name their decision; an uninstallation knows only its player, and ends the episode."""
        decider.tell(self._tomorrow)
        day = _MessageDay(window, _number(window, LiveMessageTiming.cadence), self._units, self._seed)
        rows = _rows({day.key: day.players, **day.seen}, [window.start + timedelta(seconds=s) for s in day.seconds])
        answers = decider.decide(rows)
        action = np.array([answer.action for answer in answers])
        events = day.outcomes_log(action).to_pylist()
        asked = {row[day.key]: answer.decision_id for row, answer in zip(rows, answers, strict=True)}
        told = [_event(row, day.key, asked[row[day.key]]) for row in events]
        self._tomorrow = [row for row in told if row[v.TIMESTAMP] >= _text(window.end)]
        decider.tell([row for row in told if row[v.TIMESTAMP] < _text(window.end)])
        reward = sum(LiveMessageTiming.reward.get(row[EVENT], 0.0) for row in events)
        return Day(reward / self._units, len(answers), _by(answers))

    def bounds(self, window: Window) -> tuple[float, float]:
        values = rhythm.values(LiveMessageTiming.reward, rhythm.is_weekend(window.start))
        return float(values.mean(axis=-1).sum()), float(values.max(axis=-1).sum())


class _MessageDay(MessageDay):
    """A day of the scenario, with its players in the order of `seen`."""

    key = MessageTiming.keys[0]

    def __init__(self, window: Window, number: int, units: int, seed: int) -> None:
        super().__init__(window, number, units, seed)
        self.players, self.seconds = self._player_id, self._second.tolist()


def _event(row: Row, key: str, decision_id: str) -> Row:
    told: Row = {v.TIMESTAMP: _text(row[v.TIMESTAMP]), v.OUTCOME_ID: f"{decision_id}-{row[EVENT]}"}
    if row[EVENT] == UNINSTALL:
        return {**told, key: row[key], v.END: v.TERMINATED}
    return {**told, v.DECISION_ID: decision_id, row[EVENT]: 1.0}


class LiveLevelDifficulty(Application):
    """`level_difficulty`, a whole season a day for every player."""

    name = "live_level_difficulty"
    keys = LevelDifficulty.keys
    cadence = Cadence(start="2026-01-01", every="1d", reward_delay="1h", training_window=3)
    observation = LevelDifficulty.observation
    action = LevelDifficulty.action
    metrics = LevelDifficulty.metrics
    reward = LevelDifficulty.reward
    gamma = LevelDifficulty.gamma
    gate = {**LevelDifficulty.gate, "loads_in": "process"}
    source = ExperienceLog(attribution="1h")
    rules = LevelDifficulty.rules

    units: ClassVar[int] = LevelDifficulty.units
    nights_behind: ClassVar[int] = 0
    warm_up: ClassVar[int] = 1

    def world(self) -> LevelDifficultyWorld:
        return LevelDifficultyWorld()

    def population(self, spark: SparkSession, date: Window) -> DataFrame:
        """Everybody who played, as first seen: so do the seasons of the next day begin."""
        from pyspark.sql import functions as F

        features = [feature.name for feature in self.observation]
        played = self.source.timesteps(spark, date, self)
        first = played.groupBy(*self.keys).agg(F.min_by(F.struct(*features), v.TIMESTAMP).alias(v.OBSERVATION))
        return first.select(*self.keys, f"{v.OBSERVATION}.*")


class LevelPlayers:
    """The players of `level_difficulty`, new ones every day. The return is that of a season."""

    def __init__(self, units: int, seed: int) -> None:
        self._units, self._noise = units, CounterNoise("live level difficulty", seed)
        self._world = LevelDifficultyWorld()

    def live(self, window: Window, decider: Decider) -> Day:
        number = _number(window, LiveLevelDifficulty.cadence)
        world, pace = self._world, LevelDifficulty.pace
        room = int((window.end - window.start - NIGHT - world.horizon * pace).total_seconds())
        begins = self._noise.integers("begin", room, np.arange(self._units), number).tolist()
        morning = window.start + NIGHT
        seen = world.reset(self._units, int(self._noise.integers("world", 2**53, number)[0]))
        players = np.char.add(f"{number}-", np.arange(self._units).astype(str))
        playing, earned, answers = np.arange(self._units), 0.0, []
        for level in range(world.horizon):
            at = [morning + timedelta(seconds=begins[n]) + level * pace for n in playing]
            asked = {LevelDifficulty.keys[0]: players, **seen}
            said = decider.decide(_rows({name: values[playing] for name, values in asked.items()}, at))
            action = np.zeros(self._units, np.int64)
            action[playing] = [answer.action for answer in said]
            step = world.step(action)
            metrics = {metric: step.metrics[metric][playing].tolist() for metric in LevelDifficulty.metrics}
            ended = step.terminated[playing]
            decider.tell(
                [
                    {
                        v.TIMESTAMP: _text(at[n] + pace / 2),
                        v.OUTCOME_ID: answer.decision_id,
                        v.DECISION_ID: answer.decision_id,
                        **{metric: values[n] for metric, values in metrics.items()},
                        **({v.END: v.TERMINATED} if ended[n] else {}),
                    }
                    for n, answer in enumerate(said)
                ]
            )
            earned += sum(LevelDifficulty.reward[metric] * sum(values) for metric, values in metrics.items())
            answers += said
            playing, seen = playing[~ended], step.observations
            if not len(playing):
                break
        return Day(earned / self._units, len(answers), _by(answers))

    def bounds(self, window: Window) -> tuple[float, float]:
        return self._world.random_return, self._world.best_return


LIVES: dict[str, tuple[type[Application], type[Players]]] = {
    "message_timing": (LiveMessageTiming, MessageReaders),
    "level_difficulty": (LiveLevelDifficulty, LevelPlayers),
}


def _number(window: Window, cadence: Cadence) -> int:
    """How many windows lie before one."""
    return (window.start - cadence.start) // cadence.every


def _rows(columns: Observations, at: Sequence[datetime]) -> list[Row]:
    names = [*columns, v.TIMESTAMP]
    values = [*(column.tolist() for column in columns.values()), map(_text, at)]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _by(answers: Sequence[Answer]) -> dict[str, float]:
    who, count = np.unique([answer.policy_version for answer in answers], return_counts=True)
    return dict(zip(who.tolist(), (count / len(answers)).tolist(), strict=True))
