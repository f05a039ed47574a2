"""REINFORCE (Williams, 1992) with a value baseline.

Loss: -E[log π(a | s) A] + (G - V)² / 2 - entropy, with G a λ-return and A = G - V normalised over the batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents.reinforce import reinforce_agent
from tf_agents.trajectories import trajectory

from rlbake.agents.distributions import Family, family
from rlbake.agents.loop import Rows
from rlbake.agents.on_policy import OnPolicyConfig, OnPolicyLearner, facts, one_step
from rlbake.agents.policy_networks import Observed
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
    trace: Annotated[float, Field(ge=0, le=1)] = 1.0


def learner(config: Config, *, size: int, action: Action, masked: bool) -> Reinforce:
    """The agent for `size` features; traced once per shape and process."""
    return _learner(family(config.name, action), config.layers, size, masked)


@lru_cache(maxsize=4)
def _learner(drawn_from: Family, layers: tuple[int, ...], size: int, masked: bool) -> Reinforce:
    return Reinforce(drawn_from, layers, size, masked)


class Reinforce(OnPolicyLearner):
    """TF-Agents' ReinforceAgent, on batches of rows whose returns are known."""

    def agent(self, *, policy_network: Any, value_network: Any, **given: Any) -> reinforce_agent.ReinforceAgent:
        return reinforce_agent.ReinforceAgent(
            actor_network=policy_network,
            value_network=value_network,
            value_estimation_loss_coef=0.5,
            gamma=1.0,
            normalize_returns=True,
            **given,
        )

    def experience(
        self, batch: Rows, observed: Observed, action: tf.Tensor, returns: tf.Tensor, values: tf.Tensor
    ) -> trajectory.Trajectory:
        return one_step(observed, action, (), returns)
