"""Tabular worlds whose values are known exactly, and many draws of logs from them.

Environments are of hidden kinds, which shift their rewards and how often they decide: the decisions of one
environment are alike beyond what is observed, as those of one player are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from rlbake.evaluation.estimators import Estimator
from rlbake.evaluation.intervals import Bounded
from rlbake.evaluation.rows import Rows

KINDS = np.array([0.5, 0.3, 0.2])  # how frequent each hidden kind is
MOST = np.array([3, 6, 12])  # an environment of a kind decides (or has episodes) 1 … this often, evenly


@dataclass(frozen=True)
class Draws:
    """Logs of many draws of the same world in one `Rows`: unit u belongs to draw u // environments."""

    rows: Rows
    draws: int
    environments: int
    truth: float

    @property
    def one_step(self) -> bool:
        """Whether no episode has a second step."""
        return not self.rows.step.any()

    def components(self, estimator: Estimator | Bounded) -> np.ndarray:
        """An estimator's sums, float64 [draws, environments, k]."""
        return estimator.components(self.rows).reshape(self.draws, self.environments, -1)

    def of_each_row(self, estimator: Estimator) -> Iterator[np.ndarray]:
        """The same as if every row were independent of all others, float64 [rows of the draw, k] for each draw."""
        alone = replace(self.rows, unit=np.arange(len(self.rows)), units=len(self.rows))
        draw = self.rows.unit // self.environments
        yield from np.split(estimator.components(alone), np.flatnonzero(np.diff(draw)) + 1)

    def each(self) -> Iterator[Rows]:
        """The rows of each draw."""
        draw = self.rows.unit // self.environments
        for start, end in pairwise([0, *(np.flatnonzero(np.diff(draw)) + 1), len(draw)]):
            part = {f: getattr(self.rows, f)[start:end] for f in Rows.__dataclass_fields__ if f != "units"}
            yield Rows(**{**part, "unit": part["unit"] % self.environments}, units=self.environments)


def bandit(draws: int, environments: int, seed: int, *, sharpness: float = 1.0) -> Draws:
    """Four contexts, three actions, clicks.

    Args:
        sharpness: how far the target policy is from the logging policy: weights grow with it.
    """
    random = np.random.default_rng(seed)
    tables = np.random.default_rng(0)
    seen = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.4, 0.4]])  # P(x | kind)
    score = tables.normal(size=(4, 3))
    mu, pi = _softmax(0.5 * score), _softmax(-sharpness * score)
    clicks = tables.uniform(0.05, 0.25, size=(4, 3)) + np.array([0.0, 0.35, 0.7])[:, None, None]  # [kind]
    model = np.tensordot(_often(), clicks, axes=1) + tables.normal(scale=0.1, size=(4, 3))

    kind, unit = _population(random, draws * environments)
    context = _drawn(random, seen[kind])
    action = _drawn(random, mu[context])
    reward = (random.random(len(unit)) < clicks[kind, context, action]).astype(np.float64)
    rows = Rows(
        unit=unit,
        episode=np.arange(len(unit)),
        step=np.zeros(len(unit), np.int64),
        reward=reward,
        weight=(pi / mu)[context, action],
        q=model[context, action],
        v=(pi * model).sum(axis=1)[context],
        tail=np.zeros(len(unit)),
        units=draws * environments,
    )
    return Draws(rows, draws, environments, _averaged(np.einsum("kx,xa,kxa->k", seen, pi, clicks)))


def decision_process(draws: int, environments: int, seed: int, *, horizon: int = 6, sharpness: float = 1.0) -> Draws:
    """Five states, three actions, episodes of 1 to `horizon` steps; discount `GAMMA`.

    Args:
        sharpness: how far the target policy is from the logging policy.
    """
    random = np.random.default_rng(seed)
    tables = np.random.default_rng(1)
    score = tables.normal(size=(5, 3))
    mu, pi = _softmax(0.3 * score), _softmax(-0.3 * sharpness * score)
    moves = tables.dirichlet(np.ones(5), size=(5, 3))  # P(x' | x, a), if the episode goes on
    goes_on = tables.uniform(0.6, 0.95, size=(5, 3))
    mean = tables.uniform(0, 1, size=(5, 3)) + np.array([0.0, 0.3, 0.6])[:, None, None]  # [kind]
    q = _values(pi, np.tensordot(_often(), mean, axes=1), moves, goes_on, horizon)
    model = q + tables.normal(scale=0.2, size=q.shape) * np.abs(q)

    kind, unit = _population(random, draws * environments)
    episodes = len(unit)
    state = random.integers(5, size=episodes)
    alive = np.ones(episodes, bool)
    steps = []
    for t in range(horizon):
        action = _drawn(random, mu[state])
        reward = mean[kind, state, action] + random.normal(scale=0.3, size=episodes)
        steps.append((reward, (pi / mu)[state, action], model[t][state, action], (pi * model[t]).sum(1)[state], alive))
        alive = alive & (random.random(episodes) < goes_on[state, action])
        state = _drawn(random, moves[state, action])
    reward, weight, logged, value, there = (np.stack(column, axis=1) for column in zip(*steps, strict=True))
    episode, step = np.nonzero(there)
    rows = Rows(
        unit=unit[episode],
        episode=episode,
        step=step,
        reward=reward[there],
        weight=weight[there],
        q=logged[there],
        v=value[there],
        tail=np.zeros(len(step)),
        units=draws * environments,
    )
    of_kind = [(pi * _values(pi, m, moves, goes_on, horizon)[0]).sum(axis=1).mean() for m in mean]
    return Draws(rows, draws, environments, _averaged(np.array(of_kind)))


GAMMA = 0.95


def _values(pi: np.ndarray, reward: np.ndarray, moves: np.ndarray, goes_on: np.ndarray, horizon: int) -> np.ndarray:
    """Q(t, x, a) by backward induction, float64 [horizon, 5, 3]."""
    q = np.zeros((horizon + 1, *reward.shape))
    for t in reversed(range(horizon)):
        q[t] = reward + GAMMA * goes_on * (moves @ (pi * q[t + 1]).sum(axis=1))
    return q[:-1]


def _population(random: np.random.Generator, environments: int) -> tuple[np.ndarray, np.ndarray]:
    """Kind and environment of each decision (or episode)."""
    kind = random.choice(len(KINDS), size=environments, p=KINDS)
    unit = np.repeat(np.arange(environments), random.integers(1, MOST[kind] + 1))
    return kind[unit], unit


def _averaged(of_kind: np.ndarray) -> float:
    """Over decisions (or episodes)."""
    return float(of_kind @ _often())


def _often() -> np.ndarray:
    """Share of all decisions (or episodes) that environments of each kind have."""
    often = KINDS * (1 + MOST) / 2
    return often / often.sum()


def _softmax(score: np.ndarray) -> np.ndarray:
    weight = np.exp(score)
    return weight / weight.sum(axis=-1, keepdims=True)


def _drawn(random: np.random.Generator, probability: np.ndarray) -> np.ndarray:
    """One index for each row of probabilities."""
    below = random.random(len(probability))[:, None] > probability.cumsum(axis=1)[:, :-1]
    return below.sum(axis=1)
