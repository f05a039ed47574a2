"""Deep deterministic policy gradient (Lillicrap et al., 2015, https://arxiv.org/abs/1509.02971).

Target of the critic: r + discount · Q'(s', μ'(s')), with Q' and μ' the target networks.
The actor μ ascends Q(s, μ(s)).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from tf_agents.agents.ddpg import ddpg_agent

from rlbake.learners.actor_critic import CriticLoss
from rlbake.learners.bounds import Bounds
from rlbake.learners.deterministic_actor import DeterministicActorCritic, DeterministicConfig
from rlbake.learners.facts import Facts
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Continuous

FACTS = Facts(
    actions=(Continuous,),
    foresight=True,
    on_logs="overestimates actions that the logs hold few of, the more the further it looks ahead",
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(DeterministicConfig):
    """Hyperparameters of DDPG: those of DeterministicConfig."""

    name: Literal["ddpg"] = "ddpg"


def learner(config: Config, *, size: int, action: Continuous, masked: bool) -> DeterministicActorCritic:
    """The agent for `size` features; traced once per shape and process."""
    return _learner(config.layers, size, Bounds(action.low, action.high))


@lru_cache(maxsize=4)
def _learner(layers: tuple[int, ...], size: int, bounds: Bounds) -> DeterministicActorCritic:
    return _Learner(layers, size, bounds, critics=1)


class _Learner(DeterministicActorCritic):
    def agent(self, **common: Any) -> ddpg_agent.DdpgAgent:
        return _Agent(target_actor_network=self.target_actor(tf.tanh), **common)


class _Agent(CriticLoss, ddpg_agent.DdpgAgent):
    """TF-Agents' own."""
