"""At which UTC hour to send today's message, for players all over the world.

One decision per player and day, at a time of day of the player's own; the message goes out at the
next occurrence of the chosen hour, so what it causes often falls into the next day, but always
before the player's next decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.cadence import Cadence, Window
from rlbake.policies.policy import Policy
from rlbake.scenarios import daily_rhythm as rhythm
from rlbake.scenarios.counter_noise import CounterNoise
from rlbake.scenarios.message_logs import EVENT, LONGEST_STAY, PLAYER, UNINSTALL, MessageDay
from rlbake.scenarios.scenario import Scenario
from rlbake.specs import Binary, Category, Discrete, Number
from rlbake.world import Observations, Step

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

RULES_LOCAL_HOUR = 18


class MessageTimingWorld:
    """B players, a decision a day for a week.

    Nothing a message does reaches beyond its day, so both returns are exact sums over the days: five
    weekdays and two weekend days of the Bayes-optimal expected reward for what the observation shows,
    and of the average over the hours.
    """

    horizon = 7

    def __init__(self) -> None:
        weekday, weekend = (rhythm.values(MessageTiming.reward, weekend) for weekend in (False, True))
        self.best_return = float(5 * weekday.max(axis=-1).sum() + 2 * weekend.max(axis=-1).sum())
        self.random_return = float(5 * weekday.mean(axis=-1).sum() + 2 * weekend.mean(axis=-1).sum())

    def reset(self, environments: int, seed: int) -> Observations:
        """Players who have nothing to do with those in the logs; day 0 is a Monday."""
        self._noise = CounterNoise("evaluation", seed)
        self._identity = np.arange(environments)
        self._players = rhythm.draw_players(self._noise, self._identity)
        self._age = self._noise.integers("age", LONGEST_STAY, self._identity)
        self._day = 0
        return self._observed()

    def step(self, action: np.ndarray) -> Step:
        """Sends one message to every player and lets a day pass."""
        chances = rhythm.probabilities(self._players.hour, action, self._weekend())
        alive = self._day < self.horizon
        metrics = {
            metric: (alive & (self._noise.uniform(metric, self._identity, self._day) < chance)).astype(np.float32)
            for metric, chance in chances.items()
        }
        self._day += 1
        cut = np.full(len(action), self._day == self.horizon)
        return Step(self._observed(), metrics, np.zeros(len(action), bool), cut)

    def _weekend(self) -> bool:
        return self._day % 7 >= 5

    def _observed(self) -> Observations:
        reading = self._noise.uniform("reading", self._identity, self._day)
        return rhythm.observe(self._players, reading, self._weekend(), self._age + self._day)


class MessageTiming(Scenario):
    """At which hour of the day (UTC) to message each player.

    A decision is followed by at most one click, and at most one unsubscription: from messages of
    today's topic, so that tomorrow's message about another one still goes out.
    """

    name = "message_timing"
    keys = (PLAYER,)
    cadence = Cadence(start="2026-01-01", every="1d", reward_delay="1d", training_window=30, episode_timeout="14d")
    observation = (
        Category(rhythm.COUNTRY, rhythm.COUNTRIES),
        Category(rhythm.AGE_BAND, rhythm.AGE_BANDS),
        Category(rhythm.PLATFORM, rhythm.PLATFORMS),
        Category(rhythm.USUAL_HOUR, rhythm.CLOCK),  # UTC, as lately seen on a weekday: noisy
        Binary(rhythm.IS_WEEKEND),  # of the window's day in UTC
        Number(rhythm.DAYS_SINCE_INSTALL, low=0),  # tells nothing about the best hour
    )
    action = Discrete(rhythm.CLOCK)
    metrics = rhythm.METRICS
    # One reader lost costs as much as two clicks bring.
    reward = {"click": 1.0, "unsubscribe": -2.0}
    # Today's hour changes nothing about tomorrow: not the rhythm, nor who stays. A look ahead adds only noise.
    gamma = 0.0
    gate = {"ignored_drift": ["is_weekend"]}

    units = 20_000
    warm_up = 3  # a decision's successor comes a day later, and one day held out tells too little about 24 hours
    logs = ("observations", "outcomes", "decisions")  # decisions last: they are never empty

    def world(self) -> MessageTimingWorld:
        return MessageTimingWorld()

    def rules(self, observations: Observations) -> np.ndarray:
        """Send at 18:00 local time, by the country's offset in winter."""
        known, which = np.unique(observations[rhythm.COUNTRY], return_inverse=True)
        hours = np.array([(RULES_LOCAL_HOUR - rhythm.UTC_OFFSET[country]) % rhythm.HOURS for country in known.tolist()])
        return hours[which].astype(np.int32)

    def timesteps(self, spark: SparkSession, window: Window) -> DataFrame:
        """Joins the window's logs; whoever uninstalled has made a last decision.

        The window's observations reach twelve hours back before its first decision, and its outcomes 24
        hours beyond its last.
        """
        from pyspark.sql import functions as F

        from rlbake.timesteps.join_logs import join_logs

        events = self.read_log(spark, "outcomes", window)
        counted = [(F.col(EVENT) == event).cast("double").alias(event) for event in (*self.metrics, UNINSTALL)]
        joined = join_logs(
            observations=self.read_log(spark, "observations", window),
            decisions=self.read_log(spark, "decisions", window),
            outcomes=events.select(PLAYER, v.TIMESTAMP, *counted),
            attribution="24h",
            keys=self.keys,
        )
        end = F.when(F.col(UNINSTALL) > 0, v.TERMINATED).otherwise(v.NOT_ENDED)
        return joined.withColumn(v.END, end).drop(UNINSTALL)

    def population(self, spark: SparkSession, date: Window) -> DataFrame:
        """Who got a message in the window and stayed: as last seen, with the calendar moved on a day."""
        from pyspark.sql import functions as F

        features = [feature.name for feature in self.observation]
        observations = self.read_log(spark, "observations", date)
        gone = self.read_log(spark, "outcomes", date).where(F.col(EVENT) == UNINSTALL).select(PLAYER)
        seen = observations.groupBy(PLAYER).agg(F.max_by(F.struct(*features), v.TIMESTAMP).alias(v.OBSERVATION))
        tomorrow = {
            rhythm.IS_WEEKEND: F.lit(rhythm.is_weekend(self.cadence.following(date).start)),
            rhythm.DAYS_SINCE_INSTALL: F.col(rhythm.DAYS_SINCE_INSTALL) + F.lit(1).cast("float"),
        }
        stayed = seen.join(gone, on=PLAYER, how="left_anti").select(PLAYER, f"{v.OBSERVATION}.*")
        return stayed.withColumns(tomorrow)

    def play(self, window: Window, policy: Policy, units: int, seed: int) -> dict[str, pa.Table]:
        """One decision for each of `units` players, what was seen around it, and what it caused."""
        day = MessageDay(window, self.number(window), units, seed)
        decided = policy.decide(day.seen, day.policy_noise)
        return {
            "observations": day.observations_log(),
            "outcomes": day.outcomes_log(decided.action),
            "decisions": day.decisions_log(decided, policy.version),
        }
