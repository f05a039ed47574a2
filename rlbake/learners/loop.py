"""The training loop, inside the graph.

Rows live in memory as tensors. A chunk of steps draws its batches in one gather and runs every
step of the agent's own `train` in one loop, whose shapes depend on the batch size but not on the
number of rows: new data and new hyperparameters reuse it. Small networks spend their time between
operations, so their loop is compiled (XLA: three times the steps per CPU second at batch 64, layers
(100,)); large ones spend it in matrix products, which XLA does a tenth slower on CPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tf_agents.agents import tf_agent
from tf_agents.trajectories import policy_step, time_step, trajectory

from rlbake.learners.priorities import Priorities, importance, priority, refreshed
from rlbake.quiet import tensorflow as tf

CHUNK = 500  # steps per call of the graph
REFRESHED = 100  # steps after which the errors that they found decide what is drawn
_COMPILED_BELOW = 8_000_000  # weights times batch size; XLA wins at 2.3 million and loses at 17 million
_REDRAWN = 0.25  # of the number of rows: fewer draws are not worth another look at the priority of every row


class Rows(NamedTuple):
    """Transitions as the agents read them.

    Attributes:
        features: float32 [N, D], of the observation.
        mask: bool [N, A], actions allowed there; [N, 0] when all always are.
        action: int32 [N], or float32 [N, n] for Continuous.
        reward: float32 [N], n-step, discounted to the decision.
        discount: float32 [N], factor of the bootstrapped value: γᵐ, or 0 when terminated.
        next_features: float32 [N, D], of the observation bootstrapped from.
        next_mask: bool [N, A], actions allowed there; [N, 0] when all always are.
    """

    features: tf.Tensor
    mask: tf.Tensor
    action: tf.Tensor
    reward: tf.Tensor
    discount: tf.Tensor
    next_features: tf.Tensor
    next_mask: tf.Tensor


class Part(NamedTuple):
    """Some of all rows.

    Attributes:
        rows: N of them.
        weight: float64 [N], how much each counts; None: all alike.
    """

    rows: Rows
    weight: tf.Tensor | None


class GraphLoop:
    """Trains one agent on rows drawn with replacement, uniformly, by weight or by priority.

    Args:
        agent: takes the gradient steps.
        experience: a batch of rows as the agent's `train` and `loss` take it.
        after_step: called within the graph after every step.
        compilable: whether XLA knows all the agent's operations.
        errors: float32 [B], how far off each row's target was, of what `train` returns; for agents that have such.
    """

    def __init__(
        self,
        agent: tf_agent.TFAgent,
        experience: Callable[[Rows], Any],
        after_step: Callable[[], tf.Operation] = tf.no_op,
        compilable: bool = True,
        errors: Callable[[tf_agent.LossInfo], tf.Tensor] | None = None,
    ) -> None:
        self.agent = agent
        self.experience = experience
        self._after_step = after_step
        self._compilable = compilable
        self._errors = errors
        self._weights = sum(variable.shape.num_elements() for variable in agent.policy.variables())
        self._compiled_steps = tf.function(self._run_steps, jit_compile=True, autograph=False)
        self._chunk = tf.function(self._run_chunk, reduce_retracing=True, autograph=False)
        self._compiled_weighted_steps = tf.function(self._run_weighted_steps, jit_compile=True, autograph=False)
        self._prioritised_chunk = tf.function(self._run_prioritised_chunk, reduce_retracing=True, autograph=False)
        self._traced_loss: Callable[[Rows], tf.Tensor] | None = None

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
        """Takes `steps` ≤ CHUNK gradient steps and returns their mean loss.

        The batches depend on the seed, the first step, the number of rows and their weights or priorities alone.

        Args:
            rows: what to draw from.
            batch_size: rows per step.
            first_step: steps taken before.
            steps: to take.
            seed: of the batches.
            cumulative: float64 [N], the sums of the rows' weights up to each of them; None: all weigh the same;
                or what rows are drawn by and which their errors change, if the agent has such.
        """
        state = tf.constant([seed % 2**31, first_step], tf.int32)
        compiled = self._compilable and self._weights * batch_size < _COMPILED_BELOW
        count = tf.constant(steps, tf.int32)
        if not isinstance(cumulative, Priorities):
            return float(self._chunk(rows, cumulative, batch_size, compiled, state, count))
        exponents = tf.constant(cumulative.prioritisation, tf.float64)
        loss, cumulative.errors = self._prioritised_chunk(
            rows, cumulative.errors, cumulative.weight, exponents, batch_size, compiled, state, count
        )
        return float(loss)

    def _run_chunk(
        self,
        rows: Rows,
        cumulative: tf.Tensor | None,
        batch_size: int,
        compiled: bool,
        seed: tf.Tensor,
        steps: tf.Tensor,
    ) -> tf.Tensor:
        drawn = draw((CHUNK, batch_size), seed, tf.shape(rows.reward)[0], cumulative)
        if compiled:  # shapes must not change from call to call
            return self._compiled_steps(Rows(*(tf.gather(column, drawn) for column in rows)), steps)
        return self._run_steps(Rows(*(tf.gather(column, drawn[:steps]) for column in rows)), steps)

    def _run_steps(self, batches: Rows, steps: tf.Tensor) -> tf.Tensor:
        def take_step(step: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            batch = Rows(*(column[step] for column in batches))
            loss = self.agent.train(self.experience(batch)).loss
            with tf.control_dependencies([loss]):
                self._after_step()
            return step + 1, total + loss

        _, total = tf.while_loop(lambda step, _: step < steps, take_step, (0, 0.0))
        return total / tf.cast(steps, tf.float32)

    def _run_prioritised_chunk(
        self,
        rows: Rows,
        errors: tf.Tensor,
        weight: tf.Tensor | None,
        exponents: tf.Tensor,
        batch_size: int,
        compiled: bool,
        seed: tf.Tensor,
        steps: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        count = tf.shape(rows.reward)[0]
        worthwhile = tf.cast(_REDRAWN * tf.cast(count, tf.float32), tf.int32) // batch_size
        every = REFRESHED * tf.maximum(1, worthwhile // REFRESHED)

        def look(errors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            prior = priority(errors, exponents[0])
            return prior, tf.cumsum(prior if weight is None else weight * prior)

        def take_steps(
            done: tf.Tensor, total: tf.Tensor, errors: tf.Tensor, prior: tf.Tensor, cumulative: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            prior, cumulative = tf.cond(done % every == 0, lambda: look(errors), lambda: (prior, cumulative))
            drawn = draw((REFRESHED, batch_size), tf.stack([seed[0], seed[1] + done]), count, cumulative)
            factors = importance(tf.gather(prior, drawn), exponents[1])
            taken = tf.minimum(REFRESHED, steps - done)
            if compiled:
                batches, run = Rows(*(tf.gather(column, drawn) for column in rows)), self._compiled_weighted_steps
            else:
                batches, run = Rows(*(tf.gather(column, drawn[:taken]) for column in rows)), self._run_weighted_steps
            loss, found = run(batches, factors, taken)
            errors = refreshed(errors, tf.reshape(drawn, [-1]), tf.reshape(found, [-1]), taken * batch_size)
            return done + taken, total + loss, errors, prior, cumulative

        none = tf.zeros_like(errors, tf.float64)
        _, total, errors, _, _ = tf.while_loop(lambda done, *_: done < steps, take_steps, (0, 0.0, errors, none, none))
        return total / tf.cast(steps, tf.float32), errors

    def _run_weighted_steps(self, batches: Rows, factors: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The sum of the losses, and the errors, float32 [REFRESHED, B], of the rows as they were learned from."""
        errors = self._errors
        assert errors is not None  # only agents with errors have a `priority` that asks for this

        def take_step(step: tf.Tensor, total: tf.Tensor, found: tf.TensorArray) -> tuple[Any, ...]:
            batch = Rows(*(column[step] for column in batches))
            learned = self.agent.train(self.experience(batch), weights=factors[step])
            found = found.write(step, errors(learned))
            with tf.control_dependencies([learned.loss]):
                self._after_step()
            return step + 1, total + learned.loss, found

        found = tf.TensorArray(tf.float32, REFRESHED, element_shape=[factors.shape[1]])
        _, total, found = tf.while_loop(lambda step, *_: step < steps, take_step, (0, 0.0, found))
        return total, found.stack()

    def loss(self, rows: Rows) -> tf.Tensor:
        """Mean loss of rows, without learning from them. Traced once, for however many."""
        if self._traced_loss is None:
            columns = Rows(*(tf.TensorSpec([None, *column.shape[1:]], column.dtype) for column in rows))
            self._traced_loss = tf.function(self._loss, input_signature=[columns], autograph=False)
        return self._traced_loss(rows)

    def _loss(self, rows: Rows) -> tf.Tensor:
        return self.agent.loss(self.experience(rows)).loss


def as_transition(batch: Rows) -> trajectory.Transition:
    """For agents that learn from single transitions."""
    return _transition(batch, batch.features, batch.next_features)


def as_masked_transition(batch: Rows) -> trajectory.Transition:
    """The same, for agents whose observations are pairs of features and mask."""
    return _transition(batch, (batch.features, batch.mask), (batch.next_features, batch.next_mask))


def _transition(batch: Rows, here: Any, there: Any) -> trajectory.Transition:
    first = tf.zeros_like(batch.reward, tf.int32)
    return trajectory.Transition(
        time_step.TimeStep(first, tf.zeros_like(batch.reward), tf.ones_like(batch.discount), here),
        policy_step.PolicyStep(batch.action),
        time_step.TimeStep(first + 1, batch.reward, batch.discount, there),
    )


def draw(shape: tuple[int, int], seed: tf.Tensor, rows: tf.Tensor | int, cumulative: tf.Tensor | None) -> tf.Tensor:
    """int32 row numbers, drawn with replacement.

    Args:
        shape: of the result.
        seed: int32 [2].
        rows: N.
        cumulative: float64 [N], cumulative weights, of which uniform numbers take the inverse; None: all the same.
    """
    if cumulative is None:
        return tf.random.stateless_uniform(shape, seed, 0, rows, tf.int32)
    at = tf.random.stateless_uniform([shape[0] * shape[1]], seed, dtype=tf.float64) * cumulative[-1]
    drawn = tf.searchsorted(cumulative, at, side="right")
    return tf.reshape(tf.minimum(drawn, rows - 1), shape)  # the product may round up to the last sum
