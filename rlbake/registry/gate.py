"""What a challenger must show before it may become champion.

Each rule looks at the same evidence and answers for itself; a new kind of evidence is a new rule in
`RULES`. A rule that lacks evidence fails.
"""

from __future__ import annotations

from rlbake.evaluation.evaluation import Evaluation
from rlbake.registry import rules_of_risk, rules_of_trust, rules_of_value
from rlbake.registry.config import GateConfig
from rlbake.registry.contest import Contest, Rule, RuleResult
from rlbake.tracking.references import ResolvedModel

RULES: tuple[tuple[str, Rule], ...] = (
    ("evidence", rules_of_trust.evidence),
    ("support", rules_of_trust.support),
    ("propensities", rules_of_trust.propensities),
    ("environments", rules_of_trust.environments),
    ("ess", rules_of_trust.ess),
    ("overlap", rules_of_trust.overlap),
    ("fresh", rules_of_trust.fresh),
    ("better", rules_of_value.better),
    ("guardrails", rules_of_value.guardrails),
    ("simulation", rules_of_value.simulation),
    ("drift", rules_of_risk.drift),
    ("environment", rules_of_risk.environment),
    ("change", rules_of_risk.change),
)
"""In the order in which they are told."""


def judge(
    challenger: ResolvedModel,
    champion: ResolvedModel | None,
    evaluation: Evaluation | None,
    config: GateConfig,
    age: int | None,
) -> tuple[RuleResult, ...]:
    """The answer of every rule; see `Contest` for the arguments. Without an evaluation every rule fails."""
    if evaluation is None:
        who = challenger.policy_version
        missing = f"{who} has not been evaluated: run mlflow run . -e evaluate -P model={challenger.uri}."
        return tuple(RuleResult(name, False, missing) for name, _ in RULES)
    contest = Contest(challenger, champion, evaluation, config, age)
    return tuple(rule(contest) for _, rule in RULES)


def refusals(results: tuple[RuleResult, ...]) -> tuple[str, ...]:
    """Every reason why the gate refuses, each once; empty if it does not."""
    return tuple(dict.fromkeys(result.message for result in results if not result.passed))
