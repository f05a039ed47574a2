"""The same question, asked of logs that do not fit in memory: Spark adds up what the estimates are made of.

Only those are compared whose decisions travel to the executors: the model, the champion, and whoever decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlbake.dataset.snapshot import Snapshot
from rlbake.dataset.transitions import Transitions
from rlbake.evaluation.candidates import saved
from rlbake.evaluation.comparison import PER_DECISION, PER_EPISODE, chosen_primary, figure_of
from rlbake.evaluation.estimators import ONE_STEP, SEQUENTIAL, Estimator
from rlbake.evaluation.evaluation import AGENT, CHAMPION, LOGGED, Figure, Propensities
from rlbake.evaluation.intervals import linearised, paired
from rlbake.evaluation.propensity import LOGGED as ALL_LOGGED
from rlbake.evaluation.q_model import fit_q
from rlbake.features.profile import Profiles
from rlbake.period.period import Period
from rlbake.policies.exploration import Exploration
from rlbake.registry.versions import ResolvedModel, policy_dir
from rlbake.scoring.evaluation import Sums, evaluate_on_spark, longest_episode, pack_values
from rlbake.scoring.holdout import only_held_out
from rlbake.scoring.shipment import pack
from rlbake.scoring.worker import Policy
from rlbake.specs import Continuous, Discrete, MultiDiscrete
from rlbake.warehouse.session import spark_session
from rlbake.warehouse.table import Table


def off_policy_on_spark(
    period: Period,
    snapshot: Snapshot,
    models: Mapping[str, ResolvedModel],
    training: Transitions,
    *,
    share: float,
    primary: str | None,
    profiles: Profiles | None,
) -> dict[str, Any]:
    """What the held-out rows say about the agent, the champion and the logs; fields of `OffPolicy`.

    Args:
        models: the agent, and the champion if there is one, by the names of candidates.
        training: some of the training rows, which values are modelled from. Metrics have no model.
        share: of the environments that training held out.
        primary: estimator that decides; None: the comparison's choice.

    Raises:
        ConfigError: there is no such estimator.
        DataError: a logged decision has no probability, or there is none.
    """
    application = period.application
    action = application.action
    assert not isinstance(action, Continuous)  # `off_policy` has refused them
    table = Table(snapshot.uri)
    held = only_held_out(table.read(spark_session(), snapshot.version, list(snapshot.windows)), share)
    sequential = bool(application.gamma)
    unit = PER_EPISODE if sequential else PER_DECISION
    estimators = _estimators(application.gamma, longest_episode(held) if sequential else 1)
    decides = chosen_primary(primary, unit, estimators)
    policies = {
        name: pack(policy_dir(m), observation=application.observation, action=action, exploration=Exploration())
        for name, m in models.items()
    }

    def summed(reward: Mapping[str, float], values: Mapping[str, Policy]) -> dict[str, Sums]:
        return evaluate_on_spark(
            held,
            policies=policies,
            values=values,
            estimators=estimators,
            sequential=sequential,
            observation=application.observation,
            action=action,
            reward=reward,
        )

    everybody = summed(application.reward, _values(period, models, training, action, profiles))
    baseline = CHAMPION if CHAMPION in models else LOGGED
    outcomes = {metric: summed({metric: 1.0}, {}) for metric in application.metrics}
    support = {name: sums.moments.support() for name, sums in everybody.items()}
    found = _Compared(estimators, decides)
    return {
        "decisions": support[AGENT].decisions,
        "environments": support[AGENT].environments,
        "primary": decides,
        "unit": unit,
        "estimates": {
            **{name: {e: found.value(everybody, name, e) for e in estimators if e != LOGGED} for name in models},
            LOGGED: {LOGGED: found.value(everybody, LOGGED, LOGGED)},
        },
        "differences": {other: found.difference(everybody, other) for other in [*list(models)[1:], LOGGED]},
        "metrics": {
            metric: {name: found.value(sums, name, decides) for name in (AGENT, baseline)}
            for metric, sums in outcomes.items()
        },
        "metric_differences": {metric: found.difference(sums, baseline) for metric, sums in outcomes.items()},
        "support": support,
        "propensities": Propensities(ALL_LOGGED, 0.0, {}, {}),
    }


class _Compared:
    """Figures from sums. What was logged is a sum of any policy's: it weighs nothing."""

    def __init__(self, estimators: Mapping[str, Estimator], primary: str) -> None:
        self._estimators, self._primary = estimators, primary

    def value(self, everybody: Mapping[str, Sums], name: str, estimator: str) -> Figure:
        chosen, sums = self._of(everybody, name, estimator)
        return figure_of(linearised(chosen, sums), chosen.claims_coverage)

    def difference(self, everybody: Mapping[str, Sums], other: str) -> Figure:
        """The agent's value minus another's."""
        ours, mine = self._of(everybody, AGENT, self._primary)
        theirs, others = self._of(everybody, other, self._primary)
        return figure_of(paired(ours, mine, theirs, others), ours.claims_coverage and theirs.claims_coverage)

    def _of(self, everybody: Mapping[str, Sums], name: str, estimator: str) -> tuple[Estimator, np.ndarray]:
        who, by = (AGENT, LOGGED) if name == LOGGED else (name, estimator)
        return self._estimators[by], everybody[who].components[by]


def _estimators(gamma: float, horizon: int) -> dict[str, Estimator]:
    if gamma:
        return {name: make(gamma=gamma, horizon=horizon) for name, make in SEQUENTIAL.items()}
    return {name: make() for name, make in ONE_STEP.items()}


def _values(
    period: Period,
    models: Mapping[str, ResolvedModel],
    training: Transitions,
    action: Discrete | MultiDiscrete,
    profiles: Profiles | None,
) -> dict[str, Policy]:
    """A model of each policy's values; one serves all where no step looks ahead."""
    application = period.application
    packed: dict[str, Policy] = {}
    for name, model in models.items():
        if packed and not application.gamma:
            packed[name] = packed[AGENT]
            continue
        fitted = fit_q(
            training,
            saved(name, policy_dir(model)).probabilities,
            observation=application.observation,
            action=action,
            folds=1,
            fold_of=np.full(len(training), -1),
            seed=period.seed,
            profiles=profiles,
        )
        packed[name] = pack_values(fitted, observation=application.observation, action=action)
    return packed
