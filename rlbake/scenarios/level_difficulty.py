"""How hard a player's next level should be, through a season of twenty.

Harder levels earn more when they are won, and are lost more often. Losing again and again frustrates and
winning again and again bores; either makes a player leave for good. What earns most now is therefore
not what earns most in a season.
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

PLAYER, SKILL, WINS, LOSSES, LEVELS_LEFT = "player_id", "skill", "wins_in_a_row", "losses_in_a_row", "levels_left"
AD_VIEW, BOOSTER = "ad_view", "booster"
SKILLS = ("novice", "expert")
DIFFICULTIES = ("easy", "medium", "hard", "very_hard")
LEVELS = 20  # in a season

# Everything that happens is drawn from these chances; a row per skill and a column per difficulty, or either.
SKILL_SHARE = np.array([0.60, 0.40])
WIN = np.array([[0.90, 0.45, 0.10, 0.05], [0.95, 0.90, 0.45, 0.10]])
AD_VIEWED = np.array([0.30, 0.50, 0.70, 0.90])
BOOSTER_SOLD = np.array([0.00, 0.15, 0.35, 0.50])  # if the level is won, which the booster helped with

# Chances to leave after a level, by how many were lost, or won, in a row. Beyond the last it stays as it is.
FRUSTRATED = np.array([0.00, 0.10, 0.40, 0.75])
BORED = np.array([0.00, 0.05, 0.20, 0.50])
LONGEST_ROW = len(BORED) - 1


class LevelDifficultyWorld:
    """B players at the start of their season.

    A season ends the world: `levels_left` is seen, and nothing follows the last one. What is seen is all
    that decides what follows, so that the best return is found by dynamic programming over skill, row
    and level, and the random one by evaluating chance on the same tables.
    """

    horizon = LEVELS

    def __init__(self) -> None:
        process = decision_process()
        self.best_return = expected_return(process, best_policy(process))
        self.random_return = random_return(process)

    def reset(self, environments: int, seed: int) -> Observations:
        """Players of any skill who have not played yet."""
        self._noise = CounterNoise("level_difficulty players", seed)
        self._player = np.arange(environments)
        self._skill = draw(SKILL_SHARE, self._noise.uniform(SKILL, self._player))
        self._row = np.zeros(environments, int)
        self._level = 0
        self._gone = np.zeros(environments, bool)
        return self._observed()

    def step(self, action: np.ndarray) -> Step:
        """One level of the chosen difficulty for every player."""
        playing = ~self._gone
        won = self._happens("won", WIN[self._skill, action])
        metrics = {
            AD_VIEW: self._happens("ad viewed", AD_VIEWED[action]),
            BOOSTER: won & self._happens("booster sold", BOOSTER_SOLD[action]),
        }
        self._row = np.where(won, row_after(self._row, won=True), row_after(self._row, won=False))
        left = self._happens("left", leaving(self._row))
        self._level += 1
        ended = playing & (left | (self._level == LEVELS))
        self._gone = self._gone | ended
        counted = {metric: (playing & happened).astype(np.float32) for metric, happened in metrics.items()}
        return Step(self._observed(), counted, ended, np.zeros(len(ended), bool))

    def _happens(self, what: str, chance: np.ndarray) -> np.ndarray:
        return self._noise.uniform(what, self._player, self._level) < chance

    def _observed(self) -> Observations:
        return {
            SKILL: np.array(SKILLS)[self._skill],
            WINS: np.maximum(self._row, 0).astype(np.float32),
            LOSSES: np.maximum(-self._row, 0).astype(np.float32),
            LEVELS_LEFT: np.full(len(self._row), LEVELS - self._level, np.float32),
        }


def row_after(row: np.ndarray, *, won: bool) -> np.ndarray:
    """Levels won in a row (positive) or lost (negative), at most `LONGEST_ROW`, after another one."""
    return np.minimum(np.maximum(row, 0) + 1, LONGEST_ROW) if won else np.maximum(np.minimum(row, 0) - 1, -LONGEST_ROW)


def leaving(row: np.ndarray) -> np.ndarray:
    """The chance to leave after a level, by the row that it made."""
    return np.where(row > 0, BORED[np.maximum(row, 0)], FRUSTRATED[np.maximum(-row, 0)])


def decision_process() -> DecisionProcess:
    """A season as exact chances. State: skill · (2 LONGEST_ROW + 1) + row + LONGEST_ROW."""
    skills, rows, actions = len(SKILLS), 2 * LONGEST_ROW + 1, len(DIFFICULTIES)
    row = np.arange(-LONGEST_ROW, LONGEST_ROW + 1)
    transition = np.zeros((skills, rows, actions, skills, rows))
    for skill in range(skills):
        for won, chance in ((True, WIN[skill]), (False, 1 - WIN[skill])):
            after = row_after(row, won=won)
            stays = (1 - leaving(after))[:, None] * chance
            transition[skill, row + LONGEST_ROW, :, skill, after + LONGEST_ROW] += stays
    weight = LevelDifficulty.reward
    earned = weight[AD_VIEW] * AD_VIEWED + weight[BOOSTER] * WIN * BOOSTER_SOLD
    states = skills * rows
    start = np.zeros((skills, rows))
    start[:, LONGEST_ROW] = SKILL_SHARE
    return DecisionProcess(
        start=start.ravel(),
        transition=transition.reshape(states, actions, states),
        reward=np.repeat(earned, rows, axis=0),
        steps=LEVELS,
    )


class LevelDifficulty(EpisodicScenario):
    """The difficulty of a player's next level."""

    name = "level_difficulty"
    keys = (PLAYER,)
    # Three days: what the champion did yesterday, and still some of the random first day to contrast it with.
    cadence = Cadence(start="2026-01-01", every="1d", training_window=3)
    observation = (
        Category(SKILL, SKILLS),
        Number(WINS, low=0, high=LONGEST_ROW),  # 0 after a loss
        Number(LOSSES, low=0, high=LONGEST_ROW),  # 0 after a win
        Number(LEVELS_LEFT, low=0, high=LEVELS),
    )
    action = Discrete(DIFFICULTIES)
    metrics = (AD_VIEW, BOOSTER)
    reward = {AD_VIEW: 1.0, BOOSTER: 2.0}
    gamma = 0.99
    # The world is known exactly, and a random log holds hardly any season that a good policy would have played.
    # How long players stay, and in which mood, depends on who decides.
    gate = {"primary": "simulated", "ignored_drift": [WINS, LOSSES, LEVELS_LEFT]}

    units = 16_000  # about 75,000 decisions a day when they are random
    pace = timedelta(minutes=3)

    def world(self) -> LevelDifficultyWorld:
        return LevelDifficultyWorld()

    def rules(self, observations: Observations) -> np.ndarray:
        """Medium for novices, hard for experts, and one easier after two losses in a row."""
        usual = np.where(observations[SKILL] == SKILLS[0], 1, 2)
        return (usual - (observations[LOSSES] >= 2)).astype(np.int32)
