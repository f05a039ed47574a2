"""Guiding a newcomer through eight steps of an onboarding, with one nudge after the other, to a purchase.

Which nudge helps depends on who the player is and on the step. Nothing is earned before the last step is done,
so what a nudge is worth must be carried back over the whole chain.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from rlbake.cadence import Cadence
from rlbake.scenarios.counter_noise import CounterNoise, draw
from rlbake.scenarios.dynamic_programming import DecisionProcess, best_policy, expected_return, random_return
from rlbake.scenarios.episodes import EpisodicScenario
from rlbake.specs import Category, Discrete, Number
from rlbake.world import Observations, Step

PLAYER, PLAYER_TYPE, STEP, NUDGES_LEFT, PURCHASE = "player_id", "player_type", "step", "nudges_left", "purchase"
PLAYER_TYPES = ("achiever", "explorer", "socializer", "competitor")
STEPS = ("welcome", "profile", "tutorial", "first_win", "friend", "guild", "tournament", "shop")
NUDGES = ("tip", "video", "gift")
PATIENCE = 16  # nudges that a player puts up with

TYPE_SHARE = np.array([0.30, 0.25, 0.25, 0.20])
HELPFUL = np.array(  # index of the nudge, a row per player type and a column per step
    [
        [0, 2, 1, 0, 1, 2, 0, 2],
        [1, 0, 1, 1, 0, 1, 2, 0],
        [2, 1, 0, 2, 2, 0, 1, 1],
        [1, 2, 2, 0, 1, 0, 2, 1],
    ]
)
ADVANCES = 0.9  # after a helpful nudge; otherwise the step stays to be done
LEAVES, FALLS_BACK = 0.1, 0.1  # after any other nudge


class SparseRewardWorld:
    """B newcomers at the first step.

    Whoever has bought, or has had enough, is gone: the world ends there. What is seen is all that
    decides what follows, so that the best return is found by dynamic programming over player type, step and
    nudges left, and the random one by evaluating chance on the same tables.
    """

    horizon = PATIENCE

    def __init__(self) -> None:
        process = decision_process()
        self.best_return = expected_return(process, best_policy(process))
        self.random_return = random_return(process)

    def reset(self, environments: int, seed: int) -> Observations:
        """Newcomers of any type."""
        self._noise = CounterNoise("sparse_reward players", seed)
        self._player = np.arange(environments)
        self._type = draw(TYPE_SHARE, self._noise.uniform(PLAYER_TYPE, self._player))
        self._step = np.zeros(environments, int)
        self._nudges = 0
        self._gone = np.zeros(environments, bool)
        return self._observed()

    def step(self, action: np.ndarray) -> Step:
        """One nudge for every player."""
        playing = ~self._gone
        helpful = HELPFUL[self._type, self._step] == action
        drawn = self._noise.uniform("follows", self._player, self._nudges)
        advances = helpful & (drawn < ADVANCES)
        left = ~helpful & (drawn < LEAVES)
        falls_back = ~helpful & ~left & (drawn < LEAVES + FALLS_BACK)
        bought = playing & advances & (self._step == len(STEPS) - 1)
        self._step = np.clip(self._step + advances - falls_back, 0, len(STEPS) - 1)
        self._nudges += 1
        ended = playing & (bought | left | (self._nudges == PATIENCE))
        self._gone = self._gone | ended
        return Step(self._observed(), {PURCHASE: bought.astype(np.float32)}, ended, np.zeros(len(ended), bool))

    def _observed(self) -> Observations:
        return {
            PLAYER_TYPE: np.array(PLAYER_TYPES)[self._type],
            STEP: np.array(STEPS)[self._step],
            NUDGES_LEFT: np.full(len(self._step), PATIENCE - self._nudges, np.float32),
        }


def decision_process() -> DecisionProcess:
    """An onboarding as exact chances. State: type · 8 + step."""
    types, steps, actions = len(PLAYER_TYPES), len(STEPS), len(NUDGES)
    transition = np.zeros((types, steps, actions, types, steps))
    bought = np.zeros((types, steps, actions))
    for kind, step, nudge in np.ndindex(types, steps, actions):
        following = transition[kind, step, nudge, kind]
        if HELPFUL[kind, step] != nudge:
            following[max(step - 1, 0)] += FALLS_BACK
            following[step] += 1 - LEAVES - FALLS_BACK
            continue
        following[step] = 1 - ADVANCES
        if step == steps - 1:
            bought[kind, step, nudge] = ADVANCES
        else:
            following[step + 1] = ADVANCES
    start = np.zeros((types, steps))
    start[:, 0] = TYPE_SHARE
    states = types * steps
    return DecisionProcess(
        start=start.ravel(),
        transition=transition.reshape(states, actions, states),
        reward=SparseReward.reward[PURCHASE] * bought.reshape(states, actions),
        steps=PATIENCE,
    )


class SparseReward(EpisodicScenario):
    """Which nudge a newcomer gets next."""

    name = "sparse_reward"
    keys = (PLAYER,)
    # Three days: what the champion did yesterday, and still some of the random first day to contrast it with.
    cadence = Cadence(start="2026-01-01", every="1d", training_window=3)
    observation = (
        Category(PLAYER_TYPE, PLAYER_TYPES),
        Category(STEP, STEPS),
        Number(NUDGES_LEFT, low=0, high=PATIENCE),
    )
    action = Discrete(NUDGES)
    metrics = (PURCHASE,)
    reward = {PURCHASE: 10.0}
    gamma = 0.99
    # The world is known exactly, and hardly any onboarding in a random log is one that a good policy would have led.
    # How far players get depends on who decides.
    gate = {"primary": "simulated", "ignored_drift": [STEP, NUDGES_LEFT]}

    units = 8_000  # about 79,000 decisions a day when they are random, and some 210 purchases
    pace = timedelta(minutes=5)

    def world(self) -> SparseRewardWorld:
        return SparseRewardWorld()

    def rules(self, observations: Observations) -> np.ndarray:
        """What helps the most common type with the step, whoever it is."""
        known, which = np.unique(observations[STEP], return_inverse=True)
        helpful = HELPFUL[TYPE_SHARE.argmax(), [STEPS.index(step) for step in known.tolist()]]
        return helpful[which].astype(np.int32)
