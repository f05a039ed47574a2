"""What PPO and REINFORCE share: a policy that learns from its own decisions, and a value network beside it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any

import numpy as np
import tensorflow_probability as tfp
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents import tf_agent
from tf_agents.trajectories import time_step, trajectory

from rlbake.learners.distributions import Family
from rlbake.learners.facts import Facts
from rlbake.learners.heads import Head
from rlbake.learners.learner import NETWORK, AgentConfig, LoopLearner
from rlbake.learners.loop import GraphLoop, Rows
from rlbake.learners.networks import dense_network, restart
from rlbake.learners.policy_networks import Observed, PolicyNetwork, ValueNetwork
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Continuous, Discrete, MultiDiscrete

ENTROPY = "train/entropy"


def facts(on_logs: str) -> Facts:
    """Of an agent that learns so."""
    return Facts(
        actions=(Discrete, MultiDiscrete, Continuous),
        foresight=True,
        on_logs=on_logs,
        on_policy=True,
        unread=("steps", "recency_half_life"),
    )


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class OnPolicyConfig(AgentConfig):
    """Hyperparameters of an agent that learns from its own decisions only.

    Attributes:
        epochs: passes over the rows, each of as many gradient steps as batches make up all rows.
        value_epochs: passes before those that teach the values alone, for they lag behind a policy that got better.
        closeness: the policy learns no further once its decisions would be worth less than this share of as many of
            its own (effective sample size), in [0, 1); 0: it never moves too far from what was logged.
        layers: units of each hidden layer (ReLU) of the policy and of the value network.
        learning_rate: Adam's step size, > 0.
        trace: λ, how far a return counts what happened rather than the value of where it led, in [0, 1].
        entropy: weight, ≥ 0, of a bonus for keeping the policy's choice open; in standard deviations of the
            advantage per nat.
    """

    epochs: Annotated[int, Field(ge=1)] = 10
    value_epochs: Annotated[int, Field(ge=0)] = 0
    closeness: Annotated[float, Field(ge=0, lt=1)] = 0.95
    layers: tuple[Annotated[int, Field(ge=1)], ...] = (128, 64)
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    trace: Annotated[float, Field(ge=0, le=1)] = 0.95
    entropy: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01


class Setting:
    """A number that may change between trainings, where TF-Agents asks in Python whether one is above 0: it is."""

    def __init__(self) -> None:
        self.variable = tf.Variable(0.0, trainable=False)

    def __gt__(self, other: object) -> bool:
        return True

    def __radd__(self, other: Any) -> tf.Tensor:
        return other + self.variable

    def __rsub__(self, other: Any) -> tf.Tensor:
        return other - self.variable


tf.register_tensor_conversion_function(Setting, lambda setting, *_, **__: tf.convert_to_tensor(setting.variable))


class OnPolicyLearner(LoopLearner):
    """An agent of TF-Agents with a policy and a value network, which sees values in units of their spread.

    Args:
        family: what the policy draws from.
        layers: units of the hidden layers.
        size: number of features.
        masked: whether some actions are not allowed somewhere.

    Attributes:
        network: the policy's outputs.
        trace: λ.
    """

    def __init__(self, family: Family, layers: tuple[int, ...], size: int, masked: bool) -> None:
        self._shape = layers, size, family.outputs
        self._family = family
        self.network, self._before = dense_network(*self._shape), dense_network(*self._shape)
        self._values = dense_network(layers, size, 1)
        self._unit = [tf.Variable(0.0, trainable=False), tf.Variable(0.0, trainable=False)]  # mean, deviation; 0: unset
        # After steps that taught the values alone, 0.999 would make the policy's first ones three times as long.
        self._optimizer = tf.keras.optimizers.Adam(beta_2=0.99)
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._entropy = Setting()
        self._policy_learns = tf.Variable(1.0, trainable=False)
        self._open = 0.0
        observed = tf.TensorSpec([size], tf.float32), tf.TensorSpec([family.outputs if masked else 0], tf.bool)
        self._agent = self.agent(
            time_step_spec=time_step.time_step_spec(observed),
            action_spec=family.spec,
            optimizer=self._optimizer,
            policy_network=PolicyNetwork(self.network, family.decide, observed),
            value_network=ValueNetwork(self._values, observed),
            entropy_regularization=self._entropy,
            train_step_counter=self._step,
        )
        self._agent.initialize()
        self._optimizer.build([*self.network.trainable_variables, *self._values.trainable_variables])
        loop = GraphLoop(self._agent, self._experience)
        self.trace = 1.0
        super().__init__(
            loop,
            **{NETWORK: self.network.variables},
            values=[*self._values.variables, *self._unit],
            before=self._before.variables,
            agent=[self._step],
            optimizer=self._optimizer.variables,
        )

    @abstractmethod
    def agent(self, *, policy_network: PolicyNetwork, value_network: ValueNetwork, **given: Any) -> tf_agent.TFAgent:
        """The agent of TF-Agents, out of its networks and what else all of them take."""

    @abstractmethod
    def experience(
        self, batch: Rows, observed: Observed, action: tf.Tensor, returns: tf.Tensor, values: tf.Tensor
    ) -> trajectory.Trajectory:
        """What the agent learns from: episodes of one step each.

        Args:
            batch: B rows.
            observed: features [B, 1, D] and mask [B, 1, A].
            action: as the agent sees it, [B, 1] or [B, 1, n].
            returns: λ-returns in its unit, float32 [B, 1].
            values: what it values the rows at now, float32 [B, 1].
        """

    def restart(self, seed: int) -> None:
        """The policy starts as good as uniform, every value as the mean return."""
        for network, its_seed in zip(
            (self.network, self._values), np.random.SeedSequence(seed).generate_state(2), strict=True
        ):
            restart(network, int(its_seed))
            last = network.trainable_variables[-2]  # the kernel of the last layer
            last.assign(tf.zeros_like(last))

    def configure(self, config: Any) -> None:
        self._optimizer.learning_rate.assign(config.learning_rate)
        self._open = config.entropy
        self.trace = config.trace

    def begin(self, returns: np.ndarray) -> None:
        """The policy as it is now is whose decisions are learned from. The first training sets the unit of values.

        Args:
            returns: of the rows, float64 [N].
        """
        for before, weight in zip(self._before.variables, self.network.variables, strict=True):
            before.assign(weight)
        if not float(self._unit[1]):
            self._unit[0].assign(returns.mean())
            self._unit[1].assign(returns.std() or 1.0)

    def teach(self, policy: bool) -> None:
        """Whether the policy learns too from now on, or the values alone."""
        self._policy_learns.assign(float(policy))
        self._entropy.variable.assign(self._open if policy else 0.0)

    def advantage(self, returns: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """How much better than expected it went; 0 while the policy does not learn. No gradient reaches the values."""
        return tf.stop_gradient(self._policy_learns * (returns - values))

    def loss(self, rows: Rows) -> float:
        """Mean squared TD error of the values, in their unit."""
        _, deviation = self._unit
        error = rows.reward + rows.discount * self.value(rows.next_features) - self.value(rows.features)
        return float(tf.reduce_mean((error / deviation) ** 2))

    def value(self, features: tf.Tensor) -> tf.Tensor:
        mean, deviation = self._unit
        return mean + deviation * tf.squeeze(self._values(features)[0], axis=1)

    def unseen_metrics(self, rows: Rows) -> dict[str, float]:
        """`train/entropy`: of the policy, in nats; 0 where it is certain."""
        return {ENTROPY: float(tf.reduce_mean(self.now((rows.features, rows.mask)).entropy()))}

    def log_probability(self, rows: Rows) -> np.ndarray:
        """Of the logged actions under the policy as it is now, float64 [N]."""
        found = self.now((rows.features, rows.mask)).log_prob(self._family.seen(rows.action))
        return found.numpy().astype(np.float64) - self._family.unit()

    def drift(self, rows: Rows) -> np.ndarray:
        """log π(a | s) / π_logged(a | s), float64 [N]."""
        observed, action = (rows.features, rows.mask), self._family.seen(rows.action)
        drift = self.now(observed).log_prob(action) - self.before(observed).log_prob(action)
        return drift.numpy().astype(np.float64)

    def head(self) -> Head:
        copy = dense_network(*self._shape)
        copy.set_weights(self.network.get_weights())
        return self._family.head(copy)

    def now(self, observed: Observed) -> tfp.distributions.Distribution:
        """The policy as it is."""
        return self._distribution(self.network, observed)

    def before(self, observed: Observed) -> tfp.distributions.Distribution:
        """What the decisions were drawn from."""
        return self._distribution(self._before, observed)

    def _distribution(self, network: Any, observed: Observed) -> tfp.distributions.Distribution:
        features, mask = observed
        return self._family.decide(network(features)[0], mask)

    def _experience(self, batch: Rows) -> trajectory.Trajectory:
        mean, deviation = self._unit
        observed = batch.features[:, None], batch.mask[:, None]
        values = tf.squeeze(self._values(observed[0])[0], axis=-1)
        action = self._family.seen(batch.action)[:, None]
        return self.experience(batch, observed, action, (batch.reward[:, None] - mean) / deviation, values)


def one_step(observed: Observed, action: tf.Tensor, policy_info: Any, reward: tf.Tensor) -> trajectory.Trajectory:
    """Episodes that begin and end with one decision."""
    first = tf.fill(tf.shape(reward), time_step.StepType.FIRST)
    last = tf.fill(tf.shape(reward), time_step.StepType.LAST)
    return trajectory.Trajectory(first, observed, action, policy_info, last, reward, tf.zeros_like(reward))
