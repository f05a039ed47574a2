"""What the comparisons with simpler ways to decide say, and those within segments, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from rlbake.evaluation.claims import (
    BETTER,
    MISSES,
    SAME,
    UNCLEAR,
    WORSE,
    outcome,
    reasons,
    reference,
    unsupported,
    widened,
)
from rlbake.evaluation.evaluation import AGENT, BANDIT, CHAMPION, CLONE, FIXED, LOGGED, RULES, Evaluation, Segment
from rlbake.evaluation.words import candidate, interval, ordered, printable, signed
from rlbake.quality.words import counted, listed, number, rounded

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
    against = candidate(reference(evaluation), evaluation)
    for found, names in firm.items():
        if names:
            where = f"{counted(len(names), 'segment')}: {listed(names)}"
            said.append(f"Allowing for that (Bonferroni), the agent is still {found} than {against} in {where}.")
    if not firm[WORSE]:
        said.append(
            "Allowing for that (Bonferroni), no segment shows the agent to be worse; small ones could hide harm."
        )
    return said


def _better(evaluation: Evaluation, name: str) -> bool:
    return outcome(evaluation.differences[name]) == BETTER


def _reading(evaluation: Evaluation, name: str) -> str:
    difference, who = evaluation.differences[name], candidate(name, evaluation)
    if why := reasons(evaluation, name):
        return f"Whether the agent is better than {who} cannot be told from the logs: {why[0]}"
    found, within = outcome(difference), interval(difference, difference=True)
    plain = f"The agent against {who}"
    pays, nothing, loses = _ALONE.get(
        name, (f"{plain}: better", f"{plain}: no measurable difference", f"{plain}: worse")
    )
    lead = {BETTER: pays, WORSE: loses}.get(found, nothing)
    if found == SAME:
        return f"{lead}: the agent earns exactly the same as {who}."
    if found == UNCLEAR:
        return f"{lead}: the difference to {who} is {signed(difference)} (95 % interval {within}, which holds 0)."
    much = f"{signed(difference)[1:]} {'more' if found == BETTER else 'less'}"
    return f"{lead}: the agent earns {much} than {who} (95 % interval {within})."


def _named(segment: Segment) -> str:
    return f"{printable(segment.feature, 40)} {printable(segment.part, 40)}"
