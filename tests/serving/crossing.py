"""A problem whose decisions can be worked out by hand."""

from __future__ import annotations

import numpy as np

import rlbake
from rlbake.world import Observations


class Crossing(rlbake.Application):
    """Which way a car goes."""

    name = "crossing"
    keys = ("car_id",)
    cadence = rlbake.Cadence(start="2026-01-01")
    observation = (
        rlbake.Number("speed"),
        rlbake.Number("load", 0, 10),
        rlbake.Binary("member"),
        rlbake.Category("country", ["DE", "US"]),
        rlbake.Number("battery", 0, 1, optional=True),
        rlbake.Category("tyre", ["summer", "winter"], unknown="other", optional=True),
    )
    action = rlbake.Discrete(["left", "right", "up"])
    metrics = ("arrived", "cost")
    reward = {"arrived": 1.0}

    def rules(self, observations: Observations) -> np.ndarray:
        return np.where(observations["load"] > 5, 1, 0)


class NoRules(Crossing):
    """The same, without rules."""

    rules = rlbake.Application.rules


class BrokenRules(Crossing):
    """Rules that cannot decide."""

    def rules(self, observations: Observations) -> np.ndarray:
        raise ValueError("no rule for this")


EPSILON = {"forward": 0.3, "backward": 0.6}
"""Share of random actions, by version."""

MODEL = "main.rl.crossing"
