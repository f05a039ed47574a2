"""Scenarios whose units play one whole episode each within a window, and are then never seen again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.policies.policy import Policy
from rlbake.scenarios.counter_noise import CounterNoise
from rlbake.scenarios.scenario import Scenario, microseconds
from rlbake.specs import Discrete

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

DECISIONS = "decisions"
_SECOND = "second"  # of the window


class EpisodicScenario(Scenario):
    """Its world truncates no episode and its decisions are Discrete; the log holds them as timesteps.

    Attributes:
        pace: time between two decisions of an episode.
    """

    action: ClassVar[Discrete]
    pace: ClassVar[timedelta]
    logs = (DECISIONS,)

    def timesteps(self, spark: SparkSession, window: Window) -> DataFrame:
        return self.read_log(spark, DECISIONS, window)

    def population(self, spark: SparkSession, date: Window) -> DataFrame:
        """Everybody of the window as first seen: so do the episodes of the next one begin."""
        from pyspark.sql import functions as F

        features = [feature.name for feature in self.observation]
        seen = F.min_by(F.struct(*features), v.TIMESTAMP).alias(v.OBSERVATION)
        first = self.read_log(spark, DECISIONS, date).groupBy(*self.keys).agg(seen)
        return first.select(*self.keys, f"{v.OBSERVATION}.*")

    def play(self, window: Window, policy: Policy, units: int, seed: int) -> dict[str, pa.Table]:
        """One row per decision of `units` newcomers, who begin at any time that leaves room for an episode."""
        noise, number, unit = CounterNoise(self.name, seed), self.number(window), np.arange(units)
        world, pace = self.world_at(window), int(self.pace.total_seconds())
        room = int((window.end - window.start).total_seconds()) - world.horizon * pace
        begin = noise.integers("begin", room, unit, number)
        newcomers = np.char.add(f"{number}-", unit.astype(str))

        observations = world.reset(units, int(noise.integers("world", 2**53, number)[0]))
        alive, played = np.ones(units, bool), []
        for t in range(world.horizon):
            decided = policy.decide(observations, noise.uniform("policy", unit, number, t))
            step = world.step(decided.action)
            row = {
                self.keys[0]: newcomers,
                _SECOND: begin + t * pace,
                **observations,
                v.ACTION: np.array(self.action.names)[decided.action],
                v.LOG_PROBABILITY: decided.log_probability,
                **step.metrics,
                v.END: np.where(step.terminated, v.TERMINATED, v.NOT_ENDED),
            }
            played.append({column: values[alive] for column, values in row.items()})
            alive &= ~step.terminated
            observations = step.observations
            if not alive.any():
                break
        columns = {column: np.concatenate([rows[column] for rows in played]) for column in played[0]}
        instants = microseconds(window.start, columns.pop(_SECOND))
        columns[v.POLICY_VERSION] = np.full(len(instants), policy.version)
        decisions = pa.table({column: pa.array(values) for column, values in columns.items()})
        return {DECISIONS: decisions.add_column(1, v.TIMESTAMP, pa.array(instants, pa.timestamp("us", tz="UTC")))}
