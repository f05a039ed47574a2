"""Who is judged, by which rules, on what evidence; and what a rule answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rlbake.evaluation.evaluation import CHAMPION, Evaluation
from rlbake.registry.config import SIMULATED, GateConfig
from rlbake.tracking.references import ResolvedModel


@dataclass(frozen=True)
class Contest:
    """A challenger against the champion, if there is one.

    Attributes:
        challenger: the model that wants to become champion.
        champion: the champion of today.
        evaluation: of the challenger.
        config: what the rules demand.
        age: periods from the last window evaluated on to the newest one; None: not known.
    """

    challenger: ResolvedModel
    champion: ResolvedModel | None
    evaluation: Evaluation
    config: GateConfig
    age: int | None

    @property
    def who(self) -> str:
        return self.challenger.policy_version

    @property
    def opponent(self) -> str:
        """The candidate of the evaluation that the challenger must beat."""
        return CHAMPION if self.champion else self.config.baseline

    @property
    def against(self) -> str:
        """The opponent, as shown in messages."""
        return f"the champion {self.champion.policy_version}" if self.champion else f"{self.config.baseline} decisions"

    @property
    def primary(self) -> str:
        """The estimator that decides."""
        return self.config.primary or self.evaluation.primary

    @property
    def simulated(self) -> bool:
        """Whether the simulated world decides, and estimates from logs are not needed."""
        return self.primary == SIMULATED

    @property
    def untold(self) -> str:
        """Why the logs cannot tell what the challenger earns, in the evaluation's own words; empty if they can."""
        refusals = " ".join(self.evaluation.refusals)
        return refusals and f"the logs cannot tell what {self.who} earns: {refusals}"


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


Rule = Callable[[Contest], RuleResult]

AGAIN = "Evaluate again: mlflow run . -e evaluate"


def not_needed(name: str) -> RuleResult:
    """Of a rule about estimates from logs, where none decides."""
    return RuleResult(name, True, f"{name} is not needed: the simulated world decides.")
