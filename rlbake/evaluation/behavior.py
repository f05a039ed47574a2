"""A model of whoever decided in the logs: what they would do, and how likely it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize
from sklearn.ensemble import HistGradientBoostingClassifier

from rlbake.dataset.transitions import Transitions
from rlbake.errors import DataError
from rlbake.specs import OTHER, Binary, Category, Discrete, Feature, Number
from rlbake.world import Observations

FLOOR = 1e-3  # least estimated probability of an allowed action: no estimate makes a weight above 1,000
FEWEST_ENVIRONMENTS = 10  # to estimate from

MOST_ROWS = 100_000  # that one classifier learns from: it takes seconds for each hundred thousand and 20 actions
MOST_CATEGORIES = 250  # of one feature, the most frequent; HistGradientBoosting allows 255
TEMPERATURES = (0.2, 5.0)


@dataclass(frozen=True)
class Behavior:
    """A model of whoever decided in the logs: gradient-boosted trees, calibrated by a temperature.

    Attributes:
        observation: the features.
        actions: A.
        known: int [K], the actions that the classifier knows; all others have the least probability.
        temperature: T: probabilities are raised to 1/T (Guo et al. 2017, https://arxiv.org/abs/1706.04599).
    """

    observation: tuple[Feature, ...]
    actions: int
    known: np.ndarray
    temperature: float
    _codes: dict[str, dict[str, float]]
    _classifier: HistGradientBoostingClassifier | None

    def probabilities(self, observations: Observations, mask: np.ndarray | None = None) -> np.ndarray:
        """μ̂(a|x), float64 [N, A]: rows sum to 1, allowed actions have at least about `FLOOR` and others 0."""
        rows = len(next(iter(observations.values())))
        found = np.zeros((rows, self.actions))
        if self._classifier is None:
            found[:, self.known] = 1.0
        elif rows:
            found[:, self.known] = self._classifier.predict_proba(_table(observations, self.observation, self._codes))
        found = found ** (1 / self.temperature)
        found = np.maximum(found / found.sum(axis=1, keepdims=True), FLOOR)
        if mask is not None:
            found = np.where(mask, found, 0.0)
        return found / found.sum(axis=1, keepdims=True)


def fit_behavior(transitions: Transitions, *, observation: Sequence[Feature], action: Discrete, seed: int) -> Behavior:
    """A model of who decided, from at most `MOST_ROWS` rows, whole environments.

    Raises:
        DataError: there are fewer than `FEWEST_ENVIRONMENTS` environments.
    """
    environment, names = pd.factorize(transitions.env_id)
    if len(names) < FEWEST_ENVIRONMENTS:
        raise DataError(
            f"probabilities of the logged decisions cannot be estimated from {len(names)} environments, at least "
            f"{FEWEST_ENVIRONMENTS} are needed. Log them as `log_probability`, or evaluate on more windows."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    taken = np.bincount(environment, minlength=len(names))[order].cumsum() <= MOST_ROWS
    taken[:FEWEST_ENVIRONMENTS] = True
    side = np.full(len(names), -1)
    side[order[taken]] = np.arange(taken.sum()) % 2  # each calibrates what the other half has learned
    rows = np.flatnonzero(side[environment] >= 0)
    part, half = transitions.take(rows), side[environment[rows]]
    codes = {f.name: _frequent(f, part.observation[f.name]) for f in observation if isinstance(f, Category)}

    def learned(among: np.ndarray, temperature: float) -> Behavior:
        known, chosen = _classes(part.action, half, among)
        classifier = None
        if len(known) > 1:
            classifier = HistGradientBoostingClassifier(
                learning_rate=0.2,
                max_iter=60,
                max_leaf_nodes=15,
                l2_regularization=1.0,
                early_stopping=len(chosen) >= 10 * len(known),
                n_iter_no_change=3,
                categorical_features=[isinstance(f, Category) for f in observation],
                random_state=seed,
            )
            seen = {name: column[chosen] for name, column in part.observation.items()}
            classifier.fit(_table(seen, observation, codes), part.action[chosen])
        return Behavior(tuple(observation), len(action), known, temperature, codes, classifier)

    unseen = np.zeros((len(part), len(action)))
    for number in (0, 1):
        there = np.flatnonzero(half != number)
        seen = {name: column[there] for name, column in part.observation.items()}
        mask = None if part.action_mask is None else part.action_mask[there]
        unseen[there] = learned(half == number, 1.0).probabilities(seen, mask)
    return learned(np.ones(len(part), bool), _temperature(unseen, part.action))


def _classes(action: np.ndarray, half: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The actions to tell apart, int [K], and the rows of them. An action taken once has nothing to be validated on."""
    values, counts = np.unique(action[among], return_counts=True)
    known = values[counts > 1] if (counts > 1).any() else values
    return known, np.flatnonzero(among & np.isin(action, known))


def _frequent(feature: Category, column: np.ndarray) -> dict[str, float]:
    """Codes of the most frequent of the feature's values."""
    counted = pd.Series(column).value_counts()
    known = [value for value in feature.values if value in counted.index]
    known.sort(key=lambda value: -int(counted[value]))
    return {value: float(code) for code, value in enumerate(known[:MOST_CATEGORIES])}


def _table(observations: Observations, features: Sequence[Feature], codes: dict[str, dict[str, float]]) -> np.ndarray:
    """float64 [N, features]; NaN where missing or unknown."""
    columns = []
    for feature in features:
        column = observations[feature.name]
        if isinstance(feature, Number | Binary):
            columns.append(np.asarray(column, np.float64))
            continue
        known = codes[feature.name]
        names, which = np.unique(np.asarray(column, str), return_inverse=True)
        other = known.get(OTHER, np.nan) if feature.unknown == OTHER else np.nan
        columns.append(np.array([np.nan if not name else known.get(name, other) for name in names.tolist()])[which])
    return np.stack(columns, axis=1)


def _temperature(probabilities: np.ndarray, action: np.ndarray) -> float:
    """That makes the logged actions most likely."""
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities)
    taken = np.arange(len(action))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float((np.logaddexp.reduce(scaled, axis=1) - scaled[taken, action]).mean())

    if not np.isfinite(logits[taken, action]).all():  # a logged action that was not allowed: refused later
        return 1.0
    low, high = np.log(TEMPERATURES)
    return float(np.exp(optimize.minimize_scalar(loss, bounds=(low, high), method="bounded").x))
