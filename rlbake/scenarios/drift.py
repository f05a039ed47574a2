"""Which story to show a reader at five times of the day, until readers want others.

In the first windows every segment has its favourite among the stories; from window `CHANGE` on the favourites are
others, while the readers look as before. Logs from before the change then say the opposite of what is true.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from rlbake.cadence import Cadence, Window
from rlbake.scenarios.counter_noise import CounterNoise, draw
from rlbake.scenarios.episodes import EpisodicScenario
from rlbake.specs import Category, Discrete
from rlbake.world import Observations, Step

READER, AGE_BAND, DEVICE, PART_OF_DAY, CLICK = "reader_id", "age_band", "device", "part_of_day", "click"
AGE_BANDS, DEVICES = ("teen", "adult", "senior"), ("phone", "desktop")
PARTS_OF_DAY = ("morning", "noon", "afternoon", "evening", "night")
STORIES = ("news", "sports", "culture", "science", "travel", "games")
AGE_SHARE, DEVICE_SHARE = np.array([0.30, 0.45, 0.25]), np.array([0.65, 0.35])

FAVOURITE = np.array(  # index of the story, a row per age band and a column per part of the day
    [
        [5, 1, 5, 2, 5],
        [0, 3, 1, 2, 4],
        [0, 4, 3, 0, 2],
    ]
)
CLICKS, CLICKS_FAVOURITE = 0.10, 0.55  # chances of a click
CLICKS_LIKED = 0.30  # on what a device is made for: of stories that are not the favourite
LIKED = np.array([1, 3])  # index of the story, by device

CHANGE = 6  # number of the first window in which readers want other stories
WANTED_INSTEAD = np.array(
    [3, 4, 5, 1, 0, 2]
)  # by the story that was wanted before; never the same, so that all mislead


class DriftWorld:
    """B readers of one day, as they are before or after the change.

    A reader is shown a story in every part of the day, and what is shown changes nothing about the next
    time. So both returns are exact sums over what is seen: of the best story's chance of a click, and of the
    stories' average. They are the same before and after the change.

    Args:
        changed: whether readers already want the other stories.
    """

    horizon = len(PARTS_OF_DAY)

    def __init__(self, changed: bool) -> None:
        self._chance = click_chances(changed)
        share = AGE_SHARE[:, None, None, None] * DEVICE_SHARE[:, None, None]
        earned = Drift.reward[CLICK] * share * self._chance
        self.best_return = float(earned.max(axis=-1).sum())
        self.random_return = float(earned.mean(axis=-1).sum())

    def reset(self, environments: int, seed: int) -> Observations:
        """Readers in the morning."""
        self._noise = CounterNoise("drift readers", seed)
        self._reader = np.arange(environments)
        self._age = draw(AGE_SHARE, self._noise.uniform(AGE_BAND, self._reader))
        self._device = draw(DEVICE_SHARE, self._noise.uniform(DEVICE, self._reader))
        self._part = 0
        return self._observed()

    def step(self, action: np.ndarray) -> Step:
        """Shows every reader a story; the night ends the day."""
        shown = self._part < self.horizon
        chance = self._chance[self._age, self._device, min(self._part, self.horizon - 1), action]
        click = shown & (self._noise.uniform(CLICK, self._reader, self._part) < chance)
        self._part += 1
        ended = np.full(len(action), self._part == self.horizon)
        return Step(self._observed(), {CLICK: click.astype(np.float32)}, ended, np.zeros(len(action), bool))

    def _observed(self) -> Observations:
        return {
            AGE_BAND: np.array(AGE_BANDS)[self._age],
            DEVICE: np.array(DEVICES)[self._device],
            PART_OF_DAY: np.full(len(self._age), PARTS_OF_DAY[min(self._part, self.horizon - 1)]),
        }


def click_chances(changed: bool) -> np.ndarray:
    """P(click | age band, device, part of the day, story), float64 [3, 2, 5, 6]."""
    story = np.arange(len(STORIES))
    favourite, liked = (WANTED_INSTEAD[wanted] if changed else wanted for wanted in (FAVOURITE, LIKED))
    otherwise = np.where(story == liked[:, None], CLICKS_LIKED, CLICKS)
    return np.where(story == favourite[:, None, :, None], CLICKS_FAVOURITE, otherwise[:, None, :])


class Drift(EpisodicScenario):
    """Which story a reader is shown first."""

    name = "drift"
    keys = (READER,)
    cadence = Cadence(start="2026-01-01", every="1d", training_window=6)
    observation = (Category(AGE_BAND, AGE_BANDS), Category(DEVICE, DEVICES), Category(PART_OF_DAY, PARTS_OF_DAY))
    action = Discrete(STORIES)
    metrics = (CLICK,)
    reward = {CLICK: 1.0}
    # A story that was shown changes nothing about the next one.
    gamma = 0.0

    units = 4_000  # 20,000 decisions a day
    pace = timedelta(hours=3)

    def world(self) -> DriftWorld:
        """As it is at first."""
        return DriftWorld(changed=False)

    def world_at(self, window: Window) -> DriftWorld:
        return DriftWorld(changed=self.number(window) >= CHANGE)

    def rules(self, observations: Observations) -> np.ndarray:
        """The news in the morning, sports for the rest of the day."""
        return np.where(observations[PART_OF_DAY] == PARTS_OF_DAY[0], 0, 1).astype(np.int32)
