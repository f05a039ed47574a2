"""Logged decisions in the order of their episodes, as estimators read them. Needs nothing but NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlbake.dataset.nstep import successors
from rlbake.evaluation.rows import Rows


@dataclass(frozen=True)
class Numbered:
    """Where N rows are in their episodes.

    Attributes:
        episode: int64 [N], from 0 on. What a row that is not there would continue is an episode of its own.
        step: int64 [N], from 0 on.
    """

    episode: np.ndarray
    step: np.ndarray


def numbered(
    environment: np.ndarray, episode: np.ndarray, timestamp: np.ndarray, next_timestamp: np.ndarray, ended: np.ndarray
) -> Numbered:
    """Episodes and steps of rows that are sorted by environment, episode and timestamp.

    Args:
        environment: int [N].
        episode, timestamp, next_timestamp: [N], one dtype that compares.
        ended: bool [N], terminated or truncated.
    """
    last = successors(environment, episode, timestamp, next_timestamp, ended) < 0
    first = np.r_[True, last[:-1]][: len(last)]
    starts = np.flatnonzero(first)
    number = np.cumsum(first) - 1
    return Numbered(number, np.arange(len(last)) - (starts[number] if len(starts) else 0))


def seen_by(
    order: Numbered,
    *,
    unit: np.ndarray,
    units: int,
    action: np.ndarray,
    reward: np.ndarray,
    propensity: np.ndarray,
    probabilities: np.ndarray,
    values: np.ndarray,
) -> Rows:
    """The rows as a policy sees them. An episode counts as far as it was logged: what the logs cannot show has no tail.

    Args:
        order: of the rows.
        unit: int [N].
        units: how many there are.
        action: int [N], as logged.
        reward: float64 [N].
        propensity: float64 [N], μ(a|x) of the logged action.
        probabilities: float64 [N, A], π(·|x).
        values: float64 [N, A], q̂(x, ·).
    """
    taken = np.arange(len(action))
    return Rows(
        unit=unit.astype(np.int64),
        episode=order.episode,
        step=order.step,
        reward=reward.astype(np.float64),
        weight=probabilities[taken, action] / propensity,
        q=values[taken, action],
        v=(probabilities * values).sum(axis=1),
        tail=np.zeros(len(action)),
        units=units,
    )
