"""Behavioral cloning (Pomerleau, 1991): decides as the logs do, or as the application's rules would.

Loss: -log π(a | s) of the cloned action, over the allowed ones.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents.behavioral_cloning import behavioral_cloning_agent
from tf_agents.trajectories import time_step, trajectory

from rlbake.errors import ConfigError
from rlbake.learners.averaging import Average
from rlbake.learners.categorical import allowed_logits
from rlbake.learners.distributions import Family, OverActions, family
from rlbake.learners.facts import Facts
from rlbake.learners.heads import Head
from rlbake.learners.learner import NETWORK, AgentConfig, LoopLearner
from rlbake.learners.loop import GraphLoop, Rows
from rlbake.learners.networks import dense_network, restart
from rlbake.learners.policy_networks import PolicyNetwork
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Continuous, Discrete, MultiDiscrete

FACTS = Facts(
    actions=(Discrete, MultiDiscrete, Continuous),
    foresight=False,
    on_logs="safe: does what the logs or the rules do; a start for double_dqn",
    unread=("gamma", "gamma_period", "n_step", "reward"),
)

AGREEMENT = "train/agreement"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(AgentConfig):
    """Hyperparameters of behavioral cloning.

    Attributes:
        clone: whose decisions to learn: "logs", those that were made; or "rules", those that the
            application's rules would have made instead.
        layers: units of each hidden layer (ReLU), from the features on.
        learning_rate: AdamW's step size, > 0.
        weight_decay: AdamW's: share of every weight, not bias, that a step takes away, per learning rate.
        averaging: decay per step of the average of the network's weights that is exported, in [0, 1);
            0 exports the last weights.
        epsilon: share of uniformly random actions, on top of its own chances, when the exported policy
            explores, in [0, 1]; of numbers, 0.
    """

    name: Literal["behavioral_cloning"] = "behavioral_cloning"
    clone: Literal["logs", "rules"] = "logs"
    layers: tuple[Annotated[int, Field(ge=1)], ...] = (128, 64)
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.0


def learner(config: Config, *, size: int, action: Action, masked: bool) -> Cloner:
    """The agent for `size` features; traced once per shape and process.

    Raises:
        ConfigError: epsilon is set for numbers.
    """
    if isinstance(action, Continuous) and config.epsilon:
        raise ConfigError(
            f"agent.epsilon = {config.epsilon:g}: a clone that decides on numbers explores as widely as whom it "
            "clones, and a temperature above 1 widens that. Leave epsilon out."
        )
    return _learner(family(config.name, action), config.layers, size, masked)


@lru_cache(maxsize=4)
def _learner(drawn_from: Family, layers: tuple[int, ...], size: int, masked: bool) -> Cloner:
    return Cloner(drawn_from, layers, size, masked)


class Cloner(LoopLearner):
    """TF-Agents' BehavioralCloningAgent.

    Args:
        drawn_from: what its policy draws from.
        layers: units of the hidden layers.
        size: number of features.
        masked: whether some actions are not allowed somewhere.

    Attributes:
        network: the policy's outputs.
    """

    logarithmic = True

    def __init__(self, drawn_from: Family, layers: tuple[int, ...], size: int, masked: bool) -> None:
        self._family = drawn_from
        self._shape = layers, size, drawn_from.outputs
        self.network, self._exported = dense_network(*self._shape), dense_network(*self._shape)
        self._weight_decay = tf.Variable(0.0, trainable=False)
        self._optimizer = tf.keras.optimizers.AdamW(weight_decay=self._weight_decay)
        self._epsilon = 0.0
        observed = tf.TensorSpec([size], tf.float32), tf.TensorSpec([drawn_from.outputs if masked else 0], tf.bool)
        self._agent = behavioral_cloning_agent.BehavioralCloningAgent(
            time_step.time_step_spec(observed),
            drawn_from.spec,
            PolicyNetwork(self.network, drawn_from.decide, observed),
            self._optimizer,
            loss_fn=self._surprise,
            train_step_counter=tf.Variable(0, dtype=tf.int64, trainable=False),
        )
        self._average = Average(self.network.variables)
        self._optimizer.exclude_from_weight_decay(var_names=["bias"])
        self._optimizer.build(self.network.trainable_variables)
        loop = GraphLoop(self._agent, self._decided, lambda: self._average.follow(self._agent.train_step_counter))
        super().__init__(
            loop,
            **{NETWORK: self.network.variables},
            agent=[self._agent.train_step_counter],
            optimizer=self._optimizer.variables,
            average=self._average.variables,
        )

    def restart(self, seed: int) -> None:
        restart(self.network, seed)
        self.follow_network()

    def follow_network(self) -> None:
        self._average.restart()

    def configure(self, config: Config) -> None:
        self._optimizer.learning_rate.assign(config.learning_rate)
        self._weight_decay.assign(config.weight_decay)
        self._average.configure(config.averaging)
        self._epsilon = config.epsilon

    def unseen_metrics(self, rows: Rows) -> dict[str, float]:
        """`train/agreement`: the share of rows whose greedy action is the cloned one; numbers never quite agree."""
        if not isinstance(self._family, OverActions):
            return {}
        self._exported.set_weights(self._averaged())
        logits = allowed_logits(self._exported(rows.features)[0], rows.mask)
        agreed = tf.argmax(logits, axis=1, output_type=tf.int32) == rows.action
        return {AGREEMENT: float(tf.reduce_mean(tf.cast(agreed, tf.float32)))}

    def head(self) -> Head:
        copy = dense_network(*self._shape)
        copy.set_weights(self._averaged())
        return self._family.head(copy, self._epsilon)

    def _averaged(self) -> list[np.ndarray]:
        return self._average.weights(int(self._agent.train_step_counter))

    def _surprise(self, experience: trajectory.Trajectory, training: bool = False) -> tf.Tensor:
        """-log π(a | s), float32 [B]."""
        features, mask = experience.observation
        distribution = self._family.decide(self.network(features, training=training)[0], mask)
        return -distribution.log_prob(experience.action)

    def _decided(self, batch: Rows) -> trajectory.Trajectory:
        """Decisions of which nothing matters but what was seen and done."""
        step, action = tf.zeros_like(batch.reward, tf.int32), self._family.seen(batch.action)
        return trajectory.Trajectory(
            step, (batch.features, batch.mask), action, (), step + 1, batch.reward, batch.discount
        )
