"""What the logs allow to be said about an agent, and no more.

An interval that holds 0 is no claim. Neither is one of an estimator that is biased by design, nor one
that rests on logs which hardly know the policy: see `reasons`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from rlbake.evaluation.evaluation import (
    AGENT,
    CHAMPION,
    LOGGED,
    Evaluation,
    Figure,
)
from rlbake.evaluation.words import MINUS, amount, candidate, interval, printable, relative, share, signed
from rlbake.quality.words import number

BETTER, WORSE, SAME, UNCLEAR = "better", "worse", "the same", "cannot tell"

HEAVY_TAIL = 0.7
"""Shape of the weights' tail above which an interval promises too much (Vehtari et al. 2024, PSIS)."""

MISSES = 0.05
"""Share of intervals at 95 % confidence that miss the true value."""


@dataclass(frozen=True)
class Headline:
    """The answer to whether the agent is better than what runs today.

    Attributes:
        outcome: `BETTER`, `WORSE`, `SAME` or `UNCLEAR`.
        sentence: that says so.
        details: sentences about how much, and how that can be told.
        reasons: why it cannot be told from these logs; empty if it can.
    """

    outcome: str
    sentence: str
    details: tuple[str, ...]
    reasons: tuple[str, ...]


def reference(evaluation: Evaluation) -> str:
    """The candidate that runs today: the champion, or whoever decided in the logs."""
    return CHAMPION if evaluation.champion or CHAMPION in evaluation.differences else LOGGED


def value(evaluation: Evaluation, name: str) -> Figure | None:
    """A candidate's value on the primary estimator; what was logged needs none."""
    found = evaluation.estimates.get(name, {})
    return found.get(evaluation.primary, found.get(LOGGED))


def outcome(difference: Figure | None) -> str:
    """What an interval supports: `BETTER` or `WORSE` only if 0 is outside of it."""
    if difference is None or not difference.claims_coverage or math.isnan(difference.value):
        return UNCLEAR
    if difference.low == difference.high == 0:
        return SAME
    if difference.low > 0 and not math.isnan(difference.high):
        return BETTER
    return WORSE if difference.high < 0 and not math.isnan(difference.low) else UNCLEAR


def reasons(evaluation: Evaluation, name: str) -> tuple[str, ...]:
    """Why the logs cannot tell the agent from a candidate; empty if they can."""
    found = list(unsupported(evaluation, AGENT, name))
    difference = evaluation.differences.get(name)
    if difference is None:
        found.append(f"The agent was not compared with {candidate(name, evaluation)}.")
    elif any(map(math.isnan, (difference.value, difference.low, difference.high))):
        found.append(f"There is no estimate of the difference to {candidate(name, evaluation)}.")
    elif not difference.claims_coverage:
        found.append(
            f"The estimator {printable(evaluation.primary, 40)} is biased by design: its interval is not meant to hold "
            "the true value."
        )
    return tuple(dict.fromkeys(found))


def unsupported(evaluation: Evaluation, *names: str) -> tuple[str, ...]:
    """Why the logs know too little about candidates; empty if they know enough."""
    found = [*evaluation.refusals]
    if AGENT in names and AGENT not in evaluation.support:
        found.append("Nothing is known about how well the logs cover what the agent would do.")
    for who in names:
        support = evaluation.support.get(who)
        if support is None:
            continue
        found += support.warnings
        if not support.warnings and support.tail is not None and not support.tail <= HEAVY_TAIL:
            found.append(
                f"Few decisions decide everything about {candidate(who, evaluation)}: the shape of their weights' "
                f"tail is {amount(support.tail)}, where {number(HEAVY_TAIL)} is the most that can be trusted."
            )
    return tuple(dict.fromkeys(printable(reason) for reason in found))


def headline(evaluation: Evaluation) -> Headline:
    """Whether the agent is better than what runs today."""
    name = reference(evaluation)
    today, difference, why = candidate(name, evaluation), evaluation.differences.get(name), reasons(evaluation, name)
    if why or difference is None:
        said = f"It cannot be told from the logs whether the agent is better than {today}."
        return Headline(UNCLEAR, said, (), why)
    found, within = outcome(difference), interval(difference, difference=True)
    told = f"The estimate is {signed(difference)} {evaluation.unit} (95 % interval {within}){_part(evaluation, name)}."
    cautions = _cautions(evaluation)
    if found == SAME:
        return Headline(SAME, f"No difference: the agent earns exactly what {today} earns.", cautions, ())
    if found == UNCLEAR:
        details = (
            told,
            "The interval holds 0: the agent may be better or worse. That is not proof that they are equal; more "
            "held-out decisions would narrow the interval.",
        )
        return Headline(UNCLEAR, f"The agent and {today} cannot be told apart.", (*details, *cautions), ())
    clear = "The interval excludes 0, and the logs know these decisions well enough: this can be told from the logs."
    return Headline(found, f"The agent is {found} than {today}.", (told, clear, *cautions), ())


def _part(evaluation: Evaluation, name: str) -> str:
    part = relative(evaluation.differences[name], value(evaluation, name))
    if not part.startswith(("+", MINUS)):
        return ""
    return f", about {part[1:]} {'more' if part[0] == '+' else 'less'} than {candidate(name, evaluation)} earns"


def _cautions(evaluation: Evaluation) -> tuple[str, ...]:
    """What no interval knows about: probabilities that were not logged."""
    found = evaluation.propensities
    if found is None:
        return ("A caution: nothing is known about where the probabilities of the logged decisions come from.",)
    if found.warnings:
        return tuple(f"A caution: {printable(warning)}" for warning in found.warnings)
    if found.estimated <= 0:
        return ()
    return (
        f"A caution: {share(found.estimated)} of the probabilities of the logged decisions were estimated, not "
        "logged. The interval does not know about that error.",
    )


def widened(difference: Figure, comparisons: int) -> Figure:
    """The interval at 1 - 0.05 / comparisons, by Bonferroni's correction of a normal interval."""
    factor = stats.norm.isf(MISSES / 2 / max(comparisons, 1)) / stats.norm.isf(MISSES / 2)
    low = difference.value - factor * (difference.value - difference.low)
    high = difference.value + factor * (difference.high - difference.value)
    return Figure(difference.value, low, high, difference.claims_coverage)
