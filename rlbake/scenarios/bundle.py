"""Which item to show in the shop, and at which discount: one decision about both.

Ten visits per player and day, each of which changes nothing about the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.cadence import Cadence, Window
from rlbake.policies.policy import Policy
from rlbake.scenarios import appetite
from rlbake.scenarios.counter_noise import CounterNoise
from rlbake.scenarios.scenario import Scenario
from rlbake.scenarios.shop_day import MINUTE, PLAYER, VISITS, ShopDay
from rlbake.specs import Binary, Category, MultiDiscrete, Number
from rlbake.world import Observations, Step

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

REVENUE, PURCHASE = "revenue", "purchase"
REPEATED = 0.01  # share of rows that are exported twice


class BundleWorld:
    """B players, ten visits each; nothing that is shown changes anything about the next visit.

    So both returns are exact sums: of the best action's expected revenue for what each observation tells
    about the hidden wealth, and of the average over all combinations.
    """

    horizon = VISITS

    def __init__(self) -> None:
        table = appetite.values()
        self.best_return = float(self.horizon * table.max(axis=(-2, -1)).sum())
        self.random_return = float(self.horizon * table.mean(axis=(-2, -1)).sum())

    def reset(self, environments: int, seed: int) -> Observations:
        """Players who have nothing to do with those in the logs."""
        self._noise = CounterNoise("evaluation", seed)
        self._player = np.arange(environments)
        self._visit = 0
        return self._open_shop()

    def step(self, action: np.ndarray) -> Step:
        """Shows every player an item at a discount, by their indices, int [B, 2]."""
        bought = _bought(self._visitors, action, self._noise.uniform(PURCHASE, self._player, self._visit))
        bought &= self._visit < self.horizon
        self._visit += 1
        over = np.full(len(bought), self._visit == self.horizon)
        metrics = {name: values.astype(np.float32) for name, values in _earned(bought, action).items()}
        return Step(self._open_shop(), metrics, np.zeros(len(bought), bool), over)

    def _open_shop(self) -> Observations:
        self._visitors = appetite.draw_visitors(self._noise, self._player, 0, self._visit)
        return self._visitors.observed()


def _bought(visitors: appetite.Visitors, action: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    return uniform < appetite.buying(visitors.hero, visitors.wealth, visitors.won, *action.T)


def _earned(bought: np.ndarray, action: np.ndarray) -> dict[str, np.ndarray]:
    return {REVENUE: bought * appetite.price(*action.T), PURCHASE: bought.astype(np.float64)}


class Bundle(Scenario):
    """Which of six items at which of four discounts earns the most from each player."""

    name = "bundle"
    keys = (PLAYER,)
    cadence = Cadence(start="2026-01-01", every="1d", training_window=7)
    observation = (
        Category(appetite.HERO, appetite.HEROES),
        Number(appetite.GOLD, low=0),  # tells, with noise, how rich somebody is
        Binary(appetite.JUST_WON),
        Number(appetite.LEVEL, low=1),  # tells nothing
    )
    action = MultiDiscrete({appetite.ITEM: appetite.ITEMS, appetite.DISCOUNT: appetite.DISCOUNTS})
    metrics = (REVENUE, PURCHASE)
    reward = {REVENUE: 1.0}
    gamma = 0.0  # nothing that is shown changes anything about the next visit

    units = 5_000  # 50,000 decisions a day: some 2,000 for each combination
    warm_up = 2  # whether somebody buys is a toss
    logs = ("visits",)

    def world(self) -> BundleWorld:
        return BundleWorld()

    def rules(self, observations: Observations) -> np.ndarray:
        """A cape at full price for whoever carries 5,000 gold, else a potion at 10 % off."""
        rich = observations[appetite.GOLD] >= 5
        cape, potion = list(appetite.ITEMS).index("cape"), list(appetite.ITEMS).index("potion")
        return np.stack([np.where(rich, cape, potion), np.where(rich, 0, 1)], axis=1).astype(np.int32)

    def timesteps(self, spark: SparkSession, window: Window) -> DataFrame:
        return self.read_log(spark, "visits", window)

    def population(self, spark: SparkSession, date: Window) -> DataFrame:
        """Everybody who was seen in the window, as last seen."""
        from pyspark.sql import functions as F

        features = F.struct(*(feature.name for feature in self.observation))
        seen = self.read_log(spark, "visits", date).groupBy(PLAYER)
        return seen.agg(F.max_by(features, v.TIMESTAMP).alias(v.OBSERVATION)).select(PLAYER, f"{v.OBSERVATION}.*")

    def play(self, window: Window, policy: Policy, units: int, seed: int) -> dict[str, pa.Table]:
        """Ten visits of each of `units` players, what they saw at last, and some rows twice."""
        day = ShopDay(self.name, window, self.number(window), units, seed)
        visitors = appetite.draw_visitors(day.noise, *day.identity)
        decided = policy.decide(visitors.observed(), day.uniform("policy"))
        bought = _bought(visitors, decided.action, day.uniform(PURCHASE))
        rows = day.log(
            {
                PLAYER: day.player_id,
                v.TIMESTAMP: day.second,
                **visitors.observed(),
                v.ACTION: _named(decided.action),
                v.LOG_PROBABILITY: decided.log_probability,
                **_earned(bought, decided.action),
                v.END: np.full(len(bought), v.NOT_ENDED),
                v.POLICY_VERSION: np.full(len(bought), policy.version),
            }
        )
        again = day.uniform("repeated") < REPEATED
        return {"visits": pa.concat_tables([rows, rows.filter(pa.array(again)), _last_seen(day, rows.schema)])}


def _named(action: np.ndarray) -> pa.ListArray:
    """list<string> [N]: an item and a discount each."""
    columns = [np.array(names)[chosen] for (_, names), chosen in zip(Bundle.action.sets, action.T, strict=True)]
    names = pa.array(np.stack(columns, axis=1).ravel())
    return pa.FixedSizeListArray.from_arrays(names, len(columns)).cast(pa.list_(pa.string()))


def _last_seen(day: ShopDay, schema: pa.Schema) -> pa.Table:
    """The final observation of every player's day, half an hour after the last decision."""
    player, number, visit = (counter[day.last] for counter in day.identity)
    columns = {
        PLAYER: day.player_id[day.last],
        v.TIMESTAMP: day.second[day.last] + 30 * MINUTE,
        **appetite.draw_visitors(day.noise, player, number, visit + 1).observed(),
        v.END: np.full(len(player), v.TRUNCATED),
    }
    nothing = {field.name: pa.nulls(len(player), field.type) for field in schema if field.name not in columns}
    return day.log(columns | nothing).select(schema.names)
