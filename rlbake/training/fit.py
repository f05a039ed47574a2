"""From transitions to a fitted agent."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from rlbake.agents import AGENTS
from rlbake.cadence import duration
from rlbake.dataset.streamed import Streamed
from rlbake.dataset.transitions import Transitions
from rlbake.errors import DataError, RlbakeError
from rlbake.features.compression import Compressed
from rlbake.features.identify import identify
from rlbake.features.preprocessing import Preprocessing
from rlbake.features.profile import Profiles, merge_all, profile_of
from rlbake.learners.facts import refuse_unsuitable
from rlbake.learners.learner import Learner
from rlbake.learners.loop import CHUNK, Rows
from rlbake.learners.on_policy import OnPolicyConfig, OnPolicyLearner
from rlbake.learners.q_learning import number_of_actions, prioritisation
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Feature
from rlbake.training.autoencoder import learn_code
from rlbake.training.checkpoint import Checkpoint
from rlbake.training.columns import Columns, columns
from rlbake.training.config import TrainConfig
from rlbake.training.constraint import ConstrainedHead, Constraint, clone, cloner, cloning, constraint
from rlbake.training.fitted import ENCODER, FittedAgent, WarmStart
from rlbake.training.passes import Passes, in_memory, steps_per_pass
from rlbake.training.replay import WEIGHT, InMemory, OnDisk, Replay, recency, to_rows
from rlbake.training.warm_start import begin, refuse_differences

LOSS, HOLDOUT_LOSS, VALUE = "train/loss", "train/holdout_loss", "train/value"
STEPS, SPEED = "train/steps", "train/steps_per_second"
RECONSTRUCTION = "train/reconstruction_error"

_logger = logging.getLogger(__name__)

OnMetrics = Callable[[int, dict[str, float]], None]
OnChunk = Callable[[Callable[[], Checkpoint]], None]
ColumnsOf = Callable[[Transitions], Columns]

_LOOK_EVERY = 3  # passes over the rows between two looks at the metrics, if these are fewer than CHUNK steps
_FEWEST_HELD_OUT = 100  # rows; the loss on fewer says too little to end a training
_PROBE = 2048  # rows, from all over, on which losses are reported along the way
_PROOF = 32_768  # rows, from all over, on which losses are compared before one ends a training
_COMPRESSED = 100_000  # rows, from all over, that an autoencoder learns from
_VALUED = 512  # rows, from all over, on which the mean value is
_SUMMED = 10  # rows per step of a chunk: summing rows up takes as much memory as drawing such batches
_RUNAWAY = 10.0  # values this many times beyond the largest possible return have diverged


def fit(
    training: Transitions | Streamed,
    holdout: Transitions | Streamed,
    *,
    observation: Sequence[Feature],
    action: Action,
    config: TrainConfig,
    seed: int,
    on_metrics: OnMetrics | None = None,
    warm_start: WarmStart | None = None,
    profiles: Profiles | None = None,
    checkpoint: Checkpoint | None = None,
    on_chunk: OnChunk | None = None,
) -> FittedAgent:
    """Trains an agent. The same arguments on the same kind of machine give the same weights.

    Args:
        training: what to learn from, with n-step returns already taken; in memory, or streamed within a budget.
        holdout: what `train/holdout_loss` is measured on; may be empty.
        observation: the features.
        action: what is decided on.
        config: the agent and its hyperparameters.
        seed: of the initial weights and of the batches.
        on_metrics: called with (steps taken, metrics) after every chunk of steps; steps before a warm start count.
        warm_start: an earlier training to go on from; also gives the features' transforms.
        profiles: of the features, which decide their transforms; None: those of `training`.
        checkpoint: of a training with the same arguments that was cut short; this one ends as that would have.
        on_chunk: called after every chunk of steps but the last, with what makes a checkpoint of the moment.

    Raises:
        SpecError: the agent cannot decide on such actions; the message names those that can.
        DataError: there are fewer rows than one batch, or a number is not finite.
        ConfigError: the warm start was trained on other features or actions, or with another network; or the
            memory for streamed rows is too little.
        RlbakeError: the training diverged.
    """
    module = AGENTS[config.agent.name]
    refuse_unsuitable(config.agent.name, action, {name: other.FACTS for name, other in AGENTS.items()})
    batch_size = 1 if "batch_size" in module.FACTS.unread else config.batch_size
    if len(training) < batch_size:
        raise DataError(
            f"{len(training):,} transitions to train on are fewer than one batch of {batch_size:,}. "
            "Train on more windows, or set a smaller batch_size."
        )
    if warm_start:
        refuse_differences(warm_start, observation, action, config)
        identified = warm_start.identified
    else:
        identified = identify(observation, profiles or profiles_of(training, observation))
    encoder, compression = _encoder(Preprocessing(observation, identified), training, holdout, config, seed, warm_start)
    masks = number_of_actions(config.agent.name, action) if constraint(config) or _masked(training) else 0
    learner = module.learner(config.agent, size=encoder.size, action=action, masked=masks > 0)

    def all_columns_of(transitions: Transitions) -> Columns:
        return columns(transitions, encoder, masks)

    limits = _constraint(training, holdout, all_columns_of, config, seed, size=encoder.size, action=action)
    columns_of = (lambda transitions: limits.on(all_columns_of(transitions))) if limits else all_columns_of
    with _replay(training, columns_of, config, seed, learner) as replay, learner.lock:
        learner.start(config.agent, seed)
        learner.expect(replay.returns)
        before = begin(learner, warm_start, config) if warm_start else 0
        if checkpoint:
            learner.resume(config.agent, checkpoint.variables)
            replay.restore(checkpoint.replay)
        limit = max(map(abs, replay.returns))
        valued = replay.sample(_VALUED).features
        known, unseen = replay.sample(_PROBE), _sampled(holdout, columns_of, _PROBE) if len(holdout) else None
        metrics: dict[str, float] = {}
        taken, last, lowest = (
            before,
            gradient_steps(config, len(training)),
            checkpoint.lowest if checkpoint else math.inf,
        )
        stride = min(CHUNK, -(-_LOOK_EVERY * len(training) // config.batch_size))
        for first in range(checkpoint.steps if checkpoint else 0, last, stride):
            steps = min(stride, last - first)
            began = time.perf_counter()
            loss = 0.0
            for part in replay.segments(first, steps):
                loss += part.steps / steps * learner.run(
                    part.rows, batch_size=config.batch_size, first_step=before + part.first, steps=part.steps,
                    seed=seed, cumulative=part.cumulative,
                )  # fmt: skip
                del part  # and with it the rows, before the next ones are loaded
            taken = before + first + steps
            metrics = {LOSS: loss, STEPS: taken, SPEED: steps / (time.perf_counter() - began), **compression}
            metrics |= _seen(learner, valued, unseen)
            if on_metrics:
                on_metrics(taken, metrics)
            _refuse_divergence(metrics, limit, taken)
            if len(holdout) >= _FEWEST_HELD_OUT:
                falls, lowest = metrics[HOLDOUT_LOSS] <= lowest, min(metrics[HOLDOUT_LOSS], lowest)
                if not falls and _overfits(config, learner, learner.loss(known), metrics[HOLDOUT_LOSS]):
                    many = replay.sample(_PROOF), _sampled(holdout, columns_of, _PROOF)
                    if _overfits(config, learner, *map(learner.loss, many)):
                        _logger.info(
                            "Ended at step %d, before the last: held-out rows cost more than overfit = %g allows for.",
                            taken, config.overfit,
                        )  # fmt: skip
                        break
            if on_chunk and first + steps < last:
                on_chunk(partial(_moment, first + steps, learner, replay, lowest))
        if learner.sums:
            learner.sum_up(replay.parts())
            now = {LOSS: learner.loss(known), STEPS: taken, **compression, **_seen(learner, valued, unseen)}
            metrics = metrics | now
            if on_metrics:
                on_metrics(taken, metrics)
        variables, head = learner.variables() | _of(encoder), learner.head()
        if limits:
            head = ConstrainedHead(head, limits)
        return FittedAgent(tuple(observation), action, config, encoder, head, variables, metrics, taken)


def gradient_steps(config: TrainConfig, rows: int) -> int:
    """How many a training takes at most on so many rows: none with an agent that only sums up."""
    if isinstance(config.agent, OnPolicyConfig):
        return (config.agent.value_epochs + config.agent.epochs) * steps_per_pass(rows, config.batch_size)
    return 0 if "steps" in AGENTS[config.agent.name].FACTS.unread else config.steps


def _seen(learner: Learner, valued: tf.Tensor, unseen: Rows | None) -> dict[str, float]:
    """What the agent as it is now makes of rows from all over, and of rows held out of training."""
    metrics = {}
    if (value := learner.value(valued)) is not None:
        metrics[VALUE] = float(tf.reduce_mean(value))
    if unseen is not None:
        metrics[HOLDOUT_LOSS] = learner.loss(unseen)
        metrics |= learner.unseen_metrics(unseen)
    return metrics


def _moment(steps: int, learner: Learner, replay: Replay, lowest: float) -> Checkpoint:
    return Checkpoint(steps, learner.variables(), replay.state(), lowest)


def profiles_of(training: Transitions | Streamed, observation: Sequence[Feature]) -> Profiles:
    """The profiles of the features of what is trained on, a part at a time."""
    parts = [training.observation] if isinstance(training, Transitions) else training.observations()
    return merge_all([profile_of(part, observation) for part in parts])


def _encoder(
    preprocessing: Preprocessing,
    training: Transitions | Streamed,
    holdout: Transitions | Streamed,
    config: TrainConfig,
    seed: int,
    warm_start: WarmStart | None,
) -> tuple[Preprocessing | Compressed, dict[str, float]]:
    """What turns raw features into the agent's input, and the metrics of learning it."""
    if config.compression is None:
        return preprocessing, {}
    if warm_start and ENCODER in warm_start.variables:
        return Compressed(preprocessing, warm_start.variables[ENCODER]), {}
    known, unseen = (_vectors(rows, preprocessing, _COMPRESSED) for rows in (training, holdout))
    code = learn_code(preprocessing, known, unseen, config.compression, seed)
    return code.encoder, {RECONSTRUCTION: code.error}


def _of(encoder: Preprocessing | Compressed) -> dict[str, list[np.ndarray]]:
    """What a warm start needs of it."""
    return {ENCODER: [weight.numpy() for weight in encoder.weights]} if isinstance(encoder, Compressed) else {}


def _vectors(rows: Transitions | Streamed, preprocessing: Preprocessing, most: int) -> np.ndarray:
    """float32 [≤ most, D], preprocessed observations from all over."""
    apart, passed, found = max(1, -(-len(rows) // most)), 0, [np.zeros((0, preprocessing.size), np.float32)]
    for part in [rows] if isinstance(rows, Transitions) else rows.parts():
        found.append(preprocessing.apply(part.take(np.arange(-passed % apart, len(part), apart)).observation))
        passed += len(part)
    return np.concatenate(found)


def _constraint(
    training: Transitions | Streamed,
    holdout: Transitions | Streamed,
    columns_of: ColumnsOf,
    config: TrainConfig,
    seed: int,
    *,
    size: int,
    action: Action,
) -> Constraint | None:
    """What keeps the agent to the actions of the logs, if it is asked to."""
    if not constraint(config):
        return None
    cloned = cloning(config, len(training))
    learner = cloner(cloned, size=size, action=action)
    with _replay(training, columns_of, cloned, seed, learner) as replay, learner.lock:
        unseen = _sampled(holdout, columns_of, _PROBE) if len(holdout) >= _FEWEST_HELD_OUT else None
        return Constraint(clone(learner, replay, unseen, cloned, seed), constraint(config))


def _masked(rows: Transitions | Streamed) -> bool:
    if isinstance(rows, Streamed):
        return any(rows.masked)
    return rows.action_mask is not None or rows.next_action_mask is not None


@contextmanager
def _replay(
    training: Transitions | Streamed, columns_of: ColumnsOf, config: TrainConfig, seed: int, learner: Learner
) -> Iterator[Replay]:
    """What batches are drawn from. The files of streamed rows are removed when the context ends."""
    newest = training.timestamp.max() if isinstance(training, Transitions) else training.newest

    def with_weight(transitions: Transitions) -> Columns:
        weighed = columns_of(transitions)
        if config.recency_half_life:
            half_life = np.timedelta64(duration(config.recency_half_life))
            weighed[WEIGHT] = recency(transitions.timestamp, newest, half_life)
        return weighed

    if isinstance(learner, OnPolicyLearner):
        yield Passes(in_memory(training), columns_of, learner, config)
        return
    if isinstance(training, Transitions):
        yield InMemory(with_weight(training), prioritisation(config.agent))
        return
    with tempfile.TemporaryDirectory(dir=training.folder) as folder:
        yield OnDisk(
            map(with_weight, training.parts()),
            Path(folder),
            limit=training.memory,
            steps=config.steps,
            batch_size=_SUMMED if "batch_size" in AGENTS[config.agent.name].FACTS.unread else config.batch_size,
            seed=seed,
            prioritisation=prioritisation(config.agent),
        )


def _sampled(rows: Transitions | Streamed, columns_of: ColumnsOf, most: int) -> Rows:
    """At most so many rows, from all over."""
    apart, passed, samples = -(-len(rows) // most), 0, []
    for part in [rows] if isinstance(rows, Transitions) else rows.parts():
        samples.append(columns_of(part.take(np.arange(-passed % apart, len(part), apart))))
        passed += len(part)
    return to_rows(lambda name: np.concatenate([sample[name] for sample in samples]))


def _overfits(config: TrainConfig, learner: Learner, loss: float, unseen_loss: float) -> bool:
    if config.overfit is None:
        return False
    return unseen_loss > (loss + math.log(config.overfit) if learner.logarithmic else loss * config.overfit)


def _refuse_divergence(metrics: dict[str, float], limit: float, step: int) -> None:
    loss, value = metrics[LOSS], metrics.get(VALUE, 0.0)
    if math.isfinite(loss) and abs(value) <= _RUNAWAY * (1 + limit):
        return
    raise RlbakeError(
        f"training diverged within {step:,} steps: loss {loss:.3g}, mean value {value:.3g}, where no return can "
        f"be beyond ±{limit:.3g}. Lower agent.learning_rate, raise agent.target_update_period, lower gamma, or "
        "look for outliers among the features and metrics."
    )
