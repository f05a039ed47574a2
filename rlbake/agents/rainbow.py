"""Rainbow (Hessel et al., 2018, https://arxiv.org/abs/1710.02298), as far as it helps on logged data.

In: distributions of returns (C51), double Q-learning, dueling streams, prioritised replay by the Kullback-Leibler
divergence of a row's target, and n-step returns, which `n_step` sets for any agent. The importance weights make up
for the priorities wholly, and from the start, instead of more and more: errors of noisy rewards would bias values.

Out: noisy networks, for nothing is explored while training on logs; when the exported policy explores, `epsilon` does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from rlbake.learners.distributional import DistributionalConfig, DistributionalLearner, DoubleDistributionalAgent
from rlbake.learners.dueling import DuelingNetwork
from rlbake.learners.facts import Facts
from rlbake.learners.q_learning import number_of_actions
from rlbake.specs import Action, Discrete, MultiDiscrete

FACTS = Facts(
    actions=(Discrete, MultiDiscrete),
    foresight=True,
    on_logs="stable: values cannot leave their support; learns rare outcomes sooner",
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(DistributionalConfig):
    """Hyperparameters of Rainbow: those of DistributionalConfig, with prioritised replay."""

    name: Literal["rainbow"] = "rainbow"
    priority: Annotated[float, Field(ge=0, le=1)] = 0.5


def learner(config: Config, *, size: int, action: Action, masked: bool) -> DistributionalLearner:
    """The agent for `size` features; traced once per shape and process.

    Raises:
        SpecError: the action is Continuous.
    """
    return _learner(config.layers, config.atoms, size, number_of_actions(config.name, action), masked)


@lru_cache(maxsize=4)
def _learner(layers: tuple[int, ...], atoms: int, size: int, actions: int, masked: bool) -> DistributionalLearner:
    def make_network() -> DuelingNetwork:
        network = DuelingNetwork(layers, size, actions, atoms)
        network.create_variables()
        return network

    return DistributionalLearner(DoubleDistributionalAgent, make_network, atoms, size, actions, masked)
