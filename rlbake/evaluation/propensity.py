"""How likely the logged decisions were: as logged, or else estimated from who saw what and did what.

An estimate is a calibrated model of the logs' own decisions, μ̂(a|x), of an environment that the model has not seen.
Where several policies decided it is that of their mixture: what importance weights of single decisions need
(the balance heuristic, Veach & Guibas 1995), and an approximation for those of whole episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from rlbake import vocabulary as v
from rlbake.dataset.split import hashes
from rlbake.dataset.transitions import Transitions
from rlbake.errors import SpecError, failed_check
from rlbake.evaluation.behavior import FLOOR, fit_behavior
from rlbake.evaluation.evaluation import Propensities
from rlbake.evaluation.support import CERTAIN
from rlbake.specs import Action, Discrete, Feature

LOGGED, ESTIMATED, MIXED = "logged", "estimated", "mixed"
UNKNOWN = "unknown"  # who decided

FOLDS = 2

BINS = np.array([0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1])
FEWEST_TAKEN = 30  # decisions for an action before its sampling error is judged by a normal approximation
FALSE_ALARM = 0.01  # probability of calling right propensities wrong
TOLERATED = 0.1  # that an action's mean weight may be from 1 whatever its sampling error


@dataclass(frozen=True)
class Logging:
    """The logging policy's probabilities of what was logged.

    Attributes:
        probability: float64 [N], μ(a|x) of the logged action, in (0, 1].
        estimated: bool [N], whether it was not logged.
        distribution: float64 [N, A], μ̂(·|x) where estimated and NaN elsewhere; None if nothing was.
        floored: actions too rare in the logs to be estimated: they have the least probability.
    """

    probability: np.ndarray
    estimated: np.ndarray
    distribution: np.ndarray | None = None
    floored: tuple[int, ...] = ()

    def take(self, rows: np.ndarray) -> Logging:
        """The given rows, int [M], in the given order."""
        kept = None if self.distribution is None else self.distribution[rows]
        return replace(self, probability=self.probability[rows], estimated=self.estimated[rows], distribution=kept)


def logging_policy(transitions: Transitions, *, observation: Sequence[Feature], action: Action, seed: int) -> Logging:
    """The probabilities of the logged actions, estimated where they were not logged.

    The estimate is of those rows that lack a probability, cross-fitted over their environments: each is
    predicted by a model of the others.

    Args:
        transitions: N rows of one step.
        observation: the features.
        action: what is decided on.
        seed: of the models.

    Raises:
        SpecError: the action is not Discrete.
        DataError: there are too few environments to estimate from, or a logged action was not allowed.
    """
    if not isinstance(action, Discrete):
        raise SpecError(f"propensities are those of Discrete actions, not of {type(action).__name__}.")
    probability = np.exp(transitions.log_probability.astype(np.float64))
    estimated = np.isnan(probability)
    if not estimated.any():
        return Logging(probability, estimated)
    missing = np.flatnonzero(estimated)
    rows = transitions.take(missing)
    fold = (hashes(rows.env_id) // 2**24 % FOLDS).astype(int)
    guessed = np.zeros((len(rows), len(action)))
    rare: set[int] = set()
    for number in range(FOLDS):
        model = fit_behavior(
            rows.take(np.flatnonzero(fold != number)), observation=observation, action=action, seed=seed
        )
        rare |= set(range(len(action))) - set(model.known.tolist())
        there = np.flatnonzero(fold == number)
        part = rows.take(there)
        guessed[there] = model.probabilities(part.observation, part.action_mask)
    distribution = np.full((len(transitions), len(action)), np.nan)
    distribution[missing] = guessed
    probability[missing] = guessed[np.arange(len(rows)), rows.action]
    _refuse_forbidden(probability, transitions)
    return Logging(probability, estimated, distribution, tuple(sorted(rare)))


def diagnosed(logging: Logging, transitions: Transitions, action: Discrete) -> Propensities:
    """Where the probabilities come from, whether they fit the logged actions, and what to beware of.

    Args:
        logging: of the same N rows.
        transitions: with `policy_version` where the reading kept it.
        action: what is decided on.
    """
    share = float(logging.estimated.mean())
    decided = transitions.policy_version
    who = pd.Series(UNKNOWN, range(len(transitions))) if decided is None else pd.Series(decided).fillna(UNKNOWN)
    means, warnings = _by_action(logging, transitions, action)
    return Propensities(
        source=LOGGED if not share else ESTIMATED if share == 1 else MIXED,
        estimated=share,
        policies={str(name): float(part) for name, part in who.value_counts(normalize=True).sort_index().items()},
        by_action=means,
        reliability=_reliability(logging, transitions),
        warnings=(*_origin(logging, share, action), *_certainty(logging, transitions), *warnings),
    )


def _refuse_forbidden(probability: np.ndarray, transitions: Transitions) -> None:
    wrong = np.flatnonzero(probability <= 0)
    if len(wrong):
        raise failed_check(
            "the logged action was not allowed",
            where=f"trajectories, {v.ACTION_MASK}",
            count=len(wrong),
            of=len(transitions),
            examples=[f"{transitions.env_id[row]} at {transitions.timestamp[row]}" for row in wrong[:5]],
            fix="Put `timesteps` right and build these windows again.",
        )


def _by_action(logging: Logging, rows: Transitions, action: Discrete) -> tuple[dict[str, float], list[str]]:
    """Mean of 1[a] / μ by action, 1 if the probabilities are right, and what of it is more than chance.

    Rows that could be nothing else are left out: of them it is 0 or 1 by action, however right they are.
    """
    open_ = logging.probability < CERTAIN
    means = dict.fromkeys(action.names, 0.0)
    too_often: list[str] = []
    too_rarely: list[str] = []
    never: list[str] = []
    if not open_.any():
        return {}, []
    environment = pd.factorize(rows.env_id[open_])[0]
    taken, weight = rows.action[open_], 1 / logging.probability[open_]
    allowed = np.ones((len(taken), len(action)), bool) if rows.action_mask is None else rows.action_mask[open_]
    critical = stats.norm.isf(FALSE_ALARM / 2 / len(action))
    for index, name in enumerate(action.names):
        here, may = taken == index, allowed[:, index]
        if not may.any():
            continue
        if not here.any():
            never.append(name)
            continue
        ratio = np.where(here, weight, 0.0)
        means[name] = float(ratio.sum() / may.sum())
        off = np.bincount(environment, weights=ratio - may)  # 0 on average, and independent
        if here.sum() >= FEWEST_TAKEN and abs(off.sum()) > max(
            critical * np.sqrt((off**2).sum()), TOLERATED * may.sum()
        ):
            (too_often if off.sum() > 0 else too_rarely).append(f"{name} ({means[name]:.2f} times)")
    return means, _contradictions(too_often, too_rarely, never)


def _contradictions(too_often: list[str], too_rarely: list[str], never: list[str]) -> list[str]:
    warnings = []
    if too_often:
        warnings.append(
            f"Done more often than the probabilities say: {_listed(too_often)}. So the probabilities are wrong, and so "
            "are importance weights made of them: look at how `log_probability` is logged."
        )
    if too_rarely:
        warnings.append(
            f"Done less often than the probabilities say, or not always possible: {_listed(too_rarely)}. Either they "
            "are wrong, or the logs say nothing about these actions in some situations."
        )
    if never:
        warnings.append(f"Never logged: {_listed(never)}. Nothing is known about policies that choose them.")
    return warnings


def _reliability(logging: Logging, rows: Transitions) -> list[tuple[float, float, int]]:
    """Of every estimated probability of an allowed action: (mean predicted, share taken, how many) per bin."""
    if logging.distribution is None:
        return []
    predicted = logging.distribution[logging.estimated]
    happened = np.arange(predicted.shape[1]) == rows.action[logging.estimated][:, None]
    counted = predicted > 0  # not what a mask forbids
    predicted, happened = predicted[counted], happened[counted]
    bin_ = np.clip(np.searchsorted(BINS, predicted, side="right") - 1, 0, len(BINS) - 2)
    rows_, said, was = (
        np.bincount(bin_, weights=w, minlength=len(BINS) - 1) for w in (np.ones(len(bin_)), predicted, happened)
    )
    return [(s / n, w / n, int(n)) for s, w, n in zip(said, was, rows_, strict=True) if n]


def _origin(logging: Logging, share: float, action: Discrete) -> list[str]:
    if not share:
        return []
    which = "The logging probabilities are" if share == 1 else f"{share:.1%} of the logging probabilities are"
    said = [f"{which} estimated, not logged: every importance-weighted figure is only as good as this estimate."]
    if logging.floored:
        names = _listed([action.names[index] for index in logging.floored])
        said.append(f"Too rare to be estimated: {names}. They are taken to have a probability of {FLOOR:g}.")
    return said


def _certainty(logging: Logging, rows: Transitions) -> list[str]:
    choice = np.ones(len(rows), bool) if rows.action_mask is None else rows.action_mask.sum(axis=1) > 1
    certain = float((logging.probability >= CERTAIN)[choice].mean()) if choice.any() else 0.0
    if not certain:
        return []
    if certain == 1:
        return [
            "All decisions were deterministic (probability 1): importance sampling says nothing about any other "
            "policy. Let some decisions explore."
        ]
    return [
        f"{certain:.1%} of the decisions were deterministic (probability 1) although others were allowed: these rows "
        "say nothing about what else could have been done."
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
