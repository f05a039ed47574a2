"""Rules about the evidence itself: whether it is there, recent, and can be believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rlbake.evaluation.evaluation import AGENT, CHAMPION, Support
from rlbake.registry.contest import AGAIN, Contest, RuleResult, not_needed


def evidence(contest: Contest) -> RuleResult:
    """There is an evaluation of this model, made against today's champion."""
    found, champion = contest.evaluation, contest.champion
    if found.model_id != contest.challenger.model_id:
        said = (
            f"the evaluation is of {found.model_id}, not of {contest.who}. {AGAIN} -P model={contest.challenger.uri}."
        )
        return RuleResult("evidence", False, said)
    if found.champion_id != (champion.model_id if champion else None):
        then, now = found.champion or "no champion", champion.policy_version if champion else "none"
        said = f"{contest.who} was compared with {then}, and the champion is {now} now. {AGAIN} -P model="
        return RuleResult("evidence", False, f"{said}{contest.challenger.uri}.")
    said = (
        f"{contest.who} was evaluated on {found.decisions:,} decisions of {found.environments:,} environments, against "
        f"{found.champion or 'no champion'}."
    )
    return RuleResult("evidence", True, said, {"decisions": found.decisions, "environments": found.environments})


def support(contest: Contest) -> RuleResult:
    """The logs can tell what the challenger, and the champion, would have earned."""
    name, found = "support", contest.evaluation
    if contest.simulated:
        return not_needed(name)
    if contest.untold:
        return RuleResult(name, False, contest.untold)
    known = _compared(contest)
    if AGENT not in known:
        return RuleResult(name, False, f"nothing is known about the support of {contest.who}. {AGAIN}.")
    tails = {who: s.tail for who, s in known.items() if s.tail is not None}
    heavy = {who: tail for who, tail in tails.items() if not tail <= contest.config.max_tail}
    if heavy:
        who, tail = max(heavy.items(), key=lambda item: item[1])
        said = (
            f"few importance weights of the {who} decide everything: their tail has shape {tail:.3g}, above "
            f"{contest.config.max_tail:g}, so that no interval can be believed. More data helps, or an agent that "
            "stays closer to the logs."
        )
        return RuleResult(name, False, said, tails)
    difference = found.differences.get(contest.opponent)
    if difference is not None and not difference.claims_coverage:
        said = f"the interval of {contest.primary} does not claim to hold the true value: choose another primary."
        return RuleResult(name, False, said)
    doubts = [f"Of the {who}: {warning}" for who, s in known.items() for warning in s.warnings]
    if not doubts:
        return RuleResult(name, True, f"the logs can tell what {contest.who} earns.", tails)
    allowed = contest.config.allow_doubts
    verdict = "are trusted all the same (allow_doubts)" if allowed else f"cannot tell what {contest.who} earns"
    return RuleResult(name, allowed, f"the logs {verdict}. {' '.join(doubts)}", tails)


def propensities(contest: Contest) -> RuleResult:
    """Logged, unless estimated ones will do, and not all 1."""
    name, found, config = "propensities", contest.evaluation.propensities, contest.config
    if contest.simulated:
        return not_needed(name)
    agent = contest.evaluation.support.get(AGENT)
    if found is None or agent is None:
        said = contest.untold or f"nothing is known about the logged probabilities. {AGAIN}."
        return RuleResult(name, False, said)
    numbers = {"estimated": found.estimated, "deterministic": agent.deterministic}
    if not agent.deterministic <= config.max_deterministic:
        said = (
            f"{agent.deterministic:.1%} of the logged decisions were certain (probability 1), more than "
            f"{config.max_deterministic:.1%}: they say nothing about other actions. Log with some exploration."
        )
        return RuleResult(name, False, said, numbers)
    if not found.estimated <= 0 and not config.allow_estimated:
        said = (
            f"{found.estimated:.1%} of the logging probabilities were not logged but estimated. Log them, or set "
            "allow_estimated: true in the gate."
        )
        return RuleResult(name, False, said, numbers)
    said = (
        f"{1 - found.estimated:.1%} of the probabilities were logged, and {agent.deterministic:.1%} of the decisions "
        "were certain."
    )
    return RuleResult(name, True, said, numbers)


def environments(contest: Contest) -> RuleResult:
    """Enough independent environments were held out for an interval."""
    name, held, least = "environments", contest.evaluation.environments, contest.config.min_environments
    if contest.simulated:
        return not_needed(name)
    if not held and contest.untold:
        return RuleResult(name, False, contest.untold)
    passed = held >= least
    said = f"{held:,} environments were held out, {'at least' if passed else 'fewer than'} {least:,}."
    return RuleResult(name, passed, said, {"environments": held, "min_environments": least})


def ess(contest: Contest) -> RuleResult:
    """min(ESS of challenger, of champion) ≥ limit."""
    return _at_least("ess", "effective sample size", contest, lambda s: s.ess, contest.config.min_ess)


def overlap(contest: Contest) -> RuleResult:
    """min(mean weight of challenger, of champion) ≥ limit."""
    return _at_least("overlap", "overlap with the logs", contest, lambda s: s.overlap, contest.config.min_overlap)


def fresh(contest: Contest) -> RuleResult:
    """The last window evaluated on is no more than so many periods older than the newest."""
    windows, limit = contest.evaluation.windows, contest.config.max_age
    if not windows or contest.age is None:
        return RuleResult("fresh", False, f"it is not known which windows {contest.who} was evaluated on. {AGAIN}.")
    passed = contest.age <= limit
    said = (
        f"the last window evaluated on, {windows[-1]}, is {contest.age} periods older than the newest, where "
        f"{limit} are allowed.{'' if passed else f' {AGAIN}.'}"
    )
    return RuleResult("fresh", passed, said, {"age": contest.age, "max_age": limit})


def _compared(contest: Contest) -> Mapping[str, Support]:
    """What is known about the weights of the challenger, and of the champion that it is compared with."""
    wanted = (AGENT, CHAMPION) if contest.champion else (AGENT,)
    return {who: contest.evaluation.support[who] for who in wanted if who in contest.evaluation.support}


def _at_least(name: str, what: str, contest: Contest, number: Callable[[Support], float], limit: float) -> RuleResult:
    """The smaller of the two numbers, the challenger's and the champion's, against a limit."""
    if contest.simulated:
        return not_needed(name)
    found = {who: number(s) for who, s in _compared(contest).items()}
    if AGENT not in found:
        return RuleResult(name, False, contest.untold or f"the {what} of {contest.who} is not known. {AGAIN}.")
    who = min(found, key=lambda candidate: found[candidate])
    passed = found[who] >= limit
    said = f"the {what} of the {who} is {found[who]:.4g}, {'at least' if passed else 'below'} {limit:g}."
    return RuleResult(name, passed, said, found)
