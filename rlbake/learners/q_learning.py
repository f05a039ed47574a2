"""What agents that learn the value of every action share, and what DQN and double DQN do: configuration, learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents.dqn import dqn_agent
from tf_agents.networks.network import Network
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step
from tf_agents.utils import common

from rlbake.errors import SpecError
from rlbake.learners.averaging import Average
from rlbake.learners.conservatism import ConservativeDqnAgent
from rlbake.learners.heads import ValueHead
from rlbake.learners.learner import AgentConfig, LoopLearner
from rlbake.learners.loop import GraphLoop, Rows, as_masked_transition, as_transition
from rlbake.learners.networks import dense_network, restart
from rlbake.learners.priorities import Prioritisation
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Discrete, MultiDiscrete


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ValueConfig(AgentConfig):
    """Hyperparameters of an agent that learns the value of every action.

    Attributes:
        layers: units of each hidden layer (ReLU), from the features on.
        learning_rate: AdamW's step size, > 0.
        weight_decay: AdamW's: share of every weight, not bias, that a step takes away, per learning rate.
            It keeps values smooth where the logs hold little.
        target_update_period: gradient steps between updates of the target network.
        target_update_tau: how far such an update moves it to the Q-network, in (0, 1]; 1 copies.
        gradient_clipping: largest norm of the gradient of each variable.
        averaging: decay per step of the average of the Q-network's weights that is exported, in [0, 1);
            0 exports the last weights.
        priority: a row is drawn in proportion to its error to the power of this, in [0, 1]; 0: all alike.
        priority_correction: how far the loss makes up for rows being drawn by their errors, in [0, 1]; 1: wholly.
        constraint: an action is neither chosen nor bootstrapped from if the logs' policy, cloned beforehand, finds it
            less than so many times as probable as its favourite, in [0, 1); 0: no clone.
        epsilon: share of uniformly random actions when the exported policy explores, in [0, 1].
    """

    layers: tuple[Annotated[int, Field(ge=1)], ...] = (128, 64)
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3
    target_update_period: Annotated[int, Field(ge=1)] = 200
    target_update_tau: Annotated[float, Field(gt=0, le=1)] = 1.0
    gradient_clipping: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 100.0
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.999
    priority: Annotated[float, Field(ge=0, le=1)] = 0.0
    priority_correction: Annotated[float, Field(ge=0, le=1)] = 1.0
    constraint: Annotated[float, Field(ge=0, lt=1)] = 0.0
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.1


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class QLearningConfig(ValueConfig):
    """The same of DQN and double DQN, whose values nothing else keeps within what can be earned.

    Attributes:
        weight_decay: as in ValueConfig. Where gamma is 0 its default is ValueConfig's: values that are not bootstrapped
            from each other don't run away.
        conservatism: weight, ≥ 0, of a penalty on values of actions that were not logged, as conservatism.py has it;
            None: none, but in `train` a little where the logs are narrow.
    """

    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    conservatism: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


def prioritisation(config: AgentConfig) -> Prioritisation | None:
    """How errors decide what is drawn; None: they don't."""
    if isinstance(config, ValueConfig) and config.priority:
        return Prioritisation(config.priority, config.priority_correction)
    return None


def number_of_actions(name: str, action: Action) -> int:
    """How many actions there are to choose among; of a MultiDiscrete, all combinations.

    Raises:
        SpecError: the action is Continuous, or there are too many combinations.
    """
    if isinstance(action, MultiDiscrete):
        return len(action.joint())
    if not isinstance(action, Discrete):
        raise SpecError(f"{name} values one choice out of named actions: it cannot act on {type(action).__name__}.")
    return len(action)


class ValueLearner(LoopLearner):
    """A DQN agent of TF-Agents, or one of its subclasses.

    Args:
        make_agent: makes the agent, as DqnAgent would.
        make_network: makes a network for it, features float32 [B, D] → what the agent reads values from.
        size: D.
        actions: A.
        masked: whether some actions are masked anywhere.
        groups: what else training changes, as in Learner.

    Attributes:
        network: the Q-network.
    """

    def __init__(
        self,
        make_agent: Callable[..., dqn_agent.DqnAgent],
        make_network: Callable[[], Network],
        size: int,
        actions: int,
        masked: bool,
        **groups: Sequence[tf.Variable],
    ) -> None:
        self.make_network = make_network
        self.network = make_network()
        self._weight_decay = tf.Variable(0.0, trainable=False)
        self._optimizer = tf.keras.optimizers.AdamW(weight_decay=self._weight_decay)
        self._period = tf.Variable(1, dtype=tf.int64, trainable=False)
        self._tau = tf.Variable(1.0, trainable=False)
        self._clipping = tf.Variable(1.0, trainable=False)
        self._epsilon = 0.0
        observation = tf.TensorSpec([size], tf.float32)
        self._agent = make_agent(
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
        self._average = Average(self.network.variables)
        self._optimizer.exclude_from_weight_decay(var_names=["bias"])
        self._optimizer.build(self.network.trainable_variables)
        loop = GraphLoop(
            self._agent,
            lambda batch: self._experience(batch, masked),
            self._after_step,
            errors=lambda learned: tf.abs(learned.extra.td_error),
        )
        super().__init__(
            loop,
            network=self.network.variables,
            target=self._agent._target_q_network.variables,
            agent=[self._agent.train_step_counter],
            optimizer=self._optimizer.variables,
            average=self._average.variables,
            **groups,
        )

    def restart(self, seed: int) -> None:
        restart(self.network, seed)
        self.follow_network()

    def follow_network(self) -> None:
        self._agent.initialize()
        self._average.restart()

    def configure(self, config: Any) -> None:
        self._optimizer.learning_rate.assign(config.learning_rate)
        self._weight_decay.assign(config.weight_decay)
        self._period.assign(config.target_update_period)
        self._tau.assign(config.target_update_tau)
        self._clipping.assign(config.gradient_clipping)
        self._average.configure(config.averaging)
        self._epsilon = config.epsilon

    def value(self, features: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(self.values(self.network, features), axis=1)

    def values(self, network: Network, features: tf.Tensor) -> tf.Tensor:
        """How good each action is by a network like the agent's, float32 [B, A], for features float32 [B, D]."""
        return network(features)[0]

    def head(self) -> ValueHead:
        copy = self.make_network()
        copy.set_weights(self._average.weights(int(self._agent.train_step_counter)))
        return ValueHead(copy, self._epsilon)

    def _experience(self, batch: Rows, masked: bool) -> Any:
        return as_masked_transition(batch) if masked else as_transition(batch)

    def _after_step(self) -> tf.Operation:
        """Every `period` steps the target network moves to the Q-network; the average follows every few steps."""
        step, target = self._agent.train_step_counter, self._agent._target_q_network

        def move() -> tf.Operation:
            pairs = zip(self.network.variables, target.variables, strict=True)
            return tf.group(*(there.assign((1 - self._tau) * there + self._tau * here) for here, there in pairs))

        return tf.group(tf.cond(step % self._period == 0, move, tf.no_op), self._average.follow(step))


class QLearner(ValueLearner):
    """DQN or double DQN, whose network learns values in units of the largest possible return.

    So the same learning rate and weight decay do for rewards of any scale. The agent's loss stays in that unit.

    Args:
        agent_class: which of them; one of ConservativeDqnAgent if values of other actions are penalised.
        layers: as in ValueConfig.
        size, actions, masked: as in ValueLearner.
    """

    def __init__(
        self, agent_class: type[dqn_agent.DqnAgent], layers: tuple[int, ...], size: int, actions: int, masked: bool
    ) -> None:
        self._conservatism = tf.Variable(0.0, trainable=False)
        self._unit = tf.Variable(1.0, trainable=False)
        make_agent: Callable[..., dqn_agent.DqnAgent] = agent_class
        if issubclass(agent_class, ConservativeDqnAgent):
            make_agent = partial(agent_class, conservatism=lambda: self._conservatism)
        super().__init__(
            make_agent, lambda: dense_network(layers, size, actions), size, actions, masked, unit=[self._unit]
        )

    def configure(self, config: QLearningConfig) -> None:
        super().configure(config)
        self._conservatism.assign(config.conservatism or 0.0)

    def expect(self, returns: tuple[float, float]) -> None:
        self._unit.assign(max(map(abs, returns)) or 1.0)

    def values(self, network: Network, features: tf.Tensor) -> tf.Tensor:
        return self._unit * super().values(network, features)

    def head(self) -> ValueHead:
        plain = super().head()
        *hidden, kernel, bias = plain.network.get_weights()
        unit = float(self._unit)
        plain.network.set_weights([*hidden, unit * kernel, unit * bias])
        return plain

    def _experience(self, batch: Rows, masked: bool) -> Any:
        return super()._experience(batch._replace(reward=batch.reward / self._unit), masked)
