"""A world in which only patience pays, and one that breaks."""

from __future__ import annotations

import numpy as np

from rlbake import Application, Cadence, Discrete, Number
from rlbake.world import Observations, Step

TARGET, HASTY, BROKEN = (f"tests.sweep.worlds:{name}" for name in ("Patient", "Hasty", "Broken"))


class PatienceWorld:
    """Two moments: whoever takes has a half and leaves, whoever waits has one whatever is done then.

    So waiting is best if gamma is above a half, and taking if it is below: nothing else matters.
    """

    best_return = 1.0
    random_return = 0.75
    horizon = 2

    def reset(self, environments: int, seed: int) -> Observations:
        self._moment = 0
        self._gone = np.zeros(environments, bool)
        return self._seen()

    def step(self, action: np.ndarray) -> Step:
        there = ~self._gone
        takes = action == 0
        coins = np.where(there, 1.0 if self._moment else 0.5 * takes, 0.0).astype(np.float32)
        ended = there & (takes | (self._moment == 1))
        self._gone |= ended
        self._moment += 1
        return Step(self._seen(), {"coins": coins}, ended, np.zeros(len(action), bool))

    def _seen(self) -> Observations:
        return {"moment": np.full(len(self._gone), self._moment, np.float32)}


class Patient(Application):
    name = "patience"
    keys = ("env_id",)
    cadence = Cadence(start="2026-01-01", training_window=2)
    observation = (Number("moment", low=0, high=2),)
    action = Discrete(["take", "wait"])
    metrics = ("coins",)
    reward = {"coins": 1.0}
    gamma = 0.9

    def world(self) -> PatienceWorld:
        return PatienceWorld()


class Hasty(Patient):
    name = "haste"
    cadence = Cadence(start="2026-01-01", training_window=2, episode_timeout="1min")


class BrokenWorld(PatienceWorld):
    def step(self, action: np.ndarray) -> Step:
        raise RuntimeError("the simulator is out of order")


class Broken(Patient):
    name = "broken"

    def world(self) -> BrokenWorld:
        return BrokenWorld()
