"""Proximal policy optimisation (Schulman et al., 2017, https://arxiv.org/abs/1707.06347), clipped.

Loss: -E[min(w A, clip(w, 1 ± ε) A)] + (G - V)² / 2 - entropy, with w = π(a | s) / π_logged(a | s), G a λ-return
and A = G - V normalised over the batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents.ppo import ppo_clip_agent, ppo_utils
from tf_agents.trajectories import trajectory

from rlbake.learners.distributions import Family, family
from rlbake.learners.loop import Rows
from rlbake.learners.on_policy import OnPolicyConfig, OnPolicyLearner, Setting, facts, one_step
from rlbake.learners.policy_networks import Observed
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action

FACTS = facts("refuses logs that another policy made; takes many small steps, a period each")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(OnPolicyConfig):
    """Hyperparameters of PPO: those of OnPolicyConfig, and its own.

    Attributes:
        clipping: ε, how far the probability of an action may move, as a share of it, before it stops paying, > 0.
    """

    name: Literal["ppo"] = "ppo"
    clipping: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2


def learner(config: Config, *, size: int, action: Action, masked: bool) -> PPO:
    """The agent for `size` features; traced once per shape and process."""
    return _learner(family(config.name, action), config.layers, size, masked)


@lru_cache(maxsize=4)
def _learner(drawn_from: Family, layers: tuple[int, ...], size: int, masked: bool) -> PPO:
    return PPO(drawn_from, layers, size, masked)


class PPO(OnPolicyLearner):
    """TF-Agents' PPOClipAgent, on batches of rows whose returns are known."""

    def agent(self, *, policy_network: Any, value_network: Any, **given: Any) -> ppo_clip_agent.PPOClipAgent:
        self._clipping = Setting()
        return ppo_clip_agent.PPOClipAgent(
            actor_net=policy_network,
            value_net=value_network,
            importance_ratio_clipping=self._clipping,
            num_epochs=1,
            normalize_rewards=False,
            normalize_observations=False,
            compute_value_and_advantage_in_train=False,
            update_normalizers_in_train=False,
            **given,
        )

    def configure(self, config: Config) -> None:
        super().configure(config)
        self._clipping.variable.assign(config.clipping)

    def experience(
        self, batch: Rows, observed: Observed, action: tf.Tensor, returns: tf.Tensor, values: tf.Tensor
    ) -> trajectory.Trajectory:
        logged = ppo_utils.get_distribution_params(self.before(observed), legacy_distribution_network=False)
        advantage = self.advantage(returns, values)
        known = {"dist_params": logged, "value_prediction": values, "return": returns, "advantage": advantage}
        return one_step(observed, action, known, tf.zeros_like(returns))
