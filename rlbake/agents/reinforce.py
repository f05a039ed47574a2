"""REINFORCE (Williams, 1992) with a value baseline.

Loss: -E[w log π(a | s) A] + w (G - V)² / 2 - entropy, with G a λ-return and A = G - V normalised over the batch.
w = π(a | s) / π_logged(a | s) starts as 1 and makes up for the steps since: without it, what values don't know yet
soon speaks against whatever was done.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents import tf_agent
from tf_agents.agents.reinforce import reinforce_agent
from tf_agents.trajectories import trajectory

from rlbake.learners.distributions import Family, family
from rlbake.learners.loop import Rows
from rlbake.learners.on_policy import OnPolicyConfig, OnPolicyLearner, facts, one_step
from rlbake.learners.policy_networks import Observed
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action

FACTS = facts("refuses logs that another policy made; nothing holds its steps back: ppo is steadier")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(OnPolicyConfig):
    """Hyperparameters of REINFORCE: those of OnPolicyConfig.

    With every step the policy is less the one that made the decisions: keep the epochs few.
    """

    name: Literal["reinforce"] = "reinforce"
    epochs: Annotated[int, Field(ge=1)] = 1
    value_epochs: Annotated[int, Field(ge=0)] = 4
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3e-4


def learner(config: Config, *, size: int, action: Action, masked: bool) -> Reinforce:
    """The agent for `size` features; traced once per shape and process."""
    return _learner(family(config.name, action), config.layers, size, masked)


@lru_cache(maxsize=4)
def _learner(drawn_from: Family, layers: tuple[int, ...], size: int, masked: bool) -> Reinforce:
    return Reinforce(drawn_from, layers, size, masked)


class Reinforce(OnPolicyLearner):
    """TF-Agents' ReinforceAgent, on batches of rows whose returns are known."""

    def agent(self, *, policy_network: Any, value_network: Any, **given: Any) -> reinforce_agent.ReinforceAgent:
        return CorrectedReinforce(
            self._drift,
            actor_network=policy_network,
            value_network=value_network,
            value_estimation_loss_coef=0.5,
            advantage_fn=self.advantage,
            gamma=1.0,
            normalize_returns=True,
            **given,
        )

    def experience(
        self, batch: Rows, observed: Observed, action: tf.Tensor, returns: tf.Tensor, values: tf.Tensor
    ) -> trajectory.Trajectory:
        return one_step(observed, action, (), returns)

    def _drift(self, made: trajectory.Trajectory) -> tf.Tensor:
        """π(a | s) / π_logged(a | s)."""
        now, before = self.now(made.observation), self.before(made.observation)
        return tf.stop_gradient(tf.exp(now.log_prob(made.action) - before.log_prob(made.action)))


class CorrectedReinforce(reinforce_agent.ReinforceAgent):
    """TF-Agents' own, with every decision weighed by how much likelier it has become since it was made.

    Args:
        drift: that factor, of decisions.
        **given: what ReinforceAgent takes.
    """

    def __init__(self, drift: Callable[[trajectory.Trajectory], tf.Tensor], **given: Any) -> None:
        self._drift = drift
        super().__init__(**given)

    def _train(self, experience: trajectory.Trajectory, weights: None = None) -> tf_agent.LossInfo:
        return super()._train(experience, self._drift(experience))
