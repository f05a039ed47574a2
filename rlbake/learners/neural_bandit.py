"""What the neural bandits share: configuration, and a network that learns by gradient steps what decisions earn."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.bandits.agents.neural_epsilon_greedy_agent import NeuralEpsilonGreedyAgent
from tf_agents.networks.sequential import Sequential
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step

from rlbake.learners.averaging import Average
from rlbake.learners.bandit import as_trajectory
from rlbake.learners.learner import AgentConfig, LoopLearner
from rlbake.learners.loop import GraphLoop
from rlbake.learners.networks import dense_network, restart
from rlbake.quiet import tensorflow as tf


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NeuralConfig(AgentConfig):
    """Hyperparameters of an agent that learns by gradient steps what every action earns.

    Attributes:
        layers: units of each hidden layer (ReLU), from the features on.
        learning_rate: AdamW's step size, > 0.
        weight_decay: AdamW's: share of every weight, not bias, that a step takes away, per learning rate.
        gradient_clipping: largest norm of the gradient of each variable.
        averaging: decay per step of the average of the network's weights that is exported, in [0, 1);
            0 exports the last weights.
        epsilon: share of uniformly random actions when the exported policy explores, in [0, 1].
    """

    layers: tuple[Annotated[int, Field(ge=1)], ...] = (128, 64)
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3
    gradient_clipping: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 100.0
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.1


class NeuralBandit(LoopLearner):
    """Minimises the squared error of the rewards that it predicts, with TF-Agents' NeuralEpsilonGreedyAgent.

    Args:
        layers: units of each hidden layer.
        size: D, of features.
        actions: A.
        more: what else training changes, by name of the part.

    Attributes:
        network: float32 [B, D] → rewards float32 [B, A].
    """

    def __init__(self, layers: tuple[int, ...], size: int, actions: int, **more: list[tf.Variable]) -> None:
        self._shape = layers, size, actions
        self.network = dense_network(*self._shape)
        self._weight_decay = tf.Variable(0.0, trainable=False)
        self._optimizer = tf.keras.optimizers.AdamW(weight_decay=self._weight_decay)
        self._clipping = tf.Variable(1.0, trainable=False)
        self._steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        agent = NeuralEpsilonGreedyAgent(
            time_step.time_step_spec(tf.TensorSpec([size], tf.float32)),
            tensor_spec.BoundedTensorSpec([], tf.int32, 0, actions - 1),
            self.network,
            self._optimizer,
            epsilon=0.0,  # of its own policy, which nobody asks
            gradient_clipping=self._clipping,
            enable_summaries=False,
            train_step_counter=self._steps,
        )
        self._average = Average(self.network.variables)
        self._optimizer.exclude_from_weight_decay(var_names=["bias"])
        self._optimizer.build(self.network.trainable_variables)
        loop = GraphLoop(agent, as_trajectory, lambda: self._average.follow(self._steps))
        super().__init__(
            loop,
            network=self.network.variables,
            agent=[self._steps],
            optimizer=self._optimizer.variables,
            average=self._average.variables,
            **more,
        )

    def restart(self, seed: int) -> None:
        restart(self.network, seed)
        self.follow_network()

    def follow_network(self) -> None:
        self._average.restart()

    def configure(self, config: Any) -> None:
        self._optimizer.learning_rate.assign(config.learning_rate)
        self._weight_decay.assign(config.weight_decay)
        self._clipping.assign(config.gradient_clipping)
        self._average.configure(config.averaging)
        self.epsilon = config.epsilon

    def value(self, features: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(self.network(features)[0], axis=1)

    def averaged(self) -> Sequential:
        """The network with the average of its weights, a copy."""
        copy = dense_network(*self._shape)
        copy.set_weights(self._average.weights(int(self._steps)))
        return copy
