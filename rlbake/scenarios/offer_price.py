"""What price to show with an offer, to a player who opens the shop.

Ten visits per player and day, one offer each. An offer is taken within twenty minutes or lapses, and
changes nothing about the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.cadence import Cadence, Window
from rlbake.policies.policy import Policy
from rlbake.scenarios import willingness
from rlbake.scenarios.counter_noise import CounterNoise
from rlbake.scenarios.scenario import Scenario
from rlbake.scenarios.shop_day import MINUTE, PLAYER, VISITS, ShopDay
from rlbake.specs import Binary, Category, Continuous, Number
from rlbake.world import Observations, Step

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PRICE, REVENUE, PURCHASE, AMOUNT = "price", "revenue", "purchase", "amount"
LIST_PRICE = {"potion": 2.99, "shield": 4.99, "skin": 12.99}

# When players are observed: share of visits, earliest and latest, in seconds from the offer.
SESSIONS = {"offer": (1.0, -MINUTE, 0), "before": (0.3, -15 * MINUTE, -5 * MINUTE), "after": (0.3, MINUTE, 10 * MINUTE)}
REACTION = (5, 20 * MINUTE)  # seconds from the offer to the purchase
OTHER_PURCHASES = (0.03, 25 * MINUTE, 30 * MINUTE)  # what is bought without an offer: share of visits, seconds from it


class OfferPriceWorld:
    """B players, ten offers each.

    What is shown says all but chance about what somebody would pay, so the best price and its expected
    revenue are known in closed form for everybody, and so is the revenue of a uniformly random price;
    both are summed over the whole population.
    """

    horizon = VISITS

    def __init__(self) -> None:
        (low,), (high,) = OfferPrice.action.low, OfferPrice.action.high
        self.best_return = self.horizon * willingness.best_revenue()
        self.random_return = self.horizon * willingness.random_revenue(low, high)

    def reset(self, environments: int, seed: int) -> Observations:
        """Players who have nothing to do with those in the logs."""
        self._noise = CounterNoise("evaluation", seed)
        self._player = np.arange(environments)
        self._visit = 0
        return self._open_shop()

    def step(self, action: np.ndarray) -> Step:
        """Shows every player an offer at the prices, float [B, 1]."""
        price = action[:, 0].astype(np.float64)
        chance = willingness.buying(price, self._visitors.median())
        taken = self._noise.uniform(PURCHASE, self._player, self._visit) < chance
        taken &= self._visit < self.horizon
        self._visit += 1
        over = np.full(len(taken), self._visit == self.horizon)
        metrics = {REVENUE: (taken * price).astype(np.float32), PURCHASE: taken.astype(np.float32)}
        return Step(self._open_shop(), metrics, over, np.zeros(len(taken), bool))

    def _open_shop(self) -> Observations:
        self._visitors = willingness.draw_visitors(self._noise, self._player, 0, self._visit, "offer")
        return self._visitors.observed()


class OfferPrice(Scenario):
    """Which price earns the most from each player, item and moment: too high sells nothing, too low gives it away."""

    name = "offer_price"
    keys = (PLAYER,)
    cadence = Cadence(start="2026-01-01", every="1d", training_window=7)
    observation = (
        Category(willingness.COUNTRY, willingness.COUNTRY_FACTOR),
        Category(willingness.SPENDER, willingness.SPENDER_FACTOR),
        Category(willingness.ITEM, willingness.ITEM_FACTOR),
        Binary(willingness.JUST_LOST),
        Number(willingness.MINUTES_PLAYED, low=0),
        Number(willingness.BATTERY, low=0, high=1),  # tells nothing about what somebody would pay
    )
    action = Continuous([0.5], [25.0], [PRICE])
    metrics = (REVENUE, PURCHASE)
    reward = {REVENUE: 1.0}
    gamma = 0.0  # no price changes anything about the next offer
    gate = {"primary": "simulated"}  # prices are real numbers: no two policies choose the same, so logs weigh nothing

    units = 5_000  # 50,000 offers a day
    warm_up = 2  # whether somebody buys is a toss, and most random prices are far too high to tell
    logs = ("observations", "purchases", "offers")  # offers last: they are never empty

    def world(self) -> OfferPriceWorld:
        return OfferPriceWorld()

    def rules(self, observations: Observations) -> np.ndarray:
        """The list price of the item."""
        items, which = np.unique(observations[willingness.ITEM], return_inverse=True)
        return np.array([LIST_PRICE[item] for item in items.tolist()], np.float32)[which][:, None]

    def timesteps(self, spark: SparkSession, window: Window) -> DataFrame:
        """Joins the window's logs; the last offer of a player's day ends the episode."""
        from pyspark.sql import functions as F

        from rlbake.timesteps.join_logs import join_logs

        purchases = self.read_log(spark, "purchases", window)
        return join_logs(
            observations=self.read_log(spark, "observations", window),
            decisions=self.read_log(spark, "offers", window),
            outcomes=purchases.select(PLAYER, v.TIMESTAMP, F.col(AMOUNT).alias(REVENUE), F.lit(1.0).alias(PURCHASE)),
            attribution="20min",
            keys=self.keys,
        )

    def population(self, spark: SparkSession, date: Window) -> DataFrame:
        """Everybody who was seen in the window, as last seen."""
        from pyspark.sql import functions as F

        features = F.struct(*(feature.name for feature in self.observation))
        seen = self.read_log(spark, "observations", date).groupBy(PLAYER)
        return seen.agg(F.max_by(features, v.TIMESTAMP).alias(v.OBSERVATION)).select(PLAYER, f"{v.OBSERVATION}.*")

    def play(self, window: Window, policy: Policy, units: int, seed: int) -> dict[str, pa.Table]:
        """Ten offers to each of `units` players, what was seen around them, and what was bought."""
        day = ShopDay(self.name, window, self.number(window), units, seed)
        visitors = {at: willingness.draw_visitors(day.noise, *day.identity, at) for at in SESSIONS}
        decided = policy.decide(visitors["offer"].observed(), day.uniform("policy"))
        taken = day.uniform(PURCHASE) < willingness.buying(decided.action[:, 0], visitors["offer"].median())
        return {
            "observations": _observations(day, {at: seen.observed() for at, seen in visitors.items()}),
            "purchases": _purchases(day, decided.action[:, 0], taken),
            "offers": day.log(
                {
                    PLAYER: day.player_id,
                    v.TIMESTAMP: day.second,
                    v.ACTION: pa.FixedSizeListArray.from_arrays(decided.action.ravel(), 1).cast(pa.list_(pa.float32())),
                    v.LOG_PROBABILITY: pa.array(decided.log_probability, from_pandas=True),  # NULL where NaN
                    v.POLICY_VERSION: np.full(len(day.second), policy.version),
                    v.END: np.where(day.last, v.TERMINATED, v.NOT_ENDED),
                }
            ),
        }


def _observations(day: ShopDay, seen: dict[str, Observations]) -> pa.Table:
    parts = []
    for at, (share, earliest, latest) in SESSIONS.items():
        happened = day.uniform(f"session {at}") < share
        second = day.second + day.between(f"session {at} at", earliest, latest)
        columns = {PLAYER: day.player_id, v.TIMESTAMP: second, **seen[at]}
        parts.append({name: values[happened] for name, values in columns.items()})
    return day.log({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _purchases(day: ShopDay, price: np.ndarray, taken: np.ndarray) -> pa.Table:
    """What was paid for offers, and for other things in between, which belong to none."""
    share, earliest, latest = OTHER_PURCHASES
    other = day.uniform("other purchase") < share
    second = day.second + day.between("reaction", *REACTION), day.second + day.between("other at", earliest, latest)
    other_amount = np.array(list(LIST_PRICE.values()), np.float32)[day.between("other item", 0, len(LIST_PRICE))]
    return day.log(
        {
            PLAYER: np.concatenate([day.player_id[taken], day.player_id[other]]),
            v.TIMESTAMP: np.concatenate([second[0][taken], second[1][other]]),
            AMOUNT: np.concatenate([price[taken], other_amount[other]]),
        }
    )
