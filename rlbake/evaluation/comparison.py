"""Everybody who could decide, valued on the same held-out decisions.

Every policy sees the same rows, so that differences are taken pairwise, and every interval is clustered
by environment. An episode counts as far as it was logged, for everybody alike: what the logs cannot show is
not added from a model. What a policy's values are modelled with (fitted Q evaluation) is fitted on the training
rows and on the other folds of the held-out environments, never on the rows that it is asked about.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rlbake.dataset.split import hashes
from rlbake.dataset.transitions import Transitions, concatenated
from rlbake.errors import ConfigError, nearest
from rlbake.evaluation.candidates import Candidate, rows_of
from rlbake.evaluation.estimators import ONE_STEP, SEQUENTIAL, Estimator
from rlbake.evaluation.evaluation import AGENT, CHAMPION, LOGGED, Figure, Segment, Support
from rlbake.evaluation.intervals import Interval, linearised, paired
from rlbake.evaluation.q_model import QModel, fit_q
from rlbake.evaluation.rows import Rows
from rlbake.evaluation.support import support
from rlbake.features.profile import Profiles
from rlbake.specs import Action, Binary, Category, Feature, Number

PER_DECISION, PER_EPISODE = "reward per decision", "discounted return per episode"
PRIMARY = {PER_DECISION: "dr", PER_EPISODE: "sequential_sndr"}
"""The estimators that decide unless another is chosen: the least variance among those without bias by design."""

FOLDS = 2
MOST_PARTS = 12  # of a category that is told apart
QUARTERS = (0.25, 0.5, 0.75)

REWARD = ""  # the outcome that is not a metric

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Comparison:
    """What a comparison found; the fields are those of `Evaluation`."""

    primary: str
    unit: str
    environments: int
    estimates: Mapping[str, Mapping[str, Figure]]
    differences: Mapping[str, Figure]
    metrics: Mapping[str, Mapping[str, Figure]]
    metric_differences: Mapping[str, Figure]
    segments: tuple[Segment, ...]
    support: Mapping[str, Support]


def compare(
    training: Transitions,
    holdout: Transitions,
    candidates: Sequence[Candidate],
    *,
    propensity: np.ndarray,
    observation: Sequence[Feature],
    action: Action,
    metrics: Sequence[str] = (),
    segments: Sequence[str] | None = None,
    primary: str | None = None,
    profiles: Profiles | None = None,
    seed: int = 0,
) -> Comparison:
    """Values of all candidates on held-out decisions, and what the first one adds to each of the others.

    Args:
        training: one-step transitions of other environments, to fit value models on.
        holdout: N one-step transitions, with the metrics kept.
        candidates: the first is the agent.
        propensity: float64 [N], the logging policy's probability of the logged action.
        observation: the features.
        action: what is decided on.
        metrics: outcomes to compare beside the reward.
        segments: features to tell apart by; None: every Category and Binary.
        primary: estimator that decides; None: `PRIMARY`.
        profiles: of the features; None: those of the rows.
        seed: of the models.

    Raises:
        ConfigError: there is no such estimator.
        DataError: a candidate gives probability to an action that is not allowed.
    """
    study = _Study(training, holdout, candidates, propensity, observation, action, profiles, seed)
    decides = chosen_primary(primary, study.unit, study.estimators)
    everybody = [c.name for c in candidates]
    baseline = CHAMPION if CHAMPION in everybody else LOGGED
    whole = np.ones(len(holdout), bool)
    return Comparison(
        primary=decides,
        unit=study.unit,
        environments=study.rows(AGENT).units,
        estimates={
            **{name: {e: study.figure(name, e) for e in study.estimators if e != LOGGED} for name in everybody},
            LOGGED: {LOGGED: study.figure(LOGGED, LOGGED)},
        },
        differences={other: study.difference(other, decides, whole) for other in [*everybody[1:], LOGGED]},
        metrics={
            metric: {name: study.figure(name, decides, metric) for name in (AGENT, baseline)} for metric in metrics
        },
        metric_differences={metric: study.difference(baseline, decides, whole, metric) for metric in metrics},
        segments=tuple(_segments(study, decides, baseline, segments, observation)),
        support={name: study.support(name) for name in everybody},
    )


def chosen_primary(asked: str | None, unit: str, estimators: Mapping[str, Estimator]) -> str:
    """The estimator that decides.

    Raises:
        ConfigError: there is no such estimator of such values.
    """
    name = asked or PRIMARY[unit]
    if name not in estimators:
        raise ConfigError(f"primary {name!r}: there is no such estimator of the {unit}. {nearest(name, estimators)}")
    return name


def figure_of(interval: Interval, claims_coverage: bool) -> Figure:
    """An interval from few units of skewed weights does not cover what it says, whatever the estimator claims."""
    return Figure(interval.value, interval.low, interval.high, claims_coverage and not interval.skewed)


class _Study:
    """The held-out rows as each candidate sees them, each made once."""

    def __init__(
        self,
        training: Transitions,
        holdout: Transitions,
        candidates: Sequence[Candidate],
        propensity: np.ndarray,
        observation: Sequence[Feature],
        action: Action,
        profiles: Profiles | None,
        seed: int,
    ) -> None:
        self.holdout = holdout
        self._all = concatenated(training, holdout)
        self._fold = np.concatenate([np.full(len(training), -1), hashes(holdout.env_id) // 2**16 % FOLDS]).astype(int)
        self._candidates = {c.name: c for c in candidates}
        self._propensity = propensity
        self._observation, self._action, self._profiles, self._seed = observation, action, profiles, seed
        self._rows: dict[tuple[str, str], Rows] = {}
        self._models: dict[tuple[str, str], QModel] = {}
        self._sequential = bool(holdout.discount.any())
        self.unit = PER_EPISODE if self._sequential else PER_DECISION
        if self._sequential:
            horizon = int(self.rows(LOGGED).step.max()) + 1
            gamma = float(holdout.discount.max())
            self.estimators: dict[str, Estimator] = {
                name: make(gamma=gamma, horizon=horizon) for name, make in SEQUENTIAL.items()
            }
        else:
            self.estimators = {name: make() for name, make in ONE_STEP.items()}

    def figure(self, name: str, estimator: str, outcome: str = REWARD) -> Figure:
        """A candidate's value."""
        chosen = self._estimator(name, estimator)
        interval = linearised(chosen, chosen.components(self.rows(name, outcome)))
        return figure_of(interval, chosen.claims_coverage)

    def difference(self, other: str, estimator: str, among: np.ndarray, outcome: str = REWARD) -> Figure:
        """The agent's value minus another's, on the rows among which to look."""
        ours, theirs = self._estimator(AGENT, estimator), self._estimator(other, estimator)
        mine, others = (_part(self.rows(name, outcome), among) for name in (AGENT, other))
        interval = paired(ours, ours.components(mine), theirs, theirs.components(others))
        return figure_of(interval, ours.claims_coverage and theirs.claims_coverage)

    def value(self, name: str, estimator: str, among: np.ndarray) -> Figure:
        """A candidate's value on the rows among which to look."""
        chosen = self._estimator(name, estimator)
        interval = linearised(chosen, chosen.components(_part(self.rows(name), among)))
        return figure_of(interval, chosen.claims_coverage)

    def support(self, name: str) -> Support:
        return support(self.rows(name), sequential=self._sequential, propensity=self._propensity)

    def rows(self, name: str, outcome: str = REWARD) -> Rows:
        """The held-out rows as a candidate sees them."""
        if (name, outcome) not in self._rows:
            self._rows[name, outcome] = self._seen_by(name, outcome)
        return self._rows[name, outcome]

    def by_episode(self, values: np.ndarray) -> np.ndarray:
        """[N] values, each replaced by that of its episode's first row where a value is of an episode."""
        if not self._sequential:
            return values
        logged = self.rows(LOGGED)
        first = np.flatnonzero(logged.step == 0)
        return np.repeat(values[first], np.diff([*first, len(values)]))

    def _estimator(self, name: str, estimator: str) -> Estimator:
        return self.estimators[LOGGED if name == LOGGED else estimator]

    def _seen_by(self, name: str, outcome: str) -> Rows:
        given = self._with(self.holdout, outcome)
        if name == LOGGED:
            return rows_of(given, None, propensity=self._propensity)
        candidate = self._candidates[name]
        model = self._model(candidate, outcome)
        fold = self._fold[-len(given) :]
        return rows_of(given, candidate, propensity=self._propensity, model=model, fold=fold)

    def _model(self, candidate: Candidate, outcome: str) -> QModel:
        """One serves everybody where no step looks ahead."""
        key = (candidate.name if self._sequential else "", outcome)
        if key not in self._models:
            self._models[key] = fit_q(
                self._with(self._all, outcome),
                candidate.probabilities,
                observation=self._observation,
                action=self._action,
                folds=FOLDS,
                fold_of=self._fold,
                seed=self._seed,
                profiles=self._profiles,
            )
        return self._models[key]

    @staticmethod
    def _with(transitions: Transitions, outcome: str) -> Transitions:
        return transitions if outcome == REWARD else replace(transitions, reward=transitions.metrics[outcome])


def _segments(
    study: _Study, primary: str, baseline: str, chosen: Sequence[str] | None, observation: Sequence[Feature]
) -> list[Segment]:
    told_apart = [f for f in observation if (f.name in chosen if chosen is not None else not isinstance(f, Number))]
    found = []
    for feature in told_apart:
        for part, among in _parts(feature, study.by_episode(study.holdout.observation[feature.name])):
            if not among.any():
                continue
            values = {name: study.value(name, primary, among) for name in (AGENT, baseline)}
            difference = study.difference(baseline, primary, among)
            found.append(Segment(feature.name, part, int(among.sum()), values, difference))
    return found


def _parts(feature: Feature, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The most frequent categories, yes and no, or the quarters of a number; what is missing apart."""
    if isinstance(feature, Category):
        names, counts = np.unique(values.astype(str), return_counts=True)
        frequent = sorted(zip(-counts, names, strict=True))[:MOST_PARTS]
        return [(name or "missing", values == name) for name in sorted(name for _, name in frequent)]
    numbers = values.astype(np.float64)
    missing = np.isnan(numbers)
    absent = [("missing", missing)] if missing.any() else []
    if isinstance(feature, Binary):
        return [("false", numbers == 0), ("true", numbers == 1), *absent]
    edges = np.unique(np.quantile(numbers[~missing], QUARTERS)) if not missing.all() else np.array([])
    bounds = [-np.inf, *edges, np.inf]
    parts = [
        (f"[{low:.4g}, {high:.4g})", (numbers >= low) & (numbers < high)) for low, high in itertools.pairwise(bounds)
    ]
    return [*parts, *absent]


def _part(rows: Rows, among: np.ndarray) -> Rows:
    """The rows among which to look; whole episodes where `among` is the same for all rows of one."""
    if among.all():
        return rows
    columns = {f: getattr(rows, f)[among] for f in ("unit", "episode", "step", "reward", "weight", "q", "v", "tail")}
    return Rows(**columns, units=rows.units)
