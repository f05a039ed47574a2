"""How much each hyperparameter had to do with the scores of a sweep's trials.

A random forest learns scores from points, and a hyperparameter's importance is by how much the forest's R² falls when
its values are shuffled (Breiman, "Random forests", Machine Learning 45, 2001, as scikit-learn's
`permutation_importance`). Forests of a sweep's trials are small: the spread over shuffles comes with every figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlbake.errors import DataError
from rlbake.sweep.objective import Trial
from rlbake.sweep.space import CHOICE, LOGARITHMIC, Parameter, Space

FEWEST = 10
"""Trials with a score below which nothing is said."""

_TREES, _SHUFFLES = 300, 30


@dataclass(frozen=True)
class Importance:
    """Of one hyperparameter.

    Attributes:
        path: its path in a training's configuration.
        share: of all importances, in [0, 1].
        fall: of R² when it is shuffled; 0 or less: nothing to do with the scores.
        spread: standard deviation of the fall over shuffles.
    """

    path: str
    share: float
    fall: float
    spread: float


def importances(trials: Sequence[Trial], space: Space, seed: int) -> list[Importance]:
    """One per hyperparameter, the most important first.

    Args:
        trials: of one sweep; those without a score are left out.
        space: that they are from.
        seed: of forest and shuffles.

    Raises:
        DataError: fewer than `FEWEST` trials have a score, or all have the same.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    scored = [(trial.point, trial.outcome.score) for trial in trials if trial.outcome]
    scores = np.array([score for _, score in scored])
    if len(scored) < FEWEST or np.ptp(scores) == 0:
        raise DataError(f"{len(scored)} trials with a score, of which some must differ: importance needs {FEWEST}.")
    points = np.array([[_as_number(parameter, point[parameter.path]) for parameter in space] for point, _ in scored])
    forest = RandomForestRegressor(n_estimators=_TREES, random_state=seed).fit(points, scores)
    found = permutation_importance(forest, points, scores, n_repeats=_SHUFFLES, random_state=seed)
    falls, spreads = found.importances_mean, found.importances_std
    total = float(np.maximum(falls, 0).sum()) or 1.0
    known = [
        Importance(parameter.path, float(max(fall, 0)) / total, float(fall), float(spread))
        for parameter, fall, spread in zip(space, falls, spreads, strict=True)
    ]
    return sorted(known, key=lambda one: -one.fall)


def _as_number(parameter: Parameter, value: object) -> float:
    if parameter.prior == CHOICE:
        return float(parameter.values.index(value))
    assert isinstance(value, int | float)  # what such a parameter's values are
    return math.log(value) if parameter.prior in LOGARITHMIC else float(value)
