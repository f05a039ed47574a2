"""Double DQN (van Hasselt et al., 2015, https://arxiv.org/abs/1509.06461).

Target: r + discount · Q'(s', argmax_a Q(s', a)), with Q' the target network.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from tf_agents.agents.dqn import dqn_agent

from rlbake.learners.conservatism import ConservativeDdqnAgent
from rlbake.learners.facts import Facts
from rlbake.learners.q_learning import QLearner, QLearningConfig, number_of_actions
from rlbake.specs import Action, Discrete, MultiDiscrete

FACTS = Facts(
    actions=(Discrete, MultiDiscrete),
    foresight=True,
    on_logs="stable with rlbake's defaults; the default agent",
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(QLearningConfig):
    """Hyperparameters of double DQN: those of QLearningConfig."""

    name: Literal["double_dqn"] = "double_dqn"


def learner(config: Config, *, size: int, action: Action, masked: bool) -> QLearner:
    """The agent for `size` features; traced once per shape and process.

    Raises:
        SpecError: the action is Continuous.
    """
    actions = number_of_actions(config.name, action)
    return _learner(config.layers, size, actions, masked, bool(config.conservatism))


@lru_cache(maxsize=4)
def _learner(layers: tuple[int, ...], size: int, actions: int, masked: bool, conservative: bool) -> QLearner:
    agent_class = ConservativeDdqnAgent if conservative else dqn_agent.DdqnAgent
    return QLearner(agent_class, layers, size, actions, masked)
