"""Who could decide: the model, the rules, one action for all, a clone of whoever decided, an agent without foresight.

Whatever a candidate is fitted to are training rows, never those that it is judged on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from rlbake import vocabulary as v
from rlbake.agents import AGENTS
from rlbake.dataset.split import hashes
from rlbake.dataset.transitions import Transitions
from rlbake.evaluation.behavior import fit_behavior
from rlbake.evaluation.episodes import numbered, seen_by
from rlbake.evaluation.evaluation import BANDIT, CLONE, FIXED, RULES
from rlbake.evaluation.q_model import QModel
from rlbake.evaluation.rows import Rows
from rlbake.evaluation.target import Target, distribution
from rlbake.features.profile import Profiles
from rlbake.policies.behaviour import RulesPolicy
from rlbake.policies.saved import SavedPolicy
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Discrete, Feature, MultiDiscrete
from rlbake.training.config import TrainConfig
from rlbake.training.fit import fit
from rlbake.world import Observations

MAX_UNITS = 10_000
"""Beyond so many environments, groups of them by hash are what is independent: enough for any interval."""

_HELD_OUT = 10  # of so many environments one tells when the bandit overfits


@dataclass(frozen=True)
class Candidate:
    """Somebody who could decide.

    Attributes:
        name: one of the constants of `evaluation.evaluation`, or any other.
        probabilities: observations, arrays [B] by feature, and a mask, bool [B, A] or None → π(a|x), [B, A].
    """

    name: str
    probabilities: Target


def saved(name: str, directory: str | Path, *, temperature: float = 0.0) -> Candidate:
    """An exported policy as it is deployed: exploring.

    Args:
        name: of the candidate.
        directory: that `export_policy` wrote.
        temperature: of its softmax, in the unit of the action values; 0: greedy with probability 1 - ε.

    Raises:
        NotFoundError: there is no policy in the folder.
    """
    return Candidate(name, SavedPolicy(directory, name, explore=True, temperature=temperature).probabilities)


def ruled(rules: Callable[[Observations], np.ndarray], action: Discrete | MultiDiscrete) -> Candidate:
    """An application's rules, which do one thing with probability 1.

    Args:
        rules: observations → action indices, integers [B]; of several sets [B, n], one column per set.
        action: what they decide on; of several sets, A counts all combinations.
    """
    policy, actions = RulesPolicy(rules, action), len(action.joint())

    def probabilities(observations: Observations, mask: np.ndarray | None) -> np.ndarray:
        rows = len(next(iter(observations.values())))
        return np.eye(actions)[action.flat(policy.decide(observations, np.zeros(rows), mask).action)]

    return Candidate(RULES, probabilities)


def best_fixed_action(training: Transitions, propensity: np.ndarray, action: Discrete) -> tuple[Candidate, str]:
    """The one action with the highest mean reward on training rows, and its name.

    The mean is self-normalised, Σ 1[a] r/μ / Σ 1[a] 1/μ (SNIPS of a policy that always does a). Of equal ones the
    one with the least standard error counts, which has been tried most. Where it is not allowed, the next best one
    that is takes its place; what was never tried comes last.

    Args:
        training: N rows, never those that candidates are judged on.
        propensity: float64 [N], of the logged action.
        action: what is decided on.
    """
    actions = len(action)
    weight = 1 / propensity
    total = np.bincount(training.action, weights=weight, minlength=actions)
    tried = total > 0
    below = np.where(tried, total, 1.0)
    mean = np.bincount(training.action, weights=weight * training.reward, minlength=actions) / below
    off = weight * (training.reward - mean[training.action])
    error = np.sqrt(np.bincount(training.action, weights=off**2, minlength=actions)) / below
    scale = float(np.abs(mean).max()) or 1.0
    alike = np.round(mean / scale, 9)  # but for rounding
    order = np.lexsort((-np.bincount(training.action, minlength=actions), error, -alike, ~tried))
    rank = np.argsort(order)

    def probabilities(observations: Observations, mask: np.ndarray | None) -> np.ndarray:
        rows = len(next(iter(observations.values())))
        allowed = np.ones((rows, actions), bool) if mask is None else mask
        return np.eye(actions)[np.where(allowed, rank, actions).argmin(axis=1)]

    return Candidate(FIXED, probabilities), action.names[int(order[0])]


def behavior_clone(training: Transitions, *, observation: Sequence[Feature], action: Discrete, seed: int) -> Candidate:
    """A calibrated model of whoever decided in the training rows.

    Raises:
        DataError: there are too few environments to learn it from.
    """
    return Candidate(CLONE, fit_behavior(training, observation=observation, action=action, seed=seed).probabilities)


def bandit(
    training: Transitions,
    config: TrainConfig,
    *,
    observation: Sequence[Feature],
    action: Discrete,
    seed: int,
    profiles: Profiles | None = None,
    temperature: float = 0.0,
) -> Candidate | None:
    """The same kind of agent, but one that looks no step ahead; None where the agent itself does not, or where it
    would learn from nobody's decisions but its own.

    Args:
        training: one-step rows, with whatever discount.
        config: of the agent; its gamma and n_step are not taken over.
        observation: the features.
        action: what is decided on.
        seed: of the training.
        profiles: of the features; None: those of the rows.
        temperature: as in `saved`.

    Raises:
        DataError: there are fewer rows than one batch.
        RlbakeError: the training diverged.
    """
    facts = AGENTS[config.agent.name].FACTS
    if config.gamma == 0 or not facts.foresight or facts.on_policy:
        return None
    shortsighted = replace(training, discount=np.zeros(len(training)))
    away = hashes(training.env_id) // 2**32 % _HELD_OUT == 0
    fitted = fit(
        shortsighted.take(np.flatnonzero(~away)),
        shortsighted.take(np.flatnonzero(away)),
        observation=observation,
        action=action,
        config=replace(config, gamma=0.0, gamma_period=None, n_step=1),
        seed=seed,
        profiles=profiles,
    )

    def probabilities(observations: Observations, mask: np.ndarray | None) -> np.ndarray:
        features = tf.constant(fitted.preprocessing.apply(observations))
        allowed = np.ones((len(features), len(action)), bool) if mask is None else mask
        preferred = fitted.choosing().prefer(features, allowed, tf.constant(True), tf.constant(temperature))
        return preferred.probabilities.numpy()

    return Candidate(BANDIT, probabilities)


def rows_of(
    transitions: Transitions,
    candidate: Candidate | None,
    *,
    propensity: np.ndarray,
    model: QModel | None = None,
    fold: np.ndarray | None = None,
) -> Rows:
    """One-step transitions as a candidate sees them.

    Args:
        transitions: N rows, sorted by environment, episode and timestamp, with `next_timestamp` and `end`.
        candidate: None: whoever decided, who weighs everything 1 and of whom there is no model.
        propensity: float64 [N], of the logged action.
        model: the candidate's action values; None: there is none, they are 0.
        fold: int [N], which of the model's folds a row is of; None: of none.

    Raises:
        DataError: the candidate gives probability to an action that is not allowed.
    """
    environment, names = pd.factorize(transitions.env_id)
    unit, units = environment.astype(np.int64), len(names)
    if units > MAX_UNITS:
        unit, units = (hashes(names) // 2**32 % MAX_UNITS).astype(np.int64)[environment], MAX_UNITS
    episode = transitions.timestamp[:1].repeat(len(transitions)) if transitions.episode is None else transitions.episode
    ended = transitions.end != v.NOT_ENDED
    order = numbered(environment, episode, transitions.timestamp, transitions.next_timestamp, ended)
    if candidate is None:
        nothing = np.zeros(len(transitions))
        reward, weight = transitions.reward.astype(np.float64), np.ones(len(transitions))
        return Rows(unit, order.episode, order.step, reward, weight, nothing, nothing, nothing, units)
    probabilities = distribution(
        candidate.probabilities, transitions.observation, transitions.action_mask, who=candidate.name
    )
    values = np.zeros_like(probabilities) if model is None else model.values(transitions.observation, fold)
    return seen_by(
        order, unit=unit, units=units, action=transitions.action, reward=transitions.reward,
        propensity=propensity, probabilities=probabilities, values=values,
    )  # fmt: skip
