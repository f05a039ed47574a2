"""What DQN and double DQN share: configuration, Q-network, seeded start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Annotated

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents.dqn import dqn_agent
from tf_agents.networks import sequential
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step
from tf_agents.utils import common

from rlbake.agents.loop import GraphLoop
from rlbake.errors import ConfigError, SpecError
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Discrete

_AVERAGE_EVERY = 10  # steps: every one would cost a twentieth of the training's time


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class QLearningConfig:
    """Hyperparameters of an agent that learns the value of every action.

    Attributes:
        layers: units of each hidden layer (ReLU), from the features on.
        learning_rate: AdamW's step size, > 0.
        weight_decay: AdamW's: share of every weight, not bias, that a step takes away, per learning rate.
            It keeps values smooth where the logs hold little.
        target_update_period: gradient steps between copies of the Q-network to the target network.
        gradient_clipping: largest norm of the gradient of each variable.
        averaging: decay per step of the average of the Q-network's weights that is exported, in [0, 1);
            0 exports the last weights.
        epsilon: share of uniformly random actions when the exported policy explores, in [0, 1].
    """

    layers: tuple[Annotated[int, Field(ge=1)], ...] = (128, 64)
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3
    target_update_period: Annotated[int, Field(ge=1)] = 200
    gradient_clipping: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 100.0
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.1


def number_of_actions(name: str, action: Action) -> int:
    """How many actions a value-based agent chooses among.

    Raises:
        SpecError: the action is not Discrete.
    """
    if not isinstance(action, Discrete):
        raise SpecError(
            f"agent {name!r} values one choice out of named actions: it cannot act on {type(action).__name__}."
        )
    return len(action)


def q_network(layers: Sequence[int], size: int, actions: int) -> sequential.Sequential:
    """Features float32 [B, size] → action values float32 [B, actions]."""
    hidden = [tf.keras.layers.Dense(units, activation="relu") for units in layers]
    network = sequential.Sequential([*hidden, tf.keras.layers.Dense(actions)])
    network.create_variables(tf.TensorSpec([size], tf.float32))
    return network


class QLearner:
    """An agent whose graph is traced once and then trained any number of times.

    Whatever a configuration may change without changing the graph's shape is a variable:
    `start` assigns it. Gamma is in the data: `discount` on a row is the whole factor of the
    bootstrapped value, so the agent's own gamma is 1.

    Attributes:
        network: the Q-network.
        loop: trains the agent.
        lock: held by the one training that may use it at a time.
    """

    def __init__(
        self, agent_class: type[dqn_agent.DqnAgent], layers: tuple[int, ...], size: int, actions: int, masked: bool
    ) -> None:
        self._shape = layers, size, actions
        self.network = q_network(*self._shape)
        self._weight_decay = tf.Variable(0.0, trainable=False)
        self._optimizer = tf.keras.optimizers.AdamW(weight_decay=self._weight_decay)
        self._period = tf.Variable(1, dtype=tf.int64, trainable=False)
        self._decay = tf.Variable(0.0, trainable=False)
        self._clipping = tf.Variable(1.0, trainable=False)
        observation = tf.TensorSpec([size], tf.float32)
        self._agent = agent_class(
            time_step.time_step_spec((observation, tf.TensorSpec([actions], tf.bool)) if masked else observation),
            tensor_spec.BoundedTensorSpec([], tf.int32, 0, actions - 1),
            self.network,
            self._optimizer,
            observation_and_action_constraint_splitter=(lambda both: both) if masked else None,
            target_update_period=None,  # a period that can change between trainings: _after_step
            gradient_clipping=self._clipping,
            td_errors_loss_fn=common.element_wise_squared_loss,  # Huber's would learn medians, not expected returns
            gamma=1.0,
            train_step_counter=tf.Variable(0, dtype=tf.int64, trainable=False),
        )
        self._agent.initialize()
        self._average = [tf.Variable(weight, trainable=False) for weight in self.network.variables]
        self._optimizer.exclude_from_weight_decay(var_names=["bias"])
        self._optimizer.build(self.network.trainable_variables)
        self._variables = {
            "agent": list(self._agent.variables),
            "optimizer": list(self._optimizer.variables),
            "average": self._average,
        }
        self._at_rest = self.variables()
        self.lock = Lock()
        self.loop = GraphLoop(self._agent, masked, self._after_step)

    def variables(self) -> dict[str, list[np.ndarray]]:
        """The present values of everything that training changes."""
        return {part: [variable.numpy() for variable in group] for part, group in self._variables.items()}

    def start(self, config: QLearningConfig, seed: int) -> None:
        """Forgets what was learned: fresh weights by seed (Glorot uniform), empty optimiser."""
        self._assign(self._at_rest)
        dense = [layer for layer in self.network.layers if isinstance(layer, tf.keras.layers.Dense)]
        seeds = np.random.SeedSequence(seed).generate_state(len(dense))
        for layer, layer_seed in zip(dense, seeds, strict=True):
            layer.kernel.assign(tf.keras.initializers.GlorotUniform(int(layer_seed))(layer.kernel.shape))
            layer.bias.assign(tf.zeros_like(layer.bias))
        self._agent.initialize()
        for average, weight in zip(self._average, self.network.variables, strict=True):
            average.assign(weight)
        self._configure(config)

    def resume(self, config: QLearningConfig, variables: Mapping[str, Sequence[np.ndarray]]) -> None:
        """Goes on where `variables` were taken, with the hyperparameters of `config`.

        Raises:
            ConfigError: they belong to an agent of another shape.
        """
        shapes = {part: [np.shape(value) for value in group] for part, group in variables.items()}
        if shapes != {part: [np.shape(value) for value in group] for part, group in self._at_rest.items()}:
            raise ConfigError(
                "warm start: the model was trained with other features, actions, action masks or layers. "
                "Set agent.layers to its own, or train from scratch."
            )
        self._assign(variables)
        self._configure(config)

    def trained_network(self) -> sequential.Sequential:
        """A copy of the averaged Q-network that later training leaves alone."""
        since = int(self._agent.train_step_counter) % _AVERAGE_EVERY
        rate = 1 - float(self._decay) ** since
        pairs = zip(self._average, self.network.variables, strict=True)
        copy = q_network(*self._shape)
        copy.set_weights([average.numpy() + rate * (weight.numpy() - average.numpy()) for average, weight in pairs])
        return copy

    def _after_step(self) -> tf.Operation:
        """Every `period` steps the target network becomes the Q-network; the average follows every few steps.

        Early on it follows at every step, and faster, as tf.train.ExponentialMovingAverage does with
        `num_updates`, so that a short training does not export its initial weights.
        """
        step, weights = self._agent.train_step_counter, self.network.variables
        target = self._agent._target_q_network.variables
        copied = tf.cond(
            step % self._period == 0, lambda: common.soft_variables_update(weights, target, tau=1.0), tf.no_op
        )
        updates = tf.cast(step, tf.float32) / _AVERAGE_EVERY
        rate = 1 - tf.minimum(self._decay**_AVERAGE_EVERY, (1 + updates) / (10 + updates))

        def follow() -> tf.Operation:
            pairs = zip(self._average, weights, strict=True)
            return tf.group(*(average.assign_add(rate * (weight - average)) for average, weight in pairs))

        averaged = tf.cond((step % _AVERAGE_EVERY == 0) | (step < _AVERAGE_EVERY), follow, tf.no_op)
        return tf.group(copied, averaged)

    def _assign(self, values: Mapping[str, Sequence[np.ndarray]]) -> None:
        for part, group in self._variables.items():
            for variable, value in zip(group, values[part], strict=True):
                variable.assign(value)

    def _configure(self, config: QLearningConfig) -> None:
        self._optimizer.learning_rate.assign(config.learning_rate)
        self._weight_decay.assign(config.weight_decay)
        self._period.assign(config.target_update_period)
        self._clipping.assign(config.gradient_clipping)
        self._decay.assign(config.averaging)
