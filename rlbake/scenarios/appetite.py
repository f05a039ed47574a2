"""Who opens the shop, and which item they would buy at which discount.

What sells best at full price is cheapened by a discount, and what the poor long for they buy at half
the price only, so neither can be chosen without the other. How rich somebody is nobody knows; the gold
that they carry is a noisy reading of it. All of it is discrete, so every expectation is a finite sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlbake.scenarios.counter_noise import CounterNoise, draw
from rlbake.world import Observations

HERO, GOLD, JUST_WON, LEVEL = "hero", "gold", "just_won", "level"
ITEM, DISCOUNT = "item", "discount"

HEROES, HERO_SHARE = ("knight", "mage", "archer", "healer"), np.array([0.30, 0.30, 0.25, 0.15])
WEALTH_SHARE = np.array([0.40, 0.40, 0.20])  # poor, middling, rich
WON_SHARE = np.array([0.60, 0.40])
READINGS = np.arange(10)  # of wealth, in thousands of gold: near 1.5, 4.5 or 7.5, and in a tenth of the cases anywhere
LEVELS = 60

DISCOUNTS = {"0%": 0.0, "10%": 0.1, "25%": 0.25, "50%": 0.5}
STAPLE, COLLECTIBLE, LUXURY = range(3)
ITEMS = {  # list price and kind
    "potion": (6.0, STAPLE),
    "scroll": (6.0, STAPLE),
    "cape": (9.0, COLLECTIBLE),
    "mask": (10.0, COLLECTIBLE),
    "steed": (14.0, LUXURY),
    "castle": (15.0, LUXURY),
}
LIST_PRICE, KIND = (np.array(column) for column in zip(*ITEMS.values(), strict=True))
DEMAND = np.array(  # probability of a purchase by who likes the item, [kind, wealth, discount]
    [
        [[0.70, 0.74, 0.80, 0.88], [0.78, 0.80, 0.83, 0.90], [0.80, 0.80, 0.82, 0.85]],
        [[0.30, 0.24, 0.12, 0.04], [0.55, 0.40, 0.20, 0.06], [0.70, 0.45, 0.20, 0.05]],
        [[0.02, 0.04, 0.15, 0.60], [0.10, 0.20, 0.60, 0.75], [0.50, 0.52, 0.55, 0.60]],
    ]
)
LIKING = np.array(  # [hero, item]
    [
        [1.0, 0.5, 0.4, 1.0, 0.9, 0.4],
        [0.5, 1.0, 1.0, 0.5, 0.4, 0.9],
        [0.9, 0.6, 0.9, 0.4, 0.9, 0.5],
        [0.5, 0.9, 0.4, 0.9, 0.5, 1.0],
    ]
)
LIKING_ONCE_WON = np.array([0.5, 0.7, 1.0, 1.0, 1.0, 1.0])  # a winner needs no help


@dataclass(frozen=True)
class Visitors:
    """B visitors, int64 [B] each: indices into the tables above, of which `wealth` is hidden."""

    hero: np.ndarray
    wealth: np.ndarray
    gold: np.ndarray
    won: np.ndarray
    level: np.ndarray

    def observed(self) -> Observations:
        return {
            HERO: np.array(HEROES)[self.hero],
            GOLD: READINGS[self.gold].astype(np.float32),
            JUST_WON: self.won.astype(bool),
            LEVEL: (1 + self.level).astype(np.float32),
        }


def draw_visitors(noise: CounterNoise, player: np.ndarray, day: ArrayLike, visit: ArrayLike) -> Visitors:
    """Players keep their hero and wealth; the rest is of one visit."""
    wealth = draw(WEALTH_SHARE, noise.uniform("wealth", player))
    return Visitors(
        draw(HERO_SHARE, noise.uniform("hero", player)),
        wealth,
        draw(readings()[wealth], noise.uniform("gold", player, day, visit)),
        draw(WON_SHARE, noise.uniform("won", player, day, visit)),
        noise.integers("level", LEVELS, player, day, visit),
    )


def readings() -> np.ndarray:
    """P(gold | wealth), [3, 10]."""
    centre = np.array([1.5, 4.5, 7.5])
    near = np.exp(-((READINGS - centre[:, None]) ** 2) / (2 * 1.2**2))
    return 0.9 * near / near.sum(axis=1, keepdims=True) + 0.1 / len(READINGS)


def buying(hero: np.ndarray, wealth: np.ndarray, won: np.ndarray, item: np.ndarray, discount: np.ndarray) -> np.ndarray:
    """Probability of a purchase; indices broadcast."""
    liking = LIKING[hero, item] * np.where(won, LIKING_ONCE_WON[item], 1.0)
    return liking * DEMAND[KIND[item], wealth, discount]


def price(item: np.ndarray, discount: np.ndarray) -> np.ndarray:
    """What is paid; indices broadcast."""
    return LIST_PRICE[item] * (1 - np.array(list(DISCOUNTS.values()))[discount])


def values() -> np.ndarray:
    """P(o) E[revenue | o, a] for every observation o and action a, exactly, by summing over the hidden wealth.

    Summed over o at each o's largest action it is the expected revenue of the best policy.

    Returns:
        float64 [hero, gold, won, item, discount].
    """
    indices = np.ix_(*(np.arange(size) for size in (len(HEROES), len(WEALTH_SHARE), 2, len(ITEMS), len(DISCOUNTS))))
    revenue = buying(*indices) * price(*indices[-2:])
    return np.einsum("h,w,o,wg,hwoid->hgoid", HERO_SHARE, WEALTH_SHARE, WON_SHARE, readings(), revenue)
