"""From transitions to a fitted agent."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rlbake.agents import AGENTS
from rlbake.agents.config import TrainConfig
from rlbake.agents.fitted import FittedAgent, WarmStart
from rlbake.agents.loop import CHUNK, Rows
from rlbake.agents.replay import WEIGHT, Columns, InMemory, OnDisk, Replay, recency, to_rows
from rlbake.cadence import duration
from rlbake.dataset.streamed import Streamed
from rlbake.dataset.transitions import Transitions
from rlbake.errors import DataError, RlbakeError
from rlbake.features.identify import identify
from rlbake.features.preprocessing import Preprocessing
from rlbake.features.profile import Profiles, merge_all, profile_of
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Feature

LOSS, HOLDOUT_LOSS, VALUE = "train/loss", "train/holdout_loss", "train/value"
STEPS, SPEED = "train/steps", "train/steps_per_second"

_logger = logging.getLogger(__name__)

OnMetrics = Callable[[int, dict[str, float]], None]

_LOOK_EVERY = 3  # passes over the rows between two looks at the metrics, if these are fewer than CHUNK steps
_FEWEST_HELD_OUT = 100  # rows; the loss on fewer says too little to end a training
_PROBE = 2048  # rows, from all over, on which losses are reported along the way
_VALUED = 512  # rows, from all over, on which the mean value is
_RUNAWAY = 10.0  # values this many times beyond the largest possible return have diverged
_LONGEST = 10_000  # steps of an undiscounted episode, for that largest return


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
) -> FittedAgent:
    """Trains an agent. The same arguments on the same kind of machine give the same weights.

    Args:
        training: what to learn from, with n-step returns already taken; in memory, or streamed within a budget.
        holdout: what `train/holdout_loss` is measured on; may be empty.
        observation: the features.
        action: what is decided on.
        config: the agent and its hyperparameters.
        seed: of the initial weights and of the batches.
        on_metrics: called with (steps taken, metrics) after every chunk of steps.
        warm_start: an earlier training to go on from; also gives the features' transforms.
        profiles: of the features, which decide their transforms; None: those of `training`.

    Raises:
        SpecError: the agent cannot decide on such actions.
        DataError: there are fewer rows than one batch, or a number is not finite.
        ConfigError: the warm start is of another shape than the configuration, or the memory for
            streamed rows is too little.
        RlbakeError: the training diverged.
    """
    if len(training) < config.batch_size:
        raise DataError(
            f"{len(training):,} transitions to train on are fewer than one batch of {config.batch_size:,}. "
            "Train on more windows, or set a smaller batch_size."
        )
    if warm_start:
        identified = warm_start.identified
    else:
        identified = identify(observation, profiles or profiles_of(training, observation))
    preprocessing = Preprocessing(observation, identified)
    learner = AGENTS[config.agent.name].learner(
        config.agent, size=preprocessing.size, action=action, masked=_masked(training)
    )
    with _replay(training, preprocessing, config, seed) as replay, learner.lock:
        learner.start(config.agent, seed)
        if warm_start:
            learner.resume(config.agent, warm_start.variables)
        limit = _largest_return(replay, config)
        valued, known = replay.sample(_VALUED).features, replay.sample(_PROBE)
        unseen = _sampled(holdout, preprocessing, _PROBE) if len(holdout) else None
        metrics: dict[str, float] = {}
        stride = min(CHUNK, -(-_LOOK_EVERY * len(training) // config.batch_size))
        for first in range(0, config.steps, stride):
            steps = min(stride, config.steps - first)
            began = time.perf_counter()
            loss = 0.0
            for part in replay.segments(first, steps):
                loss += part.steps / steps * learner.loop.run(
                    part.rows, batch_size=config.batch_size, first_step=part.first, steps=part.steps, seed=seed,
                    cumulative=part.cumulative,
                )  # fmt: skip
                del part  # and with it the rows, before the next ones are loaded
            metrics = {LOSS: loss, STEPS: first + steps, SPEED: steps / (time.perf_counter() - began)}
            metrics[VALUE] = float(tf.reduce_mean(tf.reduce_max(learner.network(valued)[0], axis=1)))
            if unseen is not None:
                metrics[HOLDOUT_LOSS] = float(learner.loop.loss(unseen))
            if on_metrics:
                on_metrics(first + steps, metrics)
            _refuse_divergence(metrics, limit, first + steps)
            if len(holdout) >= _FEWEST_HELD_OUT and _overfits(config, metrics, float(learner.loop.loss(known))):
                break
        return FittedAgent(
            tuple(observation), action, config, preprocessing, learner.trained_network(), learner.variables(), metrics
        )


def profiles_of(training: Transitions | Streamed, observation: Sequence[Feature]) -> Profiles:
    """The profiles of the features of what is trained on, a part at a time."""
    parts = [training.observation] if isinstance(training, Transitions) else training.observations()
    return merge_all([profile_of(part, observation) for part in parts])


def _masked(rows: Transitions | Streamed) -> bool:
    return rows.next_action_mask is not None if isinstance(rows, Transitions) else rows.masked[1]


@contextmanager
def _replay(
    training: Transitions | Streamed, preprocessing: Preprocessing, config: TrainConfig, seed: int
) -> Iterator[Replay]:
    """What batches are drawn from. The files of streamed rows are removed when the context ends."""
    newest = training.timestamp.max() if isinstance(training, Transitions) else training.newest

    def weighed(transitions: Transitions) -> Columns:
        columns = _columns(transitions, preprocessing)
        if config.recency_half_life:
            half_life = np.timedelta64(duration(config.recency_half_life))
            columns[WEIGHT] = recency(transitions.timestamp, newest, half_life)
        return columns

    if isinstance(training, Transitions):
        yield InMemory(weighed(training))
        return
    with tempfile.TemporaryDirectory(dir=training.folder) as folder:
        yield OnDisk(
            map(weighed, training.parts()),
            Path(folder),
            limit=training.memory,
            steps=config.steps,
            batch_size=config.batch_size,
            seed=seed,
        )


def _sampled(rows: Transitions | Streamed, preprocessing: Preprocessing, most: int) -> Rows:
    """At most so many rows, from all over."""
    apart, passed, samples = -(-len(rows) // most), 0, []
    for part in [rows] if isinstance(rows, Transitions) else rows.parts():
        samples.append(_columns(part.take(np.arange(-passed % apart, len(part), apart)), preprocessing))
        passed += len(part)
    return to_rows(lambda name: np.concatenate([sample[name] for sample in samples]))


def _columns(transitions: Transitions, preprocessing: Preprocessing) -> Columns:
    mask = transitions.next_action_mask
    return {
        "features": preprocessing.apply(transitions.observation),
        "action": transitions.action.astype(np.int32),
        "reward": transitions.reward.astype(np.float32),
        "discount": transitions.discount.astype(np.float32),
        "next_features": preprocessing.apply(transitions.next_observation),
        "next_mask": np.zeros((len(transitions), 0), bool) if mask is None else mask,
    }


def _overfits(config: TrainConfig, metrics: dict[str, float], known_loss: float) -> bool:
    if config.overfit is None or metrics[HOLDOUT_LOSS] <= config.overfit * known_loss:
        return False
    _logger.info(
        "Ended after %d of %d steps: held-out loss %.4g is more than %g times the training loss, %.4g.",
        metrics[STEPS], config.steps, metrics[HOLDOUT_LOSS], config.overfit, known_loss,
    )  # fmt: skip
    return True


def _largest_return(replay: Replay, config: TrainConfig) -> float:
    gamma = config.gamma if config.gamma_period is None else replay.largest_discount
    steps = min(1 / (1 - gamma), _LONGEST) if gamma < 1 else _LONGEST
    return replay.largest_reward * steps


def _refuse_divergence(metrics: dict[str, float], limit: float, step: int) -> None:
    loss, value = metrics[LOSS], metrics[VALUE]
    if math.isfinite(loss) and abs(value) <= _RUNAWAY * (1 + limit):
        return
    raise RlbakeError(
        f"training diverged within {step:,} steps: loss {loss:.3g}, mean value {value:.3g}, where no return can "
        f"be beyond ±{limit:.3g}. Lower agent.learning_rate, raise agent.target_update_period, lower gamma, or "
        "look for outliers among the features and metrics."
    )
