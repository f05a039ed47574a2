"""Categorical DQN, C51 (Bellemare et al., 2017, https://arxiv.org/abs/1707.06887).

Learns a distribution of returns for every action. Target: that of r + discount · G' of the action a' that is best in
expectation, both by the target network, projected onto the atoms.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from tf_agents.networks import categorical_q_network
from tf_agents.specs import tensor_spec

from rlbake.learners.distributional import DistributionalAgent, DistributionalConfig, DistributionalLearner
from rlbake.learners.facts import Facts
from rlbake.learners.q_learning import number_of_actions
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Discrete, MultiDiscrete

FACTS = Facts(
    actions=(Discrete, MultiDiscrete),
    foresight=True,
    on_logs="stable: values cannot leave their support",
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(DistributionalConfig):
    """Hyperparameters of categorical DQN: those of DistributionalConfig."""

    name: Literal["categorical_dqn"] = "categorical_dqn"


def learner(config: Config, *, size: int, action: Action, masked: bool) -> DistributionalLearner:
    """The agent for `size` features; traced once per shape and process.

    Raises:
        SpecError: the action is Continuous.
    """
    return _learner(config.layers, config.atoms, size, number_of_actions(config.name, action), masked)


@lru_cache(maxsize=4)
def _learner(layers: tuple[int, ...], atoms: int, size: int, actions: int, masked: bool) -> DistributionalLearner:
    def make_network() -> categorical_q_network.CategoricalQNetwork:
        network = categorical_q_network.CategoricalQNetwork(
            tf.TensorSpec([size], tf.float32),
            tensor_spec.BoundedTensorSpec([], tf.int32, 0, actions - 1),
            num_atoms=atoms,
            fc_layer_params=layers,
        )
        network.create_variables()
        return network

    return DistributionalLearner(DistributionalAgent, make_network, atoms, size, actions, masked)
