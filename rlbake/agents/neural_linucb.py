"""Neural LinUCB (Riquelme et al., 2018, https://arxiv.org/abs/1802.09127): LinUCB on what a network makes of features.

In the two phases of TF-Agents' NeuralLinUCBAgent: gradient steps train a network to predict rewards; then its
last layer is replaced by linear regressions of the rewards, on what the hidden layers make of every row. Each
phase is that of the agent which does nothing else, because NeuralLinUCBAgent keeps both in every step, takes no
weights, and sums up in memory that grows with the square of the rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.bandits.agents.lin_ucb_agent import LinearUCBAgent
from tf_agents.networks.sequential import Sequential

from rlbake.learners.bandit import UNREAD
from rlbake.learners.facts import Facts
from rlbake.learners.linear_bandit import LinearConfig, LinearModel, UpperBoundHead
from rlbake.learners.loop import Part, Rows
from rlbake.learners.neural_bandit import NeuralBandit, NeuralConfig
from rlbake.learners.q_learning import number_of_actions
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Discrete, MultiDiscrete

FACTS = Facts(
    actions=(Discrete, MultiDiscrete),
    foresight=False,
    on_logs="safe: a regression of rewards on what was done; explores what the logs hold little of",
    unread=UNREAD,
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(NeuralConfig, LinearConfig):
    """Hyperparameters of neural LinUCB: those of NeuralConfig and of LinearConfig.

    Attributes:
        layers: at least one; the last is what the regressions are of.
        tikhonov_weight: as LinearConfig's; more, because the units of a layer are many and say much the same.
    """

    name: Literal["neural_linucb"] = "neural_linucb"
    layers: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (128, 64)
    tikhonov_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 100.0


def learner(config: Config, *, size: int, action: Action, masked: bool) -> NeuralLinUCB:
    """The agent for `size` features; traced once per shape and process.

    Raises:
        SpecError: the action is Continuous.
    """
    return _learner(config.layers, size, number_of_actions(config.name, action))


@lru_cache(maxsize=4)
def _learner(layers: tuple[int, ...], size: int, actions: int) -> NeuralLinUCB:
    return NeuralLinUCB(layers, size, actions)


class NeuralLinUCB(NeuralBandit):
    """Gradient steps, and one sum over all rows once they are taken, anew in every training."""

    sums = True

    def __init__(self, layers: tuple[int, ...], size: int, actions: int) -> None:
        self.model = LinearModel(LinearUCBAgent, layers[-1], actions)
        super().__init__(layers, size, actions, **self.model.variables())

    def restart(self, seed: int) -> None:
        super().restart(seed)
        self._summed = False

    def configure(self, config: Config) -> None:
        super().configure(config)
        self.model.configure(config.tikhonov_weight)
        self._alpha = config.alpha

    def sum_up(self, parts: Iterable[Part]) -> None:
        self.model.forget()  # what other weights made of features
        encode = Encoder(self.averaged())
        for part in parts:
            self.model.sum_up([Part(_encoded(part.rows, encode), part.weight)])
            del part  # before the next one is loaded
        self._summed = True

    def loss(self, rows: Rows) -> float:
        """Of the network, until the regressions replace its last layer."""
        return self.model.loss(_encoded(rows, Encoder(self.averaged()))) if self._summed else super().loss(rows)

    def value(self, features: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(self.head().values(features), axis=1) if self._summed else super().value(features)

    def head(self) -> UpperBoundHead:
        return UpperBoundHead(self.model.posterior(), self._alpha, self.epsilon, Encoder(self.averaged()))


def _encoded(rows: Rows, encode: Encoder) -> Rows:
    return rows._replace(features=encode(rows.features))


class Encoder(tf.Module):
    """The hidden layers of a network.

    Args:
        network: of dense layers.
    """

    def __init__(self, network: Sequential) -> None:
        super().__init__(name="encoder")
        self.layers = network.layers[:-1]

    def __call__(self, features: tf.Tensor) -> tf.Tensor:
        for layer in self.layers:
            features = layer(features)
        return features
