"""What is known about a model before anybody meets it: the record that the gate judges and the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

AGENT, CHAMPION, LOGGED, RULES, FIXED, CLONE, BANDIT = (
    "agent", "champion", "logged", "rules", "best_fixed_action", "behavior_clone", "bandit",
)  # fmt: skip
"""Who is compared: the evaluated model, the champion, whoever decided in the logs, the application's
rules, the one action that is best for all, a clone of whoever decided, the agent that looks no step ahead."""


@dataclass(frozen=True)
class Figure:
    """An estimate with its interval.

    Attributes:
        value: the estimate.
        low: lower end of the two-sided interval at 95 % confidence.
        high: upper end.
        claims_coverage: whether the interval is meant to cover the true value: not where the estimator is
            biased by design.
    """

    value: float
    low: float
    high: float
    claims_coverage: bool = True


@dataclass(frozen=True)
class Support:
    """Whether the logs can say anything about a policy at all.

    Attributes:
        decisions: rows that were evaluated on.
        environments: independent units among them.
        ess: effective sample size of the weights, in decisions or episodes (Kish): (Σ w)² / Σ w².
        ess_environments: the same of the environments' summed weights.
        overlap: mean weight, the share of the target policy's choices that the logs can tell about; 1 is all.
        max_weight: the largest weight.
        tail: shape k of a generalised Pareto fit to the largest weights (PSIS, Vehtari et al. 2024);
            above 0.7 the estimate's error is not what its interval says. None: too few weights.
        deterministic: share of rows whose logging probability is 1: they say nothing about other actions.
        warnings: what is lacking, in words; empty if nothing is.
    """

    decisions: int
    environments: int
    ess: float
    ess_environments: float
    overlap: float
    max_weight: float
    tail: float | None
    deterministic: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Propensities:
    """Where the logging probabilities come from.

    Attributes:
        source: "logged", "estimated" (none were logged) or "mixed".
        estimated: share of rows whose probability was estimated.
        policies: share of rows by who decided; "unknown" for those that do not say.
        by_action: mean of 1[a] / μ(a|x) by action name; 1 where the probabilities are right and the action
            is always possible.
        reliability: of the estimated probabilities: (mean predicted, share observed, rows) per bin.
        warnings: what is wrong, in words.
    """

    source: str
    estimated: float
    policies: Mapping[str, float]
    by_action: Mapping[str, float]
    reliability: Sequence[tuple[float, float, int]] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Simulated:
    """Return in the application's simulated world; see `evaluation.simulated`."""

    mean: float
    low: float
    high: float
    best: float
    random: float
    score: float


@dataclass(frozen=True)
class Segment:
    """The policies within one part of the population.

    Attributes:
        feature: that parts it.
        part: a category, "true"/"false", or an interval of a number such as "[0, 3.5)".
        decisions: rows in it.
        values: by candidate, on the primary estimator.
        difference: agent - champion (or - logged where there is no champion), paired.
    """

    feature: str
    part: str
    decisions: int
    values: Mapping[str, Figure]
    difference: Figure


@dataclass(frozen=True)
class Evaluation:
    """Everything that one evaluation found out about one model.

    Attributes:
        model: policy version of the evaluated model, `<name>/<version>` or `m-<id>`.
        model_id: of the logged model.
        champion: policy version of the champion that it was compared with; None if there was none.
        champion_id: of its logged model.
        application: name.
        windows: `ds` of the windows whose holdout was evaluated on, in order.
        dataset_digest: of the trajectories.
        decisions: held-out rows.
        environments: held-out environments.
        gamma: discount of the values.
        primary: estimator that decides.
        unit: what a value is: "reward per decision" or "discounted return per episode".
        estimates: by candidate and estimator. Candidates are the constants of this module.
        differences: agent - candidate on the primary estimator, paired on the same decisions, by candidate.
        metrics: per outcome metric, its mean per decision (or discounted sum per episode) by candidate.
        metric_differences: per outcome metric, agent - champion, or - logged where there is no champion.
        segments: of chosen features.
        support: by candidate that importance weights were computed for.
        propensities: of the logging policy.
        fixed_action: name of the best fixed action.
        flips: share of decisions in which the greedy agent and the greedy champion differ; None without champion.
        kl: mean KL(agent ‖ champion) of the deployed policies, in nats; None without champion, inf where the
            champion never does what the agent does.
        drift: population stability index by feature, against the champion's training; None without champion.
        loads: whether the model loads and predicts in the environment of `loads_in`; None: not tried.
        loads_in: "fresh" (its own pinned requirements) or "process" (a new process of this environment).
        loads_message: what went wrong there.
        simulated: the greedy model's return in the simulated world, where there is one.
        champion_simulated: the greedy champion's.
        deployed: the model's as it will decide: exploring.
        refusals: why the logs cannot support a claim, in words; empty if they can.
    """

    model: str
    model_id: str
    champion: str | None
    champion_id: str | None
    application: str
    windows: tuple[str, ...]
    dataset_digest: str
    decisions: int
    environments: int
    gamma: float
    primary: str
    unit: str
    estimates: Mapping[str, Mapping[str, Figure]]
    differences: Mapping[str, Figure]
    metrics: Mapping[str, Mapping[str, Figure]]
    metric_differences: Mapping[str, Figure]
    segments: tuple[Segment, ...] = ()
    support: Mapping[str, Support] = field(default_factory=dict)
    propensities: Propensities | None = None
    fixed_action: str | None = None
    flips: float | None = None
    kl: float | None = None
    drift: Mapping[str, float] | None = None
    loads: bool | None = None
    loads_in: str | None = None
    loads_message: str = ""
    simulated: Simulated | None = None
    champion_simulated: Simulated | None = None
    deployed: Simulated | None = None
    refusals: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready data; `from_json` is the inverse. Infinite numbers become text."""
        return _finite(asdict(self))

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Evaluation:
        """The evaluation that `to_json` wrote.

        Raises:
            pydantic.ValidationError: it did not.
        """
        return _ADAPTER.validate_python(data)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


_ADAPTER = TypeAdapter(Evaluation)
