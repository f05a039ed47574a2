"""What agents over Continuous actions share: configuration, actor, critics, seeded start and draws.

The agent learns on the scale on which every number's bounds are -1 and 1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents import tf_agent
from tf_agents.networks import sequential
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step
from tf_agents.utils import common

from rlbake.learners.averaging import Average
from rlbake.learners.bounds import Bounds
from rlbake.learners.learner import AgentConfig, LoopLearner
from rlbake.learners.loop import GraphLoop, Rows, as_transition
from rlbake.learners.networks import dense_layers, dense_network, restart
from rlbake.quiet import tensorflow as tf


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ActorCriticConfig(AgentConfig):
    """Hyperparameters of an agent with an actor, which decides, and critics, which value what it decides.

    Attributes:
        layers: units of each hidden layer (ReLU) of the actor and of each critic.
        actor_learning_rate: AdamW's step size for the actor, > 0.
        critic_learning_rate: the same for the critics.
        weight_decay: AdamW's: share of every weight, not bias, that a step takes away, per learning rate. More
            keeps values smooth where the logs hold little, but rounds off narrow optima.
        target_update_period: gradient steps between updates of the target networks.
        target_update_tau: how far such an update moves them to the networks, in (0, 1]; 1 copies.
        gradient_clipping: largest norm of the gradient of each variable.
        averaging: decay per step of the average of the actor's weights that is exported, in [0, 1);
            0 exports the last weights.
    """

    layers: tuple[Annotated[int, Field(ge=1)], ...] = (128, 64)
    actor_learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3e-4
    critic_learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.03
    target_update_period: Annotated[int, Field(ge=1)] = 1
    target_update_tau: Annotated[float, Field(gt=0, le=1)] = 0.005
    gradient_clipping: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 100.0
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.999


class Draws:
    """Seeds of what is drawn within the steps of a training: by its seed and the step, so that it repeats itself.

    Args:
        step: int64, steps taken.
    """

    def __init__(self, step: tf.Variable) -> None:
        self._step = step
        self._seed = tf.Variable(0, dtype=tf.int64, trainable=False)

    def restart(self, seed: int) -> None:
        self._seed.assign(seed % 2**31)

    def seed(self, purpose: int) -> tf.Tensor:
        """int64 [2], for a stateless draw of this step; another for each purpose."""
        return tf.random.fold_in(tf.stack([self._seed, self._step]), purpose)


class CriticLoss(tf_agent.TFAgent):
    """For an agent of TF-Agents: its loss is the critics' alone: TD3's summed, SAC's averaged.

    The actor's is no error: it goes down as long as values go up.
    """

    def _train(self, experience: Any, weights: Any = None) -> tf_agent.LossInfo:
        info = super()._train(experience, weights)
        return info._replace(loss=info.extra.critic_loss)

    def _loss(self, experience: Any, weights: Any = None, training: bool = False) -> tf_agent.LossInfo:
        here, decided, there = self._as_transition(experience)
        return tf_agent.LossInfo(self.critics_loss(here, decided.action, there), ())

    def critics_loss(self, here: Any, action: tf.Tensor, there: Any) -> tf.Tensor:
        """What `train` reports as the critics' loss, of a batch that it does not learn from."""
        return self.critic_loss(here, action, there)


class ActorCritic(LoopLearner):
    """An agent of TF-Agents with an actor and critics.

    Args:
        layers: units of the hidden layers.
        size: number of features.
        bounds: of the n numbers decided on.
        critics: 1 or 2.
        outputs: of the actor's last layer.
        decide: what the agent takes of them: actions [B, n], or a distribution over them.

    Attributes:
        bounds: as above.
        actor: what decides.
        critics: (features, scaled action) → value.
        draws: seeds of what the agent draws.
    """

    def __init__(
        self,
        layers: tuple[int, ...],
        size: int,
        bounds: Bounds,
        *,
        critics: int,
        outputs: int,
        decide: Callable[[tf.Tensor], Any],
    ) -> None:
        self._shape = layers, size, outputs
        self._features = tf.TensorSpec([size], tf.float32)
        self._action = tensor_spec.BoundedTensorSpec([len(bounds.low)], tf.float32, -1.0, 1.0)
        self.bounds = bounds
        self.actor = self.actor_network(decide)
        self.critics, target_critics = ([self.critic_network() for _ in range(critics)] for _ in range(2))
        self._targets = list(zip(self.critics, target_critics, strict=True))
        self._weight_decay = tf.Variable(0.0, trainable=False)
        self._optimizers = [tf.keras.optimizers.AdamW(weight_decay=self._weight_decay) for _ in range(2)]
        self._actor_optimizer, self._critic_optimizer = self._optimizers
        self._period = tf.Variable(1, dtype=tf.int64, trainable=False)
        self._tau = tf.Variable(1.0, trainable=False)
        self._clipping = tf.Variable(1.0, trainable=False)
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.draws = Draws(self._step)
        critic_networks = dict(zip(("critic_network", "critic_network_2"), self.critics, strict=False))
        self._agent = self.agent(
            time_step_spec=time_step.time_step_spec(self._features),
            action_spec=self._action,
            actor_network=self.actor,
            **critic_networks,
            **{f"target_{name}": target for name, target in zip(critic_networks, target_critics, strict=True)},
            actor_optimizer=self._actor_optimizer,
            critic_optimizer=self._critic_optimizer,
            target_update_period=None,  # a period that can change between trainings: _after_step
            gradient_clipping=self._clipping,
            td_errors_loss_fn=common.element_wise_squared_loss,  # Huber's would learn medians, not expected returns
            gamma=1.0,
            train_step_counter=self._step,
        )
        self._agent.initialize()
        self._average = Average(self.actor.variables)
        for optimizer in (self._actor_optimizer, self._critic_optimizer):
            optimizer.exclude_from_weight_decay(var_names=["bias"])
        self._actor_optimizer.build(self.actor.trainable_variables)
        self._critic_optimizer.build([weight for critic in self.critics for weight in critic.trainable_variables])
        loop = GraphLoop(self._agent, self._experience, self._after_step)
        super().__init__(
            loop,
            network=self.actor.variables,
            critics=[weight for critic in self.critics for weight in critic.variables],
            targets=[weight for _, target in self._targets for weight in target.variables],
            agent=[self._step, *self.more_variables()],
            optimizer=[variable for optimizer in self._optimizers for variable in optimizer.variables],
            average=self._average.variables,
        )

    @abstractmethod
    def agent(self, **common: Any) -> tf_agent.TFAgent:
        """The agent of TF-Agents, out of what all of them take."""

    def more_variables(self) -> list[tf.Variable]:
        """What the agent learns beside the networks."""
        return []

    @abstractmethod
    def greedy(self, features: tf.Tensor) -> tf.Tensor:
        """The actor's best action, scaled, float32 [B, n]."""

    def target_actor(self, decide: Callable[[tf.Tensor], Any]) -> sequential.Sequential:
        """A target network for the actor, as `actor_network`."""
        target = self.actor_network(decide)
        self._targets.append((self.actor, target))
        return target

    def actor_network(self, decide: Callable[[tf.Tensor], Any]) -> sequential.Sequential:
        """Features float32 [B, size] → dense layers → what `decide` makes of their outputs."""
        layers, _, outputs = self._shape
        return _built([*dense_layers(layers, outputs), tf.keras.layers.Lambda(decide)], self._features)

    def critic_network(self) -> sequential.Sequential:
        """(Features float32 [B, size], scaled action float32 [B, n]) → value float32 [B]."""
        joined = tf.keras.layers.Lambda(lambda both: tf.concat(both, axis=-1))
        flat = tf.keras.layers.Lambda(lambda value: tf.squeeze(value, axis=-1))
        return _built([joined, *dense_layers(self._shape[0], 1), flat], (self._features, self._action))

    def restart(self, seed: int) -> None:
        networks = [self.actor, *self.critics]
        seeds = np.random.SeedSequence(seed).generate_state(len(networks))
        for network, network_seed in zip(networks, seeds, strict=True):
            restart(network, int(network_seed))
        self.draws.restart(seed)
        self.follow_network()

    def follow_network(self) -> None:
        self._agent.initialize()
        self._average.restart()

    def configure(self, config: Any) -> None:
        self._actor_optimizer.learning_rate.assign(config.actor_learning_rate)
        self._critic_optimizer.learning_rate.assign(config.critic_learning_rate)
        self._weight_decay.assign(config.weight_decay)
        self._period.assign(config.target_update_period)
        self._tau.assign(config.target_update_tau)
        self._clipping.assign(config.gradient_clipping)
        self._average.configure(config.averaging)

    def value(self, features: tf.Tensor) -> tf.Tensor:
        decided = features, self.greedy(features)
        return tf.reduce_min([critic(decided)[0] for critic in self.critics], axis=0)

    def averaged(self) -> sequential.Sequential:
        """The actor's dense layers with their average weights: float32 [B, size] → float32 [B, outputs]; a copy."""
        layers, size, outputs = self._shape
        copy = dense_network(layers, size, outputs)
        copy.set_weights(self._average.weights(int(self._step)))
        return copy

    def _experience(self, batch: Rows) -> Any:
        return as_transition(batch._replace(action=self.bounds.scaled(batch.action)))

    def _after_step(self) -> tf.Operation:
        """Every `period` steps the target networks move to the networks; the average follows every few steps."""

        def move() -> tf.Operation:
            moved = []
            for network, target in self._targets:
                for here, there in zip(network.variables, target.variables, strict=True):
                    moved.append(there.assign((1 - self._tau) * there + self._tau * here))
            return tf.group(*moved)

        return tf.group(tf.cond(self._step % self._period == 0, move, tf.no_op), self._average.follow(self._step))


def _built(layers: list[tf.keras.layers.Layer], inputs: Any) -> sequential.Sequential:
    network = sequential.Sequential(layers)
    network.create_variables(inputs)
    return network
