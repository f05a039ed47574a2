"""What followed decisions, along the chains of rows that one episode left behind."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def to_come(successor: np.ndarray) -> np.ndarray:
    """How many rows of its chain follow each row.

    Args:
        successor: int64 [N], as `dataset.nstep.successors` returns it: the next row, or -1.

    Returns:
        int64 [N].
    """
    last = np.flatnonzero(successor < 0)
    following = last[np.searchsorted(last, np.arange(len(successor)))]
    return following - np.arange(len(successor))


def lambda_returns(
    reward: np.ndarray,
    discount: np.ndarray,
    value: np.ndarray,
    next_value: np.ndarray,
    successor: np.ndarray,
    trace: float,
) -> np.ndarray:
    """λ-returns, by generalised advantage estimation (Schulman et al., 2016, https://arxiv.org/abs/1506.02438).

    With δₜ = rₜ + γₜ V(sₜ₊₁) - V(sₜ) and t' the successor of t:

        Gₜ = V(sₜ) + Aₜ,    Aₜ = δₜ + γₜ λ Aₜ',  or δₜ where there is no successor

    So whatever was cut off bootstraps from the value of what came next, and a world that ended (γₜ = 0) from nothing.

    Args:
        reward: r, float64 [N], of single steps.
        discount: γ, float64 [N], of single steps; 0 where the world ended.
        value: V(sₜ), float64 [N].
        next_value: V(sₜ₊₁), float64 [N]; any finite number where γₜ is 0.
        successor: t', int64 [N], or -1; a row's successor comes after it.
        trace: λ, in [0, 1]; 0: one step, 1: all of the episode.

    Returns:
        float64 [N].
    """
    advantage = reward + discount * next_value - value
    left = to_come(successor)
    order = np.argsort(left, kind="stable")
    ends = np.cumsum(np.bincount(left))
    for first, end in pairwise(ends):  # from the last rows of all chains to the first
        rows = order[first:end]
        advantage[rows] += discount[rows] * trace * advantage[successor[rows]]
    return value + advantage
