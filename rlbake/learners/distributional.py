"""What C51 and Rainbow share: distributions of returns over fixed atoms, whatever unit rewards have.

The graph knows returns between -1 and 1. With G = c + s g, where c and s map that onto what returns can be, a row's
target R + d G' becomes

    g = (R - c (1 - d)) / s + d g'

exactly, for d is the row's whole factor. So a new scale of rewards needs no new graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.agents import tf_agent
from tf_agents.agents.categorical_dqn import categorical_dqn_agent
from tf_agents.agents.dqn import dqn_agent
from tf_agents.networks.network import Network
from tf_agents.utils import common

from rlbake.learners.heads import ValueHead
from rlbake.learners.loop import Rows
from rlbake.learners.q_learning import ValueConfig, ValueLearner
from rlbake.quiet import tensorflow as tf


def _in_order(support: tuple[float, float]) -> tuple[float, float]:
    if support[0] >= support[1]:
        raise ValueError("the least return must be below the greatest")
    return support


Support = Annotated[
    tuple[Annotated[float, Field(allow_inf_nan=False)], Annotated[float, Field(allow_inf_nan=False)]],
    AfterValidator(_in_order),
]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DistributionalConfig(ValueConfig):
    """The same of C51 and Rainbow.

    Attributes:
        atoms: returns among which each action's distribution is spread, evenly apart, ≥ 2.
        support: the least and the greatest of them, in the reward's unit; null: what the training data allows, or
            the earlier training's at a warm start. Returns beyond count as its ends.
    """

    atoms: Annotated[int, Field(ge=2)] = 51
    support: Support | None = None


class DistributionalAgent(categorical_dqn_agent.CategoricalDqnAgent):
    """CategoricalDqnAgent with importance weights, and with errors by row.

    TF-Agents' own loss is the same, but for weights of 1 and without errors.
    """

    def _loss(self, experience: Any, weights: Any = None, training: bool = False, **_: Any) -> tf_agent.LossInfo:
        here, decided, there = experience
        splitter = self._observation_and_action_constraint_splitter
        features = here.observation if splitter is None else splitter(here.observation)[0]
        logits, _ = self._q_network(features, step_type=here.step_type, training=training)
        chosen = tf.gather(logits, decided.action, batch_dims=1)
        earned = there.reward[:, None] + there.discount[:, None] * self._support
        following = self._next_q_distribution(there)
        target = tf.stop_gradient(categorical_dqn_agent.project_distribution(earned, following, self._support))
        surprise = tf.nn.softmax_cross_entropy_with_logits(labels=target, logits=chosen)
        total = common.aggregate_losses(
            per_example_loss=surprise, sample_weight=weights, regularization_loss=self._q_network.losses
        ).total_loss
        divergence = surprise + tf.reduce_sum(tf.math.xlogy(target, target), axis=1)
        return tf_agent.LossInfo(total, dqn_agent.DqnLossInfo(td_loss=surprise, td_error=divergence))


class DoubleDistributionalAgent(DistributionalAgent):
    """The Q-network chooses the action whose distribution the target network gives."""

    def _setup_policy(self, *args: Any) -> tuple[Any, Any]:
        policy, collect_policy = super()._setup_policy(*args)
        self._target_greedy_policy = policy
        return policy, collect_policy


class DistributionalLearner(ValueLearner):
    """C51, or an agent like it.

    Args:
        agent_class: makes the agent, as CategoricalDqnAgent would.
        make_network: makes a network for it, features float32 [B, D] → logits float32 [B, A, atoms].
        atoms: how many.
        size, actions, masked: as in ValueLearner.
    """

    logarithmic = True

    def __init__(
        self,
        agent_class: type[DistributionalAgent],
        make_network: Callable[[], Network],
        atoms: int,
        size: int,
        actions: int,
        masked: bool,
    ) -> None:
        self._atoms = tf.linspace(-1.0, 1.0, atoms)
        self._center, self._scale = (tf.Variable(start, trainable=False) for start in (0.0, 1.0))
        self._support: tuple[float, float] | None = None

        def make_agent(*specs: Any, **kwargs: Any) -> DistributionalAgent:
            return agent_class(
                *specs, min_q_value=-1.0, max_q_value=1.0, target_categorical_q_network=make_network(), **kwargs
            )

        super().__init__(make_agent, make_network, size, actions, masked, support=[self._center, self._scale])

    def configure(self, config: DistributionalConfig) -> None:
        super().configure(config)
        self._support = config.support

    def expect(self, returns: tuple[float, float]) -> None:
        least, greatest = self._support or returns
        self._center.assign((least + greatest) / 2)
        self._scale.assign((greatest - least) / 2 or 1.0)

    def values(self, network: Network, features: tf.Tensor) -> tf.Tensor:
        return _expected(network, features, self._atoms, self._center, self._scale)

    def head(self) -> ValueHead:
        plain = super().head()
        return ExpectedValueHead(plain.network, plain.epsilon, self._atoms, float(self._center), float(self._scale))

    def _experience(self, batch: Rows, masked: bool) -> Any:
        reward = (batch.reward - self._center * (1 - batch.discount)) / self._scale
        return super()._experience(batch._replace(reward=reward), masked)


class ExpectedValueHead(ValueHead):
    """Greedy in the mean of each action's distribution of returns.

    Args:
        network: float32 [B, D] → logits float32 [B, A, atoms], by TF-Agents' convention.
        epsilon: as in ValueHead.
        atoms: float32 [atoms], in [-1, 1].
        center: c, in the reward's unit.
        scale: s, likewise.
    """

    def __init__(self, network: Network, epsilon: float, atoms: tf.Tensor, center: float, scale: float) -> None:
        super().__init__(network, epsilon)
        self._atoms, self._center, self._scale = atoms, center, scale

    def values(self, features: tf.Tensor) -> tf.Tensor:
        return _expected(self.network, features, self._atoms, self._center, self._scale)


def _expected(network: Network, features: tf.Tensor, atoms: tf.Tensor, center: Any, scale: Any) -> tf.Tensor:
    return center + scale * common.convert_q_logits_to_values(network(features)[0], atoms)
