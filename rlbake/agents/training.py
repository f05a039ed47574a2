"""From transitions to a fitted agent."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from rlbake.agents import AGENTS
from rlbake.agents.config import TrainConfig
from rlbake.agents.fitted import FittedAgent, WarmStart
from rlbake.agents.loop import CHUNK, GraphLoop, Rows
from rlbake.dataset.transitions import Transitions
from rlbake.errors import DataError, RlbakeError
from rlbake.features.preprocessing import Preprocessing
from rlbake.features.statistics import statistics
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
    training: Transitions,
    holdout: Transitions,
    *,
    observation: Sequence[Feature],
    action: Action,
    config: TrainConfig,
    seed: int,
    on_metrics: OnMetrics | None = None,
    warm_start: WarmStart | None = None,
) -> FittedAgent:
    """Trains an agent. The same arguments on the same kind of machine give the same weights.

    Args:
        training: what to learn from, with n-step returns already taken.
        holdout: what `train/holdout_loss` is measured on; may be empty.
        observation: the features.
        action: what is decided on.
        config: the agent and its hyperparameters.
        seed: of the initial weights and of the batches.
        on_metrics: called with (steps taken, metrics) after every chunk of steps.
        warm_start: an earlier training to go on from; also gives the features' statistics.

    Raises:
        SpecError: the agent cannot decide on such actions.
        DataError: there are fewer rows than one batch, or a number is not finite.
        ConfigError: the warm start is of another shape than the configuration.
        RlbakeError: the training diverged.
    """
    if len(training) < config.batch_size:
        raise DataError(
            f"{len(training):,} transitions to train on are fewer than one batch of {config.batch_size:,}. "
            "Train on more windows, or set a smaller batch_size."
        )
    moments = warm_start.statistics if warm_start else statistics(training.observation, observation)
    preprocessing = Preprocessing(observation, moments)
    rows, unseen = _rows(training, preprocessing, action), _rows(holdout, preprocessing, action)
    learner = AGENTS[config.agent.name].learner(
        config.agent, size=preprocessing.size, action=action, masked=rows.next_mask.shape[1] > 0
    )
    with learner.lock:
        learner.start(config.agent, seed)
        if warm_start:
            learner.resume(config.agent, warm_start.variables)
        limit = _largest_return(training, config.gamma)
        valued = rows.features[:: -(-len(training) // _VALUED)]
        metrics: dict[str, float] = {}
        stride = min(CHUNK, -(-_LOOK_EVERY * len(training) // config.batch_size))
        for first in range(0, config.steps, stride):
            steps = min(stride, config.steps - first)
            began = time.perf_counter()
            loss = learner.loop.run(rows, batch_size=config.batch_size, first_step=first, steps=steps, seed=seed)
            metrics = {LOSS: loss, STEPS: first + steps, SPEED: steps / (time.perf_counter() - began)}
            metrics[VALUE] = float(tf.reduce_mean(tf.reduce_max(learner.network(valued)[0], axis=1)))
            if len(holdout):
                metrics[HOLDOUT_LOSS] = _probed(learner.loop, unseen)
            if on_metrics:
                on_metrics(first + steps, metrics)
            _refuse_divergence(metrics, limit, first + steps)
            if len(holdout) >= _FEWEST_HELD_OUT and _overfits(config, metrics, _probed(learner.loop, rows)):
                break
        return FittedAgent(
            tuple(observation), action, config, preprocessing, learner.trained_network(), learner.variables(), metrics
        )


def _rows(transitions: Transitions, preprocessing: Preprocessing, action: Action) -> Rows:
    mask = transitions.next_action_mask
    if mask is None:
        mask = np.zeros((len(transitions), 0), bool)
    return Rows(
        tf.constant(preprocessing.apply(transitions.observation)),
        tf.constant(transitions.action, tf.int32),
        tf.constant(transitions.reward, tf.float32),
        tf.constant(transitions.discount, tf.float32),
        tf.constant(preprocessing.apply(transitions.next_observation)),
        tf.constant(mask),
    )


def _overfits(config: TrainConfig, metrics: dict[str, float], known_loss: float) -> bool:
    if config.overfit is None or metrics[HOLDOUT_LOSS] <= config.overfit * known_loss:
        return False
    _logger.info(
        "Ended after %d of %d steps: held-out loss %.4g is more than %g times the training loss, %.4g.",
        metrics[STEPS], config.steps, metrics[HOLDOUT_LOSS], config.overfit, known_loss,
    )  # fmt: skip
    return True


def _probed(loop: GraphLoop, rows: Rows) -> float:
    apart = -(-rows.action.shape[0] // _PROBE)
    return float(loop.loss(Rows(*(column[::apart] for column in rows))))


def _largest_return(training: Transitions, gamma: float) -> float:
    steps = min(1 / (1 - gamma), _LONGEST) if gamma < 1 else _LONGEST
    return float(np.abs(training.reward).max()) * steps


def _refuse_divergence(metrics: dict[str, float], limit: float, step: int) -> None:
    loss, value = metrics[LOSS], metrics[VALUE]
    if math.isfinite(loss) and abs(value) <= _RUNAWAY * (1 + limit):
        return
    raise RlbakeError(
        f"training diverged within {step:,} steps: loss {loss:.3g}, mean value {value:.3g}, where no return can "
        f"be beyond ±{limit:.3g}. Lower agent.learning_rate, raise agent.target_update_period, lower gamma, or "
        "look for outliers among the features and metrics."
    )
