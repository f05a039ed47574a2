"""Rules about what a challenger earns."""

from __future__ import annotations

from rlbake.errors import nearest
from rlbake.evaluation.evaluation import AGENT
from rlbake.registry.config import Guardrail
from rlbake.registry.contest import AGAIN, Contest, RuleResult


def better(contest: Contest) -> RuleResult:
    """low(challenger - champion) ≥ margin on the primary estimator.

    Without a champion the baseline takes its place. Where the simulated world decides:
    low(challenger) ≥ low(champion) + margin, or ≥ chance + margin without a champion.
    """
    if contest.simulated:
        return _better_in_world(contest)
    found, margin = contest.evaluation, contest.config.margin
    if contest.primary != found.primary:
        said = (
            f"{contest.who} was compared by {found.primary}, and the gate asks for {contest.primary}. {AGAIN} with the "
            "same gate."
        )
        return RuleResult("better", False, contest.untold or said)
    difference = found.differences.get(contest.opponent)
    if difference is None:
        hint = nearest(contest.opponent, found.differences) if found.differences else ""
        said = f"{contest.who} was not compared with {contest.against}. {hint} {AGAIN}."
        return RuleResult("better", False, contest.untold or " ".join(said.split()))
    passed = difference.low >= margin
    said = (
        f"{contest.who} earns {difference.value:+.4g} {found.unit} compared with {contest.against}, at least "
        f"{difference.low:+.4g} with 95 % confidence ({contest.primary}), {'not ' if passed else ''}below the margin "
        f"{margin:g}."
    )
    return RuleResult("better", passed, said, {"value": difference.value, "low": difference.low, "margin": margin})


def guardrails(contest: Contest) -> RuleResult:
    """Every metric's whole interval keeps to its limit."""
    rails = contest.config.guardrails
    if not rails:
        said = "the simulated world decides, and no guardrail is set." if contest.simulated else "no guardrail is set."
        return RuleResult("guardrails", True, said)
    kept, sentences, numbers = zip(*(_guardrail(contest, *item) for item in sorted(rails.items())), strict=True)
    broken = [sentence for ok, sentence in zip(kept, sentences, strict=True) if not ok]
    merged = {key: number for found in numbers for key, number in found.items()}
    return RuleResult("guardrails", not broken, " ".join(broken or sentences), merged)


def simulation(contest: Contest) -> RuleResult:
    """mean(challenger) ≥ low(champion) in the simulated world; ≥ chance without a champion."""
    name, found, champion = "simulation", contest.evaluation, contest.evaluation.champion_simulated
    if found.simulated is None and champion is None and not contest.simulated:
        return RuleResult(name, True, f"{found.application} has no simulated world.")
    if found.simulated is None or (contest.champion and champion is None):
        return RuleResult(name, False, _not_played(contest))
    mean = found.simulated.mean
    limit = champion.low if champion else found.simulated.random
    bar = "the champion's interval, which starts at" if champion else "chance,"
    passed = mean >= limit
    said = (
        f"{contest.who} returns {mean:.4g} in the simulated world, {'not ' if passed else ''}below {bar} {limit:.4g}."
    )
    return RuleResult(name, passed, said, {"mean": mean, "limit": limit})


def _better_in_world(contest: Contest) -> RuleResult:
    found, champion, margin = contest.evaluation.simulated, contest.evaluation.champion_simulated, contest.config.margin
    if found is None or (contest.champion and champion is None):
        return RuleResult("better", False, _not_played(contest))
    bar = champion.low if champion else found.random
    than = f"that of {contest.against}" if champion else "chance"
    passed = found.low >= bar + margin
    said = (
        f"{contest.who} returns {found.mean:.4g} in the simulated world, and its lower bound {found.low:.4g} is "
        f"{'not ' if passed else ''}below {than} plus the margin, {bar:.4g} + {margin:.4g}."
    )
    return RuleResult("better", passed, said, {"low": found.low, "bar": bar, "margin": margin})


def _not_played(contest: Contest) -> str:
    who = contest.who if contest.evaluation.simulated is None else contest.against
    if contest.untold:
        return f"{who} has not been played in a simulated world, and {contest.untold}"
    return (
        f"{who} has not been played in the simulated world. {AGAIN}; if {contest.evaluation.application} has no "
        "world(), let an estimator decide."
    )


def _guardrail(contest: Contest, metric: str, rail: Guardrail) -> tuple[bool, str, dict[str, float]]:
    found = contest.evaluation
    figures = (
        found.metric_differences
        if rail.of == "difference"
        else {name: of[AGENT] for name, of in found.metrics.items() if AGENT in of}
    )
    figure = figures.get(metric)
    if figure is None:
        if not figures:
            said = contest.untold or f"nothing is known of any metric. {AGAIN}."
            return False, f"guardrail {metric}: {said}", {}
        hint = nearest(metric, figures)
        return False, f"guardrail {metric}: there is no such metric. {hint}", {}
    least = rail.better == "higher"
    bound = figure.low if least else figure.high
    kept = bound >= rail.limit if least else bound <= rail.limit
    of = f"of {contest.who}" if rail.of == "value" else f"compared with {_compared_with(contest)}"
    side = ("lower", "below") if least else ("upper", "above")
    said = (
        f"{metric} {of} is {figure.value:.4g}, and its {side[0]} bound {bound:.4g} is "
        f"{'not ' if kept else ''}{side[1]} the limit {rail.limit:g}."
    )
    return kept, said, {metric: bound, f"{metric}/limit": rail.limit}


def _compared_with(contest: Contest) -> str:
    return contest.against if contest.champion else "the logs"
