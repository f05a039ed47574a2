"""What a policy earns when it plays a simulated world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from rlbake.errors import ConfigError, SpecError
from rlbake.policies.policy import Policy
from rlbake.world import World

CONFIDENCE = 0.95


@dataclass(frozen=True)
class SimulatedReturn:
    """Undiscounted returns of simulated episodes, and how good they are for their world.

    Attributes:
        mean: average return of the episodes.
        low, high: Student's t interval that covers the expected return with probability 0.95. The
            episodes are independent, so by the central limit theorem it holds for any bounded return
            from some thirty episodes on, and unlike a bootstrap it has no randomness of its own.
            Equal returns give an interval of width zero.
        best, random: the world's expected returns under its best and under a random policy.
        score: (mean - random) / (best - random): 0 is chance, 1 is perfect.
        returns: float64 [episodes].
    """

    mean: float
    low: float
    high: float
    best: float
    random: float
    score: float
    returns: np.ndarray


def simulate(world: World, policy: Policy, *, reward: Mapping[str, float], episodes: int, seed: int) -> SimulatedReturn:
    """Plays all episodes side by side; every decision is one call of the policy with `episodes` rows.

    Episodes that have ended stay in the batch, so that its shape never changes, and count no more.
    The same world, policy and arguments give the same returns.

    Args:
        reward: weight of each metric; one without a weight counts nothing.
        episodes: at least 2, for the interval.
        seed: of the world's chances and, independently, of the policy's.

    Raises:
        ConfigError: fewer than 2 episodes.
        SpecError: the world outlives its horizon.
    """
    if episodes < 2:
        raise ConfigError(f"episodes is {episodes}: an interval needs at least 2.")
    returns = _play(world, policy, reward, episodes, seed)
    mean = float(returns.mean())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, episodes - 1) * returns.std(ddof=1) / np.sqrt(episodes))
    best, chance = float(world.best_return), float(world.random_return)
    return SimulatedReturn(mean, mean - half, mean + half, best, chance, (mean - chance) / (best - chance), returns)


def _play(world: World, policy: Policy, reward: Mapping[str, float], episodes: int, seed: int) -> np.ndarray:
    """The return of each episode, float64 [episodes]."""
    noise = np.random.default_rng([seed, 1])  # a stream of its own: worlds draw from default_rng(seed)
    observations = world.reset(episodes, seed)
    returns = np.zeros(episodes)
    alive = np.ones(episodes, bool)
    for _ in range(world.horizon):
        decided = policy.decide(observations, noise.random(episodes))
        step = world.step(decided.action)
        for metric, weight in reward.items():
            returns += alive * weight * step.metrics[metric].astype(np.float64)
        alive &= ~(step.terminated | step.truncated)
        observations = step.observations
        if not alive.any():
            return returns
    raise SpecError(
        f"{type(world).__name__}: {int(alive.sum())} of {episodes} episodes outlive the horizon of "
        f"{world.horizon} decisions. Truncate them there."
    )
