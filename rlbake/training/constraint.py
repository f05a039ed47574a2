"""Batch-constrained action choice (Fujimoto et al., 2019, https://arxiv.org/abs/1910.01708), for any agent with values.

An action a is left out where the logs' policy, cloned before the training, hardly takes it:

    π(a | s) / max over a' of π(a' | s) < constraint

Neither is it bootstrapped from (rows are masked once, before the training) nor chosen later, not even to explore.
The favourite is always left, so that a mask never becomes empty.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rlbake.agents import behavioral_cloning
from rlbake.learners.heads import DiscreteHead, Preferred
from rlbake.learners.loop import CHUNK, Rows
from rlbake.learners.q_learning import ValueConfig
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action
from rlbake.training.columns import Columns
from rlbake.training.config import TrainConfig
from rlbake.training.replay import Replay

_PASSES = 20  # over the rows, that the clone needs at most
_AT_ONCE = 2**16  # rows
_PROBE = 2048  # rows, from all over, that its loss is taken on


def constraint(config: TrainConfig) -> float:
    """The threshold; 0: nothing is left out."""
    return config.agent.constraint if isinstance(config.agent, ValueConfig) else 0.0


def cloning(config: TrainConfig, rows: int) -> TrainConfig:
    """How the clone is trained: as the agent, with a network as large, over so many rows."""
    assert isinstance(config.agent, ValueConfig)  # others have no constraint
    steps = min(config.steps, math.ceil(_PASSES * rows / config.batch_size))
    return replace(config, agent=behavioral_cloning.Config(layers=config.agent.layers), steps=steps)


def cloner(config: TrainConfig, *, size: int, action: Action) -> behavioral_cloning.Cloner:
    """What learns it, of features float32 [B, size], by a configuration as `cloning` makes it."""
    assert isinstance(config.agent, behavioral_cloning.Config)
    return behavioral_cloning.learner(config.agent, size=size, action=action, masked=True)


def clone(
    learner: behavioral_cloning.Cloner, replay: Replay, unseen: Rows | None, config: TrainConfig, seed: int
) -> DiscreteHead:
    """The logs' policy.

    Args:
        learner: learns it.
        replay: of the training rows.
        unseen: some rows held out; training ends when `config.overfit` says that it no longer holds on them.
        config: as `cloning` makes it.
        seed: of the weights and batches.
    """
    learner.start(config.agent, seed)
    known = replay.sample(_PROBE)
    for first in range(0, config.steps, CHUNK):
        for part in replay.segments(first, min(CHUNK, config.steps - first)):
            learner.run(
                part.rows,
                batch_size=config.batch_size,
                first_step=part.first,
                steps=part.steps,
                seed=seed,
                cumulative=part.cumulative,
            )
        if unseen is None or config.overfit is None:
            continue
        if learner.loss(unseen) > learner.loss(known) + math.log(config.overfit):
            break
    return learner.head()


class Constraint(tf.Module):
    """What a clone of the logs' policy leaves to choose from.

    Args:
        clone: of the policy.
        threshold: in (0, 1).
    """

    def __init__(self, clone: DiscreteHead, threshold: float) -> None:
        super().__init__(name="constraint")
        self._clone = clone
        self._threshold = threshold

    def allowed(self, features: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """bool [B, A], of features float32 [B, D] and the actions that are allowed anyway, bool [B, A]."""
        own = self._clone.prefer(features, mask, tf.constant(True), tf.constant(0.0)).probabilities
        return own >= self._threshold * tf.reduce_max(own, axis=1, keepdims=True)

    def on(self, columns: Columns) -> Columns:
        """Rows that don't bootstrap from anything else."""
        parts = (slice(first, first + _AT_ONCE) for first in range(0, len(columns["reward"]), _AT_ONCE))
        allowed = [self.allowed(columns["next_features"][at], columns["next_mask"][at]).numpy() for at in parts]
        return columns | {"next_mask": np.concatenate([columns["next_mask"][:0], *allowed])}


class ConstrainedHead(DiscreteHead):
    """Another head, which chooses among what a constraint leaves.

    Args:
        head: the other one.
        constraint: on the actions.
    """

    def __init__(self, head: DiscreteHead, constraint: Constraint) -> None:
        super().__init__(name="head")
        self._head = head
        self._constraint = constraint

    def values(self, features: tf.Tensor) -> tf.Tensor:
        return self._head.values(features)

    def prefer(self, features: tf.Tensor, mask: tf.Tensor, explore: tf.Tensor, temperature: tf.Tensor) -> Preferred:
        return self._head.prefer(features, self.considered(features, mask), explore, temperature)

    def considered(self, features: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return self._constraint.allowed(features, mask)
