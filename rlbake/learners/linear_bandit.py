"""What the linear bandits share: one ridge regression per action, its uncertainty, and a head that explores by it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.bandits.agents.linear_bandit_agent import LinearBanditAgent, LinearBanditVariableCollection
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step

from rlbake.learners.bandit import UNREAD, as_trajectory
from rlbake.learners.heads import DiscreteHead, Preferred, distribution
from rlbake.learners.learner import AgentConfig, Learner
from rlbake.learners.loop import Part, Rows
from rlbake.quiet import tensorflow as tf

UNREAD_BY_SUMS = (*UNREAD, "steps", "batch_size", "overfit")
"""What is not read where all rows are summed up, without a gradient step."""

_AT_ONCE = 5_000  # rows that are summed up together, at least: it takes a fifth of a CPU second, however few
_PIECES = 20  # of what is in memory already, at most: each takes a few times its own memory
_WIDE = 1024  # numbers per row of a batch that are looked at together; memory of 64 MB for 8,000 rows

Encode = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LinearConfig(AgentConfig):
    """Hyperparameters of an agent that estimates rewards linearly.

    Attributes:
        alpha: how much uncertainty counts when the exported policy explores, ≥ 0: the standard deviation of
            a single reward, in its unit, as far as the features do not explain it.
        tikhonov_weight: λ, of the squared length of the estimates' weights, > 0: how many rows it takes to
            believe something else than 0.
    """

    alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    tikhonov_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


class Posterior(NamedTuple):
    """What is known of the weights θ of each action's reward.

    Attributes:
        mean: float64 [A, D], of θ.
        root: float64 [A, D, D], R with Rᵀ R = the covariance of θ, for rewards of variance 1.
    """

    mean: np.ndarray
    root: np.ndarray


class LinearModel:
    """The linear regressions of a TF-Agents agent, of features and a constant 1 at their end.

        θₐ = (Aₐ + λ I)⁻¹ bₐ,   Aₐ = Σ w x xᵀ,   bₐ = Σ w r x   over the rows x, r of action a, of weight w

    Args:
        agent_class: of TF-Agents; all learn alike.
        size: D - 1, of features.
        actions: A.
    """

    def __init__(self, agent_class: type[LinearBanditAgent], size: int, actions: int) -> None:
        self._sums = LinearBanditVariableCollection(size + 1, actions, use_eigendecomp=True, dtype=tf.float64)
        self._tikhonov_weight = tf.Variable(1.0, dtype=tf.float64, trainable=False)
        self._agent = agent_class(
            time_step.time_step_spec(tf.TensorSpec([size], tf.float32)),
            tensor_spec.BoundedTensorSpec([], tf.int32, 0, actions - 1),
            variable_collection=self._sums,
            tikhonov_weight=self._tikhonov_weight,
            use_eigendecomp=True,  # the posterior's root is made of it
            add_bias=True,
            enable_summaries=False,
            dtype=tf.float64,
        )

    def variables(self) -> dict[str, list[tf.Variable]]:
        """A, b and the numbers of rows, one each per action; and what follows from them."""
        return {
            "a": self._sums.cov_matrix_list,
            "b": self._sums.data_vector_list,
            "rows": self._sums.num_samples_list,
            "solution": [*self._sums.eig_vals_list, *self._sums.eig_matrix_list, self._sums.theta],
        }

    def forget(self) -> None:
        """No rows were seen."""
        for variable in (*self._sums.cov_matrix_list, *self._sums.data_vector_list, *self._sums.num_samples_list):
            variable.assign(tf.zeros_like(variable))

    def configure(self, tikhonov_weight: float) -> None:
        self._tikhonov_weight.assign(tikhonov_weight)

    def sum_up(self, parts: Iterable[Part]) -> None:
        """Adds rows to A and b, and solves for θ."""
        for rows, weight in parts:
            for some in _pieces(len(rows.reward)):
                self._agent.train(
                    as_trajectory(Rows(*(column[some] for column in rows))), None if weight is None else weight[some]
                )
            del rows, weight  # before the next ones are loaded

    def loss(self, rows: Rows) -> float:
        """Mean squared error."""
        return float(self._agent.loss(as_trajectory(rows)).loss)

    def posterior(self) -> Posterior:
        """From A = Q diag(e) Qᵀ: R = diag(1 / √(e + λ)) Qᵀ and the mean is Rᵀ R b."""
        known = np.maximum([e.numpy() for e in self._sums.eig_vals_list], 0) + self._tikhonov_weight.numpy()
        turn = np.array([q.numpy() for q in self._sums.eig_matrix_list])
        root = turn.transpose(0, 2, 1) / np.sqrt(known)[:, :, None]
        earned = np.array([b.numpy() for b in self._sums.data_vector_list])
        return Posterior(np.einsum("aji,ajk,ak->ai", root, root, earned, optimize=True), root)


class LinearLearner(Learner):
    """A linear agent of TF-Agents, which has learned all that there is once every row is summed up.

    A warm start adds rows to those that are summed up already: they should be others.
    """

    sums = True

    def __init__(self, agent_class: type[LinearBanditAgent], size: int, actions: int) -> None:
        self.model = LinearModel(agent_class, size, actions)
        super().__init__(**self.model.variables())

    def restart(self, seed: int) -> None:
        """There is nothing random to start with."""

    def configure(self, config: Any) -> None:
        self.model.configure(config.tikhonov_weight)
        self.alpha = config.alpha

    def run(self, rows: Rows, **how: object) -> float:
        """There are no gradient steps to take."""
        return self.loss(rows)

    def sum_up(self, parts: Iterable[Part]) -> None:
        self.model.sum_up(parts)

    def loss(self, rows: Rows) -> float:
        return self.model.loss(rows)

    def value(self, features: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(self.head().values(features), axis=1)

    @abstractmethod
    def head(self) -> LinearHead: ...


class LinearHead(DiscreteHead):
    """Values actions by the mean of the posterior.

    Args:
        posterior: of A actions.
        encode: features float32 [B, ...] → what the regressions are of, float32 [B, D - 1].
    """

    def __init__(self, posterior: Posterior, encode: Encode = tf.identity) -> None:
        super().__init__(name="head")
        self.mean = tf.Variable(posterior.mean, trainable=False)
        self._encode = encode

    def values(self, features: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.expected(self.context(features)), tf.float32)

    def expected(self, context: tf.Tensor) -> tf.Tensor:
        """float64 [B, A], of what `context` returned."""
        return tf.matmul(context, self.mean, transpose_b=True)

    def context(self, features: tf.Tensor) -> tf.Tensor:
        """What the regressions are of, float64 [B, D]."""
        encoded = tf.cast(self._encode(features), tf.float64)
        return tf.concat([encoded, tf.ones([tf.shape(encoded)[0], 1], tf.float64)], axis=1)


class UpperBoundHead(LinearHead):
    """Explores by optimism: greedy in θₐᵀ x + α √(xᵀ (Aₐ + λ I)⁻¹ x), but for a share of uniformly random actions.

    Args:
        posterior: of A actions.
        alpha: α.
        epsilon: that share.
        encode: as LinearHead's.
    """

    def __init__(self, posterior: Posterior, alpha: float, epsilon: float, encode: Encode = tf.identity) -> None:
        super().__init__(posterior, encode)
        self.root = tf.Variable(posterior.root, trainable=False)
        self.alpha = alpha
        self.epsilon = epsilon

    def prefer(self, features: tf.Tensor, mask: tf.Tensor, explore: tf.Tensor, temperature: tf.Tensor) -> Preferred:
        context = self.context(features)
        expected = self.expected(context)
        values = tf.cast(expected, tf.float32)
        score = tf.cond(
            explore, lambda: expected + self.alpha * self._deviation(context), lambda: tf.cast(values, tf.float64)
        )
        return Preferred(values, distribution(score, mask, explore, temperature, self.epsilon))

    def _deviation(self, context: tf.Tensor) -> tf.Tensor:
        """√(xᵀ (Aₐ + λ I)⁻¹ x), float64 [B, A]."""
        actions, size, _ = self.root.shape
        lengths = []
        for some in blocks(actions, size):
            lengths.append(tf.norm(projected(context, self.root[some]), axis=2))
        return tf.concat(lengths, axis=1)


def blocks(count: int, each: int) -> Iterator[slice]:
    """0, …, count - 1 a few at a time, so that `each` numbers of every one of them stay within memory."""
    step = max(1, _WIDE // each)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def projected(context: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """[B, M, N] = context [B, D] · rows [M, N, D]."""
    many, each, size = rows.shape
    return tf.reshape(tf.matmul(context, tf.reshape(rows, [many * each, size]), transpose_b=True), [-1, many, each])


def _pieces(rows: int) -> Iterator[slice]:
    step = max(_AT_ONCE, -(-rows // _PIECES))
    return (slice(start, start + step) for start in range(0, rows, step))
