"""Neural ε-greedy: a network predicts what every action earns, and the best is chosen but for a share of chance.

Loss: (r - f(x)ₐ)².
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from rlbake.learners.bandit import UNREAD
from rlbake.learners.facts import Facts
from rlbake.learners.heads import ValueHead
from rlbake.learners.neural_bandit import NeuralBandit, NeuralConfig
from rlbake.learners.q_learning import number_of_actions
from rlbake.specs import Action, Discrete, MultiDiscrete

FACTS = Facts(
    actions=(Discrete, MultiDiscrete),
    foresight=False,
    on_logs="safe: a regression of rewards on what was done",
    unread=UNREAD,
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(NeuralConfig):
    """Hyperparameters of neural ε-greedy: those of NeuralConfig."""

    name: Literal["neural_epsilon_greedy"] = "neural_epsilon_greedy"


def learner(config: Config, *, size: int, action: Action, masked: bool) -> NeuralEpsilonGreedy:
    """The agent for `size` features; traced once per shape and process.

    Raises:
        SpecError: the action is Continuous.
    """
    return _learner(config.layers, size, number_of_actions(config.name, action))


@lru_cache(maxsize=4)
def _learner(layers: tuple[int, ...], size: int, actions: int) -> NeuralEpsilonGreedy:
    return NeuralEpsilonGreedy(layers, size, actions)


class NeuralEpsilonGreedy(NeuralBandit):
    """Decides by the network's predictions."""

    def head(self) -> ValueHead:
        return ValueHead(self.averaged(), self.epsilon)
