"""What every agent is made of: a configuration, and a learner that is traced once per shape and process."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from rlbake.errors import ConfigError
from rlbake.learners.heads import Head
from rlbake.learners.loop import GraphLoop, Part, Rows
from rlbake.learners.priorities import Priorities
from rlbake.quiet import tensorflow as tf


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AgentConfig:
    """Hyperparameters of an agent.

    Attributes:
        name: of the agent.
    """

    name: str


Variables = Mapping[str, Sequence[np.ndarray]]
"""Values of variables, by name of the part of a learner that they belong to."""

NETWORK = "network"
"""The part from which an agent of another kind may start, if its own is of the same shape."""


class Learner(ABC):
    """Learns from transitions, any number of times after one another.

    Whatever a configuration may change without changing the graph's shape is a variable: `configure`
    assigns it. Gamma is in the data: `discount` on a row is the whole factor of the bootstrapped
    value, so the agent's own gamma is 1.

    Attributes:
        lock: held by the one training that may use it at a time.
        logarithmic: whether the loss is a negative log-likelihood, whose differences tell what ratios of others do.
        sums: whether `sum_up` takes anything in.
    """

    logarithmic = False
    sums = False

    def __init__(self, **groups: Sequence[tf.Variable]) -> None:
        """
        Args:
            groups: everything that training changes, by name of the part.
        """
        self._groups = {part: list(group) for part, group in groups.items()}
        self._at_rest = self.variables()
        self.lock = Lock()

    @abstractmethod
    def restart(self, seed: int) -> None:
        """Fresh weights by seed; all else that training changes is as when the learner was made already."""

    @abstractmethod
    def configure(self, config: Any) -> None:
        """Takes over the hyperparameters of the agent's own Config."""

    def expect(self, returns: tuple[float, float]) -> None:
        """Told after `start` what the least and the greatest return can be, as `Replay.returns`."""
        return

    @abstractmethod
    def run(
        self,
        rows: Rows,
        *,
        batch_size: int,
        first_step: int,
        steps: int,
        seed: int,
        cumulative: tf.Tensor | Priorities | None = None,
    ) -> float:
        """Takes gradient steps and returns their mean loss: see `GraphLoop.run`."""

    def sum_up(self, parts: Iterable[Part]) -> None:
        """Takes in every row of the training once, after its last gradient step."""
        return

    @abstractmethod
    def loss(self, rows: Rows) -> float:
        """Mean loss of rows, without learning from them."""

    def value(self, features: tf.Tensor) -> tf.Tensor | None:
        """float32 [B], how much the agent expects to earn from features float32 [B, D]; None: it learns no values."""
        return None

    def unseen_metrics(self, rows: Rows) -> dict[str, float]:
        """What else, by name of the metric, the rows held out of training tell."""
        return {}

    @abstractmethod
    def head(self) -> Head:
        """What decides, a copy that later training leaves alone."""

    def variables(self) -> dict[str, list[np.ndarray]]:
        """The present values of everything that training changes."""
        return {part: [variable.numpy() for variable in group] for part, group in self._groups.items()}

    def start(self, config: Any, seed: int) -> None:
        """Forgets what was learned: fresh weights by seed, empty optimiser."""
        self._assign(self._at_rest)
        self.restart(seed)
        self.configure(config)

    def resume(self, config: Any, variables: Variables) -> None:
        """Goes on where `variables` were taken, with the hyperparameters of `config`.

        Raises:
            ConfigError: they belong to an agent of another shape.
        """
        if not self.fits(variables):
            raise ConfigError(
                "warm start: the model's network has another shape than this agent's. Train without warm_start."
            )
        self._assign(variables)
        self.configure(config)

    def fits(self, variables: Variables) -> bool:
        """Whether variables are of the parts and shapes of this learner's."""
        return _shapes(variables) == _shapes(self._at_rest)

    def can_adopt(self, network: Sequence[np.ndarray]) -> bool:
        """Whether another agent's network is of the shape of this one's."""
        own = self._at_rest.get(NETWORK)
        return own is not None and _shapes({NETWORK: network}) == _shapes({NETWORK: own})

    def adopt(self, network: Sequence[np.ndarray]) -> None:
        """Starts, after `start`, from another agent's network instead of fresh weights."""
        for variable, value in zip(self._groups[NETWORK], network, strict=True):
            variable.assign(value)
        self.follow_network()

    def follow_network(self) -> None:
        """Whatever is a copy of the network, such as a target network or an average, becomes what it is now."""
        return

    def _assign(self, values: Variables) -> None:
        for part, group in self._groups.items():
            for variable, value in zip(group, values[part], strict=True):
                variable.assign(value)


class LoopLearner(Learner):
    """One that takes gradient steps in a graph loop. A loss that is not finite is NaN, though TF-Agents raises.

    Args:
        loop: which trains it.
        groups: as in Learner.
    """

    def __init__(self, loop: GraphLoop, **groups: Sequence[tf.Variable]) -> None:
        self.loop = loop
        super().__init__(**groups)

    def run(
        self,
        rows: Rows,
        *,
        batch_size: int,
        first_step: int,
        steps: int,
        seed: int,
        cumulative: tf.Tensor | Priorities | None = None,
    ) -> float:
        return _told(
            lambda: self.loop.run(
                rows, batch_size=batch_size, first_step=first_step, steps=steps, seed=seed, cumulative=cumulative
            )
        )

    def loss(self, rows: Rows) -> float:
        return _told(lambda: float(self.loop.loss(rows)))


def _told(loss: Callable[[], float]) -> float:
    """NaN where TF-Agents refuses a loss that is not finite: what that means is for whoever trains to say."""
    try:
        return loss()
    except tf.errors.InvalidArgumentError as error:
        if "inf or nan" not in str(error):
            raise
        return math.nan


def _shapes(variables: Variables) -> dict[str, list[tuple[int, ...]]]:
    return {part: [np.shape(value) for value in group] for part, group in variables.items()}
