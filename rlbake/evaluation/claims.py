"""What the logs allow to be said about an agent, and no more.

An interval that holds 0 is no claim. Neither is one of an estimator that is biased by design, nor one
that rests on logs which hardly know the policy: see `reasons`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from rlbake.evaluation.evaluation import (
    AGENT,
    BANDIT,
    CHAMPION,
    CLONE,
    FIXED,
    LOGGED,
    RULES,
    Evaluation,
    Figure,
    Segment,
)
from rlbake.evaluation.words import amount, candidate, interval, label, ordered, printable, relative, signed
from rlbake.quality.words import counted, listed, number, rounded

BETTER, WORSE, SAME, UNCLEAR = "better", "worse", "the same", "cannot tell"

HEAVY_TAIL = 0.7
"""Shape of the weights' tail above which an interval promises too much (Vehtari et al. 2024, PSIS)."""

MISSES = 0.05
"""Share of intervals at 95 % confidence that miss the true value."""

_SIMPLER = (RULES, FIXED, CLONE, BANDIT)

_ALONE = {
    LOGGED: ("Better than what was logged", "Not measurably different from what was logged", "Worse than the logs"),
    CHAMPION: ("Better than the champion", "Not measurably different from the champion", "Worse than the champion"),
    RULES: ("Better than the rules", "Learning earns nothing measurable over the rules", "Worse than the rules"),
    FIXED: ("Personalisation pays", "Personalisation earns nothing measurable", "Personalisation loses"),
    CLONE: (
        "The agent does better than imitate",
        "The agent earns nothing measurable over an imitation of whoever decided",
        "An imitation of whoever decided is better",
    ),
    BANDIT: ("Looking ahead pays", "Looking ahead earns nothing measurable", "Looking ahead loses"),
}


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
    for who in names:
        support = evaluation.support.get(who)
        if support is None:
            continue
        found += support.warnings
        if not support.warnings and support.tail is not None and not support.tail <= HEAVY_TAIL:
            found.append(
                f"Few decisions decide everything about {candidate(who, evaluation)}: the tail of their weights has "
                f"shape {amount(support.tail)}, above {number(HEAVY_TAIL)}."
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
    much = f"{signed(difference)} {evaluation.unit} (95 % interval {within})"
    part = relative(difference, value(evaluation, name))
    told = f"The estimate is {much}{f', about {part} of what {today} earns' if part else ''}."
    if found == SAME:
        return Headline(SAME, f"No difference: the agent earns exactly what {today} earns on these decisions.", (), ())
    if found == UNCLEAR:
        details = (
            told,
            "The interval holds 0: the agent may be better or worse. That is not proof that they are equal; more "
            "held-out decisions would narrow the interval.",
        )
        return Headline(UNCLEAR, f"The agent and {today} cannot be told apart.", details, ())
    clear = "The interval excludes 0, and the logs know these decisions well enough: this can be told from the logs."
    return Headline(found, f"The agent is {found} than {today}.", (told, clear), ())


def worth(evaluation: Evaluation) -> tuple[str, list[str]]:
    """What the comparisons with simpler ways to decide say together, and one by one."""
    if why := unsupported(evaluation, AGENT):
        return f"The logs cannot support this comparison: {why[0]} The figures are for diagnosis; none is a claim.", []
    others = [name for name in ordered(evaluation.differences) if name != reference(evaluation)]
    simpler = [name for name in others if name in _SIMPLER]
    beaten = [name for name in simpler if not reasons(evaluation, name) and _better(evaluation, name)]
    lead = "No simpler way to decide was compared."
    if simpler:
        ways = counted(len(simpler), "simpler way to decide", "simpler ways to decide")
        lead = f"The agent is measurably better than {'none' if not beaten else len(beaten)} of {ways}."
        if len(beaten) == len(simpler):
            lead = f"RL is worth it here: the agent is measurably better than each of {ways}."
    return lead, [_reading(evaluation, name) for name in others]


def _better(evaluation: Evaluation, name: str) -> bool:
    return outcome(evaluation.differences[name]) == BETTER


def _reading(evaluation: Evaluation, name: str) -> str:
    difference, who = evaluation.differences[name], candidate(name, evaluation)
    if why := reasons(evaluation, name):
        return f"Cannot be told from the logs, compared with {who}: {why[0]}"
    found, within = outcome(difference), interval(difference, difference=True)
    plain = f"The agent against {who}"
    pays, nothing, loses = _ALONE.get(
        name, (f"{plain}: better", f"{plain}: no measurable difference", f"{plain}: worse")
    )
    lead = {BETTER: pays, WORSE: loses}.get(found, nothing)
    if found == SAME:
        return f"{lead}: the agent earns exactly the same as {who}."
    return f"{lead}: the agent earns {signed(difference)} compared with {who} (95 % interval {within})."


def widened(difference: Figure, comparisons: int) -> Figure:
    """The interval at 1 - 0.05 / comparisons, by Bonferroni's correction of a normal interval."""
    factor = stats.norm.isf(MISSES / 2 / max(comparisons, 1)) / stats.norm.isf(MISSES / 2)
    low = difference.value - factor * (difference.value - difference.low)
    high = difference.value + factor * (difference.high - difference.value)
    return Figure(difference.value, low, high, difference.claims_coverage)


def segments_read(evaluation: Evaluation, segments: Sequence[Segment]) -> list[str]:
    """What the segments show, with the caution that looking at many of them asks for."""
    if not segments:
        return []
    many = len(segments)
    said = [
        f"{counted(many, 'segment')} {'was' if many == 1 else 'were'} looked at. By chance alone, about "
        f"{rounded(MISSES)} of such intervals miss the truth ({number(round(MISSES * many, 1))} of {many:,}), so a "
        "single segment that stands out is a hint to look closer, not a finding."
    ]
    if reasons(evaluation, reference(evaluation)):
        return [*said, "The logs cannot support the comparison as a whole, so none of these is a claim."]
    firm = {
        found: [_named(s) for s in segments if outcome(widened(s.difference, many)) == found]
        for found in (WORSE, BETTER)
    }
    against = label(reference(evaluation), evaluation)
    for found, names in firm.items():
        if names:
            where = f"{counted(len(names), 'segment')}: {listed(names)}"
            said.append(f"Allowing for that (Bonferroni), the agent is still {found} than {against} in {where}.")
    if not firm[WORSE]:
        said.append(
            "Allowing for that (Bonferroni), no segment shows the agent to be worse; small ones could hide harm."
        )
    return said


def _named(segment: Segment) -> str:
    return f"{printable(segment.feature, 40)} {printable(segment.part, 40)}"
