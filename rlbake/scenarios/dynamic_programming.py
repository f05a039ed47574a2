"""Finite decision processes of bounded length, solved exactly: what the best and any other policy earn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DecisionProcess:
    """S states, A actions and the same chances at each of at most T steps. Time is no part of the state.

    Attributes:
        start: P(s₀ = s), float64 [S].
        transition: P(s' | s, a), float64 [S, A, S]; what a row lacks to 1 is the chance that the episode ends.
        reward: E[r | s, a], float64 [S, A].
        steps: T.
    """

    start: np.ndarray
    transition: np.ndarray
    reward: np.ndarray
    steps: int


def best_policy(process: DecisionProcess, gamma: float = 1.0) -> np.ndarray:
    """The policy of the largest expected Σ γᵗ r_t; the first of equal actions.

    Backward induction (Bellman, "Dynamic Programming", 1957):
    π_t(s) = argmax_a r(s, a) + γ Σ_s' P(s' | s, a) V_{t+1}(s'), with V_t(s) that maximum and V_T = 0.

    Args:
        gamma: discount per step; with 0 only the next reward counts.

    Returns:
        P(a | t, s), 0 or 1, float64 [T, S, A].
    """
    states, actions = process.reward.shape
    policy, value = np.empty((process.steps, states), int), np.zeros(states)
    for t in reversed(range(process.steps)):
        values = process.reward + gamma * process.transition @ value
        policy[t], value = values.argmax(axis=1), values.max(axis=1)
    return np.eye(actions)[policy]


def expected_return(process: DecisionProcess, policy: np.ndarray) -> float:
    """E[Σ r_t] of an episode under P(a | t, s), float64 [T, S, A] or whatever broadcasts to it.

    V_t(s) = Σ_a P(a | t, s) (r(s, a) + Σ_s' P(s' | s, a) V_{t+1}(s')), with V_T = 0.
    """
    policy = np.broadcast_to(policy, (process.steps, *process.reward.shape))
    value = np.zeros(len(process.reward))
    for chances in policy[::-1]:
        value = (chances * (process.reward + process.transition @ value)).sum(axis=1)
    return float(process.start @ value)


def random_return(process: DecisionProcess) -> float:
    """E[Σ r_t] of an episode in which every action is equally likely."""
    actions = process.reward.shape[1]
    return expected_return(process, np.full(actions, 1 / actions))
