"""Who opens the shop, what is on offer there, and how much they would pay for it.

The price at which somebody would still buy, W, is log-logistic: ln W is logistic around ln m with
scale 1/k, k = 4. Its median m is a product of factors of what is seen, so everything that matters
is seen, and what remains is chance. All of it is discrete, so every expectation is a finite sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rlbake.scenarios.counter_noise import CounterNoise, draw
from rlbake.world import Observations

COUNTRY, SPENDER, ITEM = "country", "spender", "item"
JUST_LOST, MINUTES_PLAYED, BATTERY = "just_lost", "minutes_played", "battery"

COUNTRY_FACTOR = {"US": 1.15, "GB": 1.05, "DE": 1.0, "JP": 1.15, "BR": 0.9, "TR": 0.9, "ID": 0.85}
COUNTRY_SHARE = np.array([0.25, 0.10, 0.15, 0.10, 0.15, 0.10, 0.15])
SPENDER_FACTOR = {"rarely": 0.9, "sometimes": 1.0, "often": 1.3}
SPENDER_SHARE = np.array([0.45, 0.40, 0.15])
ITEM_FACTOR = {"potion": (0.75, 0.85), "shield": (0.9, 1.7), "skin": (1.9, 1.4)}  # before and after a lost match
ITEM_SHARE = np.array([0.40, 0.35, 0.25])
LOST_SHARE = np.array([0.60, 0.40])
MINUTES = np.arange(61)
MINUTES_SHARE = 0.96**MINUTES / (0.96**MINUTES).sum()
MINUTES_FACTOR = 0.85 + 0.4 * np.exp(-((MINUTES - 20) ** 2) / (2 * 12.0**2))  # keenest after 20 minutes
TYPICAL = 7.0  # the median where all factors are 1

STEEPNESS = 4.0  # k


@dataclass(frozen=True)
class Visitors:
    """B visitors, int64 [B] each: indices into the tables above; and what tells nothing.

    Attributes:
        battery: float64 [B], the phone's, in [0, 1).
    """

    country: np.ndarray
    spender: np.ndarray
    item: np.ndarray
    lost: np.ndarray
    minutes: np.ndarray
    battery: np.ndarray

    def observed(self) -> Observations:
        return {
            COUNTRY: np.array(list(COUNTRY_FACTOR))[self.country],
            SPENDER: np.array(list(SPENDER_FACTOR))[self.spender],
            ITEM: np.array(list(ITEM_FACTOR))[self.item],
            JUST_LOST: self.lost.astype(bool),
            MINUTES_PLAYED: self.minutes.astype(np.float32),
            BATTERY: self.battery.astype(np.float32),
        }

    def median(self) -> np.ndarray:
        """m, float64 [B]."""
        return median(self.country, self.spender, self.item, self.lost, self.minutes)


def draw_visitors(noise: CounterNoise, player: np.ndarray, day: ArrayLike, visit: ArrayLike, at: str) -> Visitors:
    """Players keep their country and how often they spend; the rest is of one moment, `at`, of the visit."""
    moment = (player, day, visit)
    return Visitors(
        draw(COUNTRY_SHARE, noise.uniform("country", player)),
        draw(SPENDER_SHARE, noise.uniform("spender", player)),
        draw(ITEM_SHARE, noise.uniform(f"item {at}", *moment)),
        draw(LOST_SHARE, noise.uniform(f"lost {at}", *moment)),
        draw(MINUTES_SHARE, noise.uniform(f"minutes {at}", *moment)),
        noise.uniform(f"battery {at}", *moment),
    )


def median(
    country: np.ndarray, spender: np.ndarray, item: np.ndarray, lost: np.ndarray, minutes: np.ndarray
) -> np.ndarray:
    """m of visitors given by their indices, which broadcast."""
    of_country, of_spender = (np.array(list(table.values())) for table in (COUNTRY_FACTOR, SPENDER_FACTOR))
    of_item = np.array(list(ITEM_FACTOR.values()))
    return TYPICAL * of_country[country] * of_spender[spender] * of_item[item, lost] * MINUTES_FACTOR[minutes]


def buying(price: np.ndarray, median: np.ndarray) -> np.ndarray:
    """P(W ≥ p) = 1 / (1 + (p / m)ᵏ), the probability of a purchase; broadcasts."""
    return 1 / (1 + (price / median) ** STEEPNESS)


def best_price(median: np.ndarray) -> np.ndarray:
    """argmaxₚ p P(W ≥ p) = m (k - 1)^(-1/k): where the derivative, which has one zero, is 0."""
    return median * (STEEPNESS - 1) ** (-1 / STEEPNESS)


def best_revenue() -> float:
    """E[max over p of p P(W ≥ p)], the expectation of m (k - 1)^(1 - 1/k) / k."""
    share, medians = _everybody()
    return float((share * best_price(medians) * buying(best_price(medians), medians)).sum())


def random_revenue(low: float, high: float) -> float:
    """E[p P(W ≥ p)] at prices uniform in [low, high]; for k = 4, ∫ p P(W ≥ p) dp = m² / 2 · arctan((p / m)²)."""
    share, medians = _everybody()
    at_low, at_high = (medians**2 / 2 * np.arctan((price / medians) ** 2) for price in (low, high))
    return float((share * (at_high - at_low)).sum() / (high - low))


def _everybody() -> tuple[np.ndarray, np.ndarray]:
    """Every combination of what matters: its share, and its m."""
    shares = (COUNTRY_SHARE, SPENDER_SHARE, ITEM_SHARE, LOST_SHARE, MINUTES_SHARE)
    share = np.einsum("c,s,i,l,m->csilm", *shares)
    return share, median(*np.ix_(*(np.arange(len(of)) for of in shares)))
