"""What the contextual bandits share: they learn what a decision earns at once, and look no step ahead."""

from __future__ import annotations

from tf_agents.policies.utils import PolicyInfo
from tf_agents.trajectories import trajectory

from rlbake.learners.loop import Rows
from rlbake.quiet import tensorflow as tf

UNREAD = ("gamma_period", "n_step")
"""Fields of TrainConfig that change nothing where gamma is 0."""


def as_trajectory(rows: Rows) -> trajectory.Trajectory:
    """Rows as TF-Agents' bandits take them, [N, 1, ...]. Which actions were allowed tells nothing about rewards."""
    step = tf.zeros_like(rows.reward, tf.int32)
    features, action, reward, discount, step = (
        tf.expand_dims(column, axis=1) for column in (rows.features, rows.action, rows.reward, rows.discount, step)
    )
    return trajectory.Trajectory(step, features, action, PolicyInfo(), step, reward, discount)
