"""Passes over the decisions of the very policy that is trained further.

Each begins with λ-returns by the values of that moment. Every row then carries its own as its reward, with
nothing left to bootstrap from: so batches are drawn as from any other rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from rlbake import vocabulary as v
from rlbake.dataset import nstep
from rlbake.dataset.memory import shown
from rlbake.dataset.streamed import Streamed
from rlbake.dataset.transitions import Transitions
from rlbake.errors import ConfigError, DataError
from rlbake.learners.loop import Part, Rows
from rlbake.learners.on_policy import OnPolicyConfig, OnPolicyLearner
from rlbake.quiet import tensorflow as tf
from rlbake.training.columns import Columns
from rlbake.training.config import TrainConfig
from rlbake.training.replay import Segment, possible_returns, to_rows
from rlbake.training.returns import lambda_returns

RETURN, CLOSE = "return", "close"

_FEWEST = 0.98  # effective sample size per row of decisions that count as the policy's own
_AT_ONCE = 65_536  # rows that a network is applied to
_LOOK_EVERY = 20  # steps between two looks at how far the policy has moved
_LOOKED_AT = 2048  # rows, from all over
_LARGEST = 300.0  # log weight: its square is still a number

_logger = logging.getLogger(__name__)


class Passes:
    """Passes over rows that one policy decided on.

    Args:
        rows: of single steps, in order: N transitions.
        columns_of: the same as the agent reads them.
        learner: who learns from them.
        config: of the training; its agent's is an OnPolicyConfig.
    """

    def __init__(
        self,
        rows: Transitions,
        columns_of: Callable[[Transitions], Columns],
        learner: OnPolicyLearner,
        config: TrainConfig,
    ) -> None:
        assert isinstance(config.agent, OnPolicyConfig)
        columns = columns_of(rows)
        self.returns = possible_returns(columns["reward"], columns["discount"])
        self._successor = successors(rows)
        self._logged = rows.log_probability
        self._rows = to_rows(columns.pop)
        self._learner = learner
        self._steps = steps_per_pass(len(rows), config.batch_size)
        self._value_steps = config.agent.value_epochs * self._steps
        self._closeness = config.agent.closeness
        self._close = True
        self._followed: np.ndarray | None = None

    def segments(self, first: int, steps: int) -> Iterator[Segment]:
        """Before the first of all steps, the rows are checked to be the policy's own.

        Raises:
            DataError: they are not.
        """
        if not first:
            self._begin()
        while steps:
            into = first % self._steps
            if self._followed is None or not into:
                self._followed = self._returns(self._learner.trace)
            taken = min(steps, self._steps - into, _LOOK_EVERY)
            self._learner.teach(policy=first >= self._value_steps and self._still_close())
            yield Segment(first, taken, self._whole(self._followed), None)
            first, steps = first + taken, steps - taken

    def sample(self, most: int) -> Rows:
        apart = -(-len(self._successor) // most)
        return Rows(*(column[::apart] for column in self._rows))

    def parts(self) -> Iterator[Part]:
        yield Part(self._rows, None)

    def state(self) -> dict[str, np.ndarray]:
        close = {CLOSE: np.array(self._close)}
        return close if self._followed is None else {RETURN: self._followed, **close}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._followed, self._close = state.get(RETURN), bool(state[CLOSE])

    def _begin(self) -> None:
        refuse_stale(self._logged, self._each(self._learner.log_probability))
        zeros = np.zeros(len(self._successor))
        self._learner.begin(self._along(zeros, zeros, 1.0))

    def _still_close(self) -> bool:
        """Whether the policy has never been too far from the one that decided."""
        if self._close and self._closeness:
            self._close = effective_sample(self._learner.drift(self.sample(_LOOKED_AT))) >= self._closeness
            if not self._close:
                _logger.info("The policy has moved as far as its logs can tell: from now on only the values learn.")
        return self._close

    def _returns(self, trace: float) -> np.ndarray:
        value = self._each(lambda rows: self._learner.value(rows.features).numpy())
        next_value = self._each(lambda rows: self._learner.value(rows.next_features).numpy())
        return self._along(value, next_value, trace)

    def _along(self, value: np.ndarray, next_value: np.ndarray, trace: float) -> np.ndarray:
        reward, discount = (column.numpy().astype(np.float64) for column in (self._rows.reward, self._rows.discount))
        return lambda_returns(reward, discount, value, next_value, self._successor, trace)

    def _each(self, of: Callable[[Rows], np.ndarray]) -> np.ndarray:
        """float64 [N], a part of the rows at a time."""
        parts = (
            Rows(*(c[first : first + _AT_ONCE] for c in self._rows))
            for first in range(0, len(self._successor), _AT_ONCE)
        )
        return np.concatenate([of(part) for part in parts]).astype(np.float64)

    def _whole(self, followed: np.ndarray) -> Rows:
        """The rows with all that followed as their reward."""
        reward = tf.constant(followed, tf.float32)
        nothing = self._rows.next_features[:, :0], self._rows.next_mask[:, :0]
        return self._rows._replace(
            reward=reward, discount=tf.zeros_like(reward), next_features=nothing[0], next_mask=nothing[1]
        )


def in_memory(rows: Transitions | Streamed) -> Transitions:
    """The same rows.

    Raises:
        ConfigError: they are streamed.
    """
    if isinstance(rows, Transitions):
        return rows
    raise ConfigError(
        f"{len(rows):,} transitions don't fit in {shown(rows.memory)} of memory, and on-policy training cannot stream "
        "them: returns follow whole episodes. Set memory to more, or log fewer decisions per period."
    )


def steps_per_pass(rows: int, batch_size: int) -> int:
    """Gradient steps that draw as many rows as there are."""
    return -(-rows // batch_size)


def successors(rows: Transitions) -> np.ndarray:
    """The row that continues each row, int64 [N], or -1.

    Raises:
        DataError: the rows don't tell to which episode they belong.
    """
    if rows.episode is None:
        raise DataError("transitions without their episodes: an agent that learns from its own decisions needs them.")
    environment = np.unique(rows.env_id, return_inverse=True)[1]
    return nstep.successors(environment, rows.episode, rows.timestamp, rows.next_timestamp, rows.end != v.NOT_ENDED)


def effective_sample(log_weight: np.ndarray) -> float:
    """How many rows of a policy π so many of μ are worth, as a share: 1 / (1 + mean (w - 1)²), with w = π / μ.

    It is Kish's (Σw)² / N Σw² where w is 1 on average, as it must be if π's choices are all among μ's, and
    less where it is not.

    Args:
        log_weight: log w, float64 [N], of what μ did.
    """
    return 1 / (1 + float(np.mean(np.expm1(np.minimum(log_weight, _LARGEST)) ** 2)))


def refuse_stale(logged: np.ndarray, own: np.ndarray) -> None:
    """Decisions that another policy made are nothing to go on for an agent that learns from its own.

    Args:
        logged: log μ, float [N], of what was done under whoever did it; NaN = unknown.
        own: log π, float [N], of the same under the policy that is to be trained further.

    Raises:
        DataError: a propensity is unknown, or they differ too much.
    """
    advice = (
        "Train further what decided: simulate with policy=models:/<name>/<version> (or serve and log that version) "
        "and train with warm_start=models:/<name>/<version>; without warm_start, from random logs. Or choose an agent "
        "that learns from anybody's decisions, such as double_dqn, or td3 for numbers."
    )
    unknown = int(np.isnan(logged).sum())
    if unknown:
        raise DataError(
            f"on-policy training: {unknown:,} of {len(logged):,} rows don't say how probable their action was "
            f"(log_probability is missing), so nobody can tell whether this policy chose it. {advice}"
        )
    share = effective_sample(own - logged)
    if share < _FEWEST:
        raise DataError(
            f"on-policy training: the logs are stale. Their {len(logged):,} decisions are worth only {share:.0%} as "
            f"many of the policy that is to be trained further (effective sample size; at least {_FEWEST:.0%} are "
            f"needed): another policy made them. {advice}"
        )
    _logger.info("The logs are the policy's own: effective sample size %.1f %% of the rows.", 100 * share)
