"""A worldwide population in which everybody has a best hour for a message, and hides it.

A player's local best hour comes from a chronotype (early bird, midday, evening, night owl), which
age and platform make more or less likely; the country's offset turns it into UTC, and on weekends
everybody is later. What is seen of it is `usual_hour`, one noisy reading of the weekday hour.
All of it is discrete, so every expectation over the population is a finite sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from rlbake.scenarios.counter_noise import CounterNoise, draw
from rlbake.world import Observations

HOURS = 24
UTC_OFFSET = {"US": -5, "BR": -3, "GB": 0, "DE": 1, "TR": 3, "ID": 7, "JP": 9, "NZ": 12}  # hours, winter time
COUNTRIES, AGE_BANDS, PLATFORMS = tuple(UTC_OFFSET), ("teen", "adult", "senior"), ("android", "ios")

COUNTRY_SHARE = np.array([0.25, 0.12, 0.08, 0.13, 0.10, 0.14, 0.11, 0.07])
AGE_SHARE = np.array([0.25, 0.50, 0.25])
PLATFORM_SHARE = np.array([0.60, 0.40])

CHRONOTYPE_HOUR = np.array([8, 13, 19, 22])  # local, each spread over two hours to either side
CHRONOTYPE_SPREAD = {-2: 1 / 9, -1: 2 / 9, 0: 3 / 9, 1: 2 / 9, 2: 1 / 9}
CHRONOTYPE_SHARE = np.array([[0.05, 0.10, 0.45, 0.40], [0.20, 0.15, 0.45, 0.20], [0.45, 0.30, 0.20, 0.05]])  # by age
CHRONOTYPE_LEANING = np.array([[1.0, 1.0, 1.0, 1.0], [1.5, 1.0, 0.9, 0.7]])  # by platform
WEEKEND_SHIFT = 2  # hours later

READING_ERROR = 0.7  # usual_hour is off by k hours with weight 0.7^|k|, |k| <= 3 ...
READING_ERRORS = np.arange(-3, 4)
READING_ANYWHERE = 0.2  # ... and in a fifth of the cases says nothing

CLICK_FAR, CLICK_NEAR, CLICK_WIDTH = 0.02, 0.80, 3.0  # probabilities; hours
UNSUBSCRIBE_FAR, UNSUBSCRIBE_NEAR = 0.02, 0.002
METRICS = ("click", "unsubscribe")

COUNTRY, AGE_BAND, PLATFORM = "country", "age_band", "platform"
USUAL_HOUR, IS_WEEKEND, DAYS_SINCE_INSTALL = "usual_hour", "is_weekend", "days_since_install"
CLOCK = tuple(f"{hour:02d}:00" for hour in range(HOURS))


@dataclass(frozen=True)
class Players:
    """B players, int64 [B] each: indices into the tables above, and the hidden weekday best hour in UTC."""

    country: np.ndarray
    age_band: np.ndarray
    platform: np.ndarray
    hour: np.ndarray


def _local_hours() -> np.ndarray:
    """P(local best hour | age, platform), [3, 2, 24]."""
    share = CHRONOTYPE_SHARE[:, None, :] * CHRONOTYPE_LEANING[None, :, :]
    share = share / share.sum(axis=-1, keepdims=True)
    hours = np.zeros((len(AGE_BANDS), len(PLATFORMS), HOURS))
    for chronotype, centre in enumerate(CHRONOTYPE_HOUR):
        for distance, weight in CHRONOTYPE_SPREAD.items():
            hours[..., (centre + distance) % HOURS] += share[..., chronotype] * weight
    return hours


def _readings() -> np.ndarray:
    """P(usual_hour | best hour), [24, 24]."""
    weight = READING_ERROR ** np.abs(READING_ERRORS)
    table = np.full((HOURS, HOURS), READING_ANYWHERE / HOURS)
    for error, share in zip(READING_ERRORS, weight / weight.sum(), strict=True):
        table[np.arange(HOURS), (np.arange(HOURS) + error) % HOURS] += (1 - READING_ANYWHERE) * share
    return table


LOCAL_HOURS, READINGS = _local_hours(), _readings()


def draw_players(noise: CounterNoise, *identity: np.ndarray) -> Players:
    """The players with these identities: the same noise and identity give the same player."""
    country = draw(COUNTRY_SHARE, noise.uniform("country", *identity))
    age_band = draw(AGE_SHARE, noise.uniform("age_band", *identity))
    platform = draw(PLATFORM_SHARE, noise.uniform("platform", *identity))
    local = draw(LOCAL_HOURS[age_band, platform], noise.uniform("hour", *identity))
    offset = np.array(list(UTC_OFFSET.values()))[country]
    return Players(country, age_band, platform, (local - offset) % HOURS)


def observe(players: Players, uniform: np.ndarray, weekend: bool, days: np.ndarray) -> Observations:
    """What is seen of B players, with a fresh reading of their best hour at `uniform` [B]."""
    return {
        COUNTRY: np.array(COUNTRIES)[players.country],
        AGE_BAND: np.array(AGE_BANDS)[players.age_band],
        PLATFORM: np.array(PLATFORMS)[players.platform],
        USUAL_HOUR: np.array(CLOCK)[draw(READINGS[players.hour], uniform)],
        IS_WEEKEND: np.full(len(players.hour), weekend),
        DAYS_SINCE_INSTALL: days.astype(np.float32),
    }


def is_weekend(start: datetime) -> bool:
    """Whether a day that starts then is a Saturday or Sunday."""
    return start.weekday() >= 5


def probabilities(hour: np.ndarray, action: np.ndarray, weekend: bool) -> dict[str, np.ndarray]:
    """Of each metric, when a message is sent at the UTC hour `action`; all arguments broadcast.

    With d the distance on the clock to the best hour, both lie on the way from far to near by
    exp(-d² / 2 w²), w = 3 hours.
    """
    ahead = (action - hour - WEEKEND_SHIFT * weekend) % HOURS
    nearness = np.exp(-(np.minimum(ahead, HOURS - ahead) ** 2) / (2 * CLICK_WIDTH**2))
    click = CLICK_FAR + (CLICK_NEAR - CLICK_FAR) * nearness
    unsubscribe = UNSUBSCRIBE_FAR + (UNSUBSCRIBE_NEAR - UNSUBSCRIBE_FAR) * nearness
    return dict(zip(METRICS, (click, unsubscribe), strict=True))


def values(reward: Mapping[str, float], weekend: bool) -> np.ndarray:
    """P(o) E[reward | o, a] for every observation o and action a, exactly.

    Sums the joint distribution over the hidden hour h: Σ_h P(country, age, platform, h, usual) r(h, a).
    Summed over o at each o's largest action it is the expected reward of the Bayes-optimal policy.

    Returns:
        float64 [country, age, platform, usual_hour, action].
    """
    hours = np.arange(HOURS)
    chances = probabilities(hours[:, None], hours[None, :], weekend)
    rewards = sum(weight * chances[metric] for metric, weight in reward.items())
    utc = np.stack([np.roll(LOCAL_HOURS, -offset, axis=-1) for offset in UTC_OFFSET.values()])
    share = np.einsum("c,a,p->cap", COUNTRY_SHARE, AGE_SHARE, PLATFORM_SHARE)
    return np.einsum("cap,caph,hu,hx->capux", share, utc, READINGS, rewards)
