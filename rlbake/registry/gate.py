"""What a challenger must show before it may become champion.

Each rule looks at the same evidence and answers for itself; a new kind of evidence is a new
rule in `RULES`. A rule that lacks evidence fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import StorageError
from rlbake.tracking.references import ResolvedModel


@dataclass(frozen=True)
class Evidence:
    """The latest metrics that are linked to a model, by name.

    Attributes:
        who: the model, as shown in messages.
        metrics: such as `sim/low`, the lower end of the 95 % interval of the mean return.
    """

    who: str
    metrics: Mapping[str, float]

    def has(self, *names: str) -> bool:
        return all(name in self.metrics for name in names)


@dataclass(frozen=True)
class Contest:
    """A challenger against the champion, if there is one.

    Attributes:
        margin: what the challenger must be better by, in the unit of the return.
    """

    challenger: Evidence
    champion: Evidence | None
    margin: float


@dataclass(frozen=True)
class RuleResult:
    """What one rule found.

    Attributes:
        name: of the rule; its metric is `gate/<name>`.
        passed: whether the challenger passes it.
        message: one sentence with the numbers that decided.
        numbers: those numbers.
    """

    name: str
    passed: bool
    message: str
    numbers: Mapping[str, float] = field(default_factory=dict)


def read_evidence(model: ResolvedModel) -> Evidence:
    """The most recent value of every metric that was logged for the model, by whichever run.

    Raises:
        StorageError: the tracking store does not answer.
    """
    try:
        metrics = MlflowClient().get_logged_model(model.model_id).metrics or []
    except MlflowException as error:
        raise StorageError(f"the metrics of {model.policy_version} cannot be read: {error}") from error
    latest = {m.key: m.value for m in sorted(metrics, key=lambda m: (m.timestamp, m.step))}
    return Evidence(model.policy_version, latest)


def evidence(contest: Contest) -> RuleResult:
    """The challenger has been evaluated."""
    found = contest.challenger
    if not found.has(v.SIM_MEAN, v.SIM_LOW, v.SIM_RANDOM):
        return RuleResult("evidence", False, f"{found.who} has no simulated return: evaluate it first.")
    numbers = {name: found.metrics[name] for name in (v.SIM_MEAN, v.SIM_LOW, v.SIM_RANDOM)}
    said = f"{found.who} returns {numbers[v.SIM_MEAN]:.4g}, at least {numbers[v.SIM_LOW]:.4g} with 95 % confidence."
    return RuleResult("evidence", True, said, numbers)


def better_than_random(contest: Contest) -> RuleResult:
    """low(challenger) ≥ E[return of uniformly random actions]."""
    name, found = "better_than_random", contest.challenger
    if not found.has(v.SIM_LOW, v.SIM_RANDOM):
        return RuleResult(name, False, f"{found.who} cannot be compared with chance: it has no simulated return.")
    low, chance = found.metrics[v.SIM_LOW], found.metrics[v.SIM_RANDOM]
    passed = low >= chance
    said = f"{found.who}'s lower bound {low:.4g} is {'not ' if passed else ''}below chance, {chance:.4g}."
    return RuleResult(name, passed, said, {"low": low, "random": chance})


def not_worse_than_champion(contest: Contest) -> RuleResult:
    """low(challenger) ≥ low(champion) + margin; passed when there is no champion yet."""
    name, found, champion = "not_worse_than_champion", contest.challenger, contest.champion
    if champion is None:
        return RuleResult(name, True, "there is no champion yet.")
    lacking = [who.who for who in (found, champion) if not who.has(v.SIM_LOW)]
    if lacking:
        return RuleResult(
            name,
            False,
            f"{found.who} cannot be compared with the champion {champion.who}: "
            f"no simulated return of {' or '.join(lacking)}. Evaluate both.",
        )
    low, bar = found.metrics[v.SIM_LOW], champion.metrics[v.SIM_LOW] + contest.margin
    passed = low >= bar
    said = (
        f"{found.who}'s lower bound {low:.4g} is {'not ' if passed else ''}below that of the champion "
        f"{champion.who} plus the margin, {champion.metrics[v.SIM_LOW]:.4g} + {contest.margin:.4g}."
    )
    return RuleResult(name, passed, said, {"low": low, "champion_low": bar - contest.margin, "margin": contest.margin})


Rule = Callable[[Contest], RuleResult]

RULES: tuple[Rule, ...] = (evidence, better_than_random, not_worse_than_champion)


def judge(contest: Contest) -> tuple[RuleResult, ...]:
    """The answer of every rule."""
    return tuple(rule(contest) for rule in RULES)
