"""n-step returns over rows that may be any part of their episodes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class NStep(NamedTuple):
    """Arrays [N], one entry per row.

    Attributes:
        reward: float64, the discounted sum of rewards.
        discount: float64, factor of the value bootstrapped from.
        last: int64, the row whose next observation that value belongs to.
    """

    reward: np.ndarray
    discount: np.ndarray
    last: np.ndarray


def successors(
    environment: np.ndarray, episode: np.ndarray, timestamp: np.ndarray, next_timestamp: np.ndarray, ended: np.ndarray
) -> np.ndarray:
    """The row that continues each row, or -1: the same environment and episode, at its next timestamp.

    Args:
        environment: int [N]. Rows are sorted by environment, episode, timestamp.
        episode, timestamp, next_timestamp: [N], one dtype that compares.
        ended: bool [N], terminated or truncated: nothing continues such a row.

    Returns:
        int64 [N].
    """
    rows = len(timestamp)
    following = np.full(rows, -1, np.int64)
    continues = (
        (environment[:-1] == environment[1:])
        & (episode[:-1] == episode[1:])
        & (next_timestamp[:-1] == timestamp[1:])
        & ~ended[:-1]
    )
    following[:-1][continues] = np.flatnonzero(continues) + 1
    return following


def n_step(reward: np.ndarray, discount: np.ndarray, successor: np.ndarray, n: int) -> NStep:
    """n-step returns that end early where a chain of successors does.

    With t₀ = t, tᵢ₊₁ = successor(tᵢ) and m ≤ n the length of the chain from t:

        Gₜ = Σ_{i<m} (Π_{j<i} γ_{tⱼ}) r_{tᵢ},    Γₜ = Π_{i<m} γ_{tᵢ}

    so that the target is Gₜ + Γₜ V(next observation of t_{m-1}). As the uncorrected n-step return
    of Sutton & Barto (2018), section 7.1, and rlax.n_step_bootstrapped_returns.

    Args:
        reward: float [N], r: what followed the row's own action.
        discount: float [N], γ: gamma, or 0 where the world ended.
        successor: int [N], as `successors` returns it.
        n: ≥ 1.
    """
    total = np.array(reward, np.float64)
    factor = np.array(discount, np.float64)
    last = np.arange(len(total))
    growing = last
    for _ in range(n - 1):
        growing = growing[successor[last[growing]] >= 0]
        if not len(growing):
            break
        following = successor[last[growing]]
        total[growing] += factor[growing] * reward[following]
        factor[growing] *= discount[following]
        last[growing] = following
    return NStep(total, factor, last)
