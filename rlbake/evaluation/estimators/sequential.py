"""What the estimators of sequential values share: a value is a mean discounted return per episode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rlbake.evaluation.estimators.ratios import SumOfRatios, each_alone, sums

if TYPE_CHECKING:
    from rlbake.evaluation.rows import Rows


@dataclass(frozen=True)
class Episodes:
    """E episodes of N rows.

    Attributes:
        first, last: int64 [E], an episode's first and last row.
        step: int64 [N], 0-based number of the row among its episode's rows.
        weight: float64 [N], w_{0:t}, the product of the episode's weights up to and with the row.
        discount: float64 [N], γ^t.
    """

    first: np.ndarray
    last: np.ndarray
    step: np.ndarray
    weight: np.ndarray
    discount: np.ndarray

    def following(self, v: np.ndarray, tail: np.ndarray) -> np.ndarray:
        """Modelled value of what follows each row, float64 [N]: v of the next row, `tail` after the last."""
        after = np.empty(len(v))
        after[:-1] = v[1:]
        after[self.last] = tail[self.last]
        return after

    def returns(self, reward: np.ndarray) -> np.ndarray:
        """Σ_t γ^t r_t, float64 [E]."""
        return np.add.reduceat(self.discount * reward, self.first) if len(self.first) else np.zeros(0)


def first_rows(rows: Rows) -> np.ndarray:
    """Where episodes begin, int64 [E]."""
    return np.flatnonzero(np.diff(rows.episode, prepend=rows.episode[:1] - 1))


def unrolled(rows: Rows, gamma: float, horizon: int) -> Episodes:
    """Products of weights and discounts along each episode.

    Products are taken over spans of 1, 2, 4, … rows (Hillis & Steele 1986, doi:10.1145/7902.7903): O(N log T)
    without a loop over episodes, and always in the same order, whatever else there is.

    Raises:
        ValueError: an episode has more rows than `horizon`.
    """
    first = first_rows(rows)
    length = np.diff(first, append=len(rows))
    step = np.arange(len(rows)) - np.repeat(first, length)
    longest = int(length.max(initial=0))
    if longest > horizon:
        raise ValueError(f"horizon is {horizon}: an episode has {longest} steps.")
    weight = np.array(rows.weight, np.float64)
    span = 1
    with np.errstate(over="ignore", invalid="ignore"):
        while span < longest:
            weight[span:] *= np.where(step[span:] >= span, weight[:-span], 1.0)
            span *= 2
    return Episodes(first, first + length - 1, step, weight, gamma ** np.arange(horizon)[step])


@dataclass(frozen=True)
class Sequential(SumOfRatios, ABC):
    """A sum of ratios whose items are episodes.

    Attributes:
        gamma: discount per step, in [0, 1].
        horizon: most steps of any episode.
    """

    gamma: float
    horizon: int

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma is {self.gamma}: it must lie between 0 and 1.")

    @abstractmethod
    def components(self, rows: Rows) -> np.ndarray:
        """Sums over each unit's episodes, float64 [units, k]; column 0 counts them."""

    def contributions(self, rows: Rows) -> np.ndarray:
        """What each episode contributes, float64 [E]; their mean is the value."""
        return self.parts(self.components(by_episode(rows)))


def by_episode(rows: Rows) -> Rows:
    """The same rows, with every episode a unit of its own."""
    first = first_rows(rows)
    return each_alone(rows, np.repeat(np.arange(len(first)), np.diff(first, append=len(rows))), len(first))


def of_episodes(rows: Rows, episodes: Episodes, *columns: np.ndarray) -> np.ndarray:
    """The number of each unit's episodes, and sums of [E] columns over them, float64 [units, 1 + columns]."""
    return sums(rows, np.ones(len(episodes.first)), *columns, at=episodes.first)
