"""What the tables of an evaluation's page hold, as text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlbake.evaluation import claims
from rlbake.evaluation.evaluation import AGENT, LOGGED, Evaluation, Figure, Segment, Simulated
from rlbake.evaluation.words import (
    UNKNOWN,
    amount,
    interval,
    label,
    meaning,
    ordered,
    printable,
    relative,
    share,
    signed,
)
from rlbake.quality.verdict import MUCH_DRIFT, SOME_DRIFT
from rlbake.quality.words import NBSP, count

UNCLAIMED = "†"
"""Stands beside intervals that are not meant to hold the true value."""

_TINTS = {claims.WORSE: "much"}


@dataclass(frozen=True)
class Line:
    """A row of a table: its cells, the first is a name, and a tint: "some", "much" or none."""

    cells: tuple[str, ...]
    tint: str = ""
    note: str = ""


def marked(figure: Figure | None) -> str:
    """ "†" where an interval does not claim to hold the true value."""
    return UNCLAIMED if figure is not None and not figure.claims_coverage else ""


def candidates(evaluation: Evaluation) -> list[Line]:
    """Who, value, interval, agent - who, interval, reading."""
    lines = []
    for name in ordered({*evaluation.estimates, *evaluation.differences}):
        value, difference = claims.value(evaluation, name), evaluation.differences.get(name)
        cells = [label(name, evaluation), amount(value), interval(value) + marked(value)]
        if name == AGENT:
            cells += ["", "", ""]
        else:
            within = interval(difference, difference=True) + marked(difference)
            cells += [signed(difference), within, _agent_is(evaluation, name, difference)]
        who = evaluation.champion if name == claims.CHAMPION and evaluation.champion else ""
        note = "; ".join(filter(None, [meaning(name), who and printable(who, 60)]))
        lines.append(Line(tuple(cells), _TINTS.get(cells[-1].removeprefix("agent "), ""), note))
    return lines


def metrics(evaluation: Evaluation) -> list[Line]:
    """Metric, agent, reference, difference, interval, relative, reading."""
    name, lines = claims.reference(evaluation), []
    supported = not claims.reasons(evaluation, name)
    for metric in {**evaluation.metrics, **evaluation.metric_differences}:
        by = evaluation.metrics.get(metric, {})
        agent, other, difference = by.get(AGENT), by.get(name), evaluation.metric_differences.get(metric)
        found = claims.outcome(difference) if supported else claims.UNCLEAR
        reading = {claims.BETTER: "higher", claims.WORSE: "lower"}.get(found, found)
        cells = (
            printable(metric, 60),
            amount(agent),
            amount(other),
            signed(difference),
            interval(difference, difference=True) + marked(difference),
            relative(difference, other),
            reading,
        )
        lines.append(Line(cells, "some" if reading in ("higher", "lower") else ""))
    return lines


def segments(evaluation: Evaluation) -> list[Line]:
    """Feature, part, decisions, agent, reference, difference, interval, widened interval."""
    name, many = claims.reference(evaluation), len(evaluation.segments)
    supported = not claims.reasons(evaluation, name)
    return [_segment(segment, name, many, supported) for segment in evaluation.segments]


def support(evaluation: Evaluation) -> list[Line]:
    """Who, decisions, environments, ESS of decisions, of environments, overlap, largest weight, tail, certain."""
    lines = []
    for name in ordered(evaluation.support):
        found = evaluation.support[name]
        cells = (
            label(name, evaluation),
            count(found.decisions),
            count(found.environments),
            amount(found.ess),
            amount(found.ess_environments),
            amount(found.overlap),
            amount(found.max_weight),
            "too few weights" if found.tail is None else amount(found.tail),
            share(found.deterministic),
        )
        heavy = found.tail is not None and not found.tail <= claims.HEAVY_TAIL
        warnings = " ".join(printable(warning) for warning in found.warnings)
        lines.append(Line(cells, "some" if found.warnings or heavy else "", warnings))
    return lines


def estimators(evaluation: Evaluation) -> tuple[list[str], list[Line]]:
    """The candidates, and a line for each estimator with value and interval of each, the primary first."""
    names = ordered(evaluation.estimates)
    kinds = list(dict.fromkeys(kind for name in names for kind in evaluation.estimates[name]))
    kinds.sort(key=lambda kind: kind != evaluation.primary)
    lines = []
    for kind in kinds:
        figures = [evaluation.estimates[name].get(kind) for name in names]
        said = [f"{amount(f)}{marked(f)}\n{interval(f)}" if f is not None else "" for f in figures]
        note = "decides" if kind == evaluation.primary else ""
        name = "average of the logs" if kind == LOGGED else printable(kind, 40)
        lines.append(Line((name, *said), note=note))
    return [label(name, evaluation) for name in names], lines


def simulated(evaluation: Evaluation) -> list[Line]:
    """Who, mean return, interval, chance, best, score."""
    played: list[tuple[str, Simulated | None]] = [
        ("agent", evaluation.simulated),
        ("agent, exploring", evaluation.deployed),
        ("champion", evaluation.champion_simulated),
    ]
    return [
        Line(
            (
                who,
                amount(found.mean),
                interval(Figure(found.mean, found.low, found.high)),
                amount(found.random),
                amount(found.best),
                amount(found.score),
            )
        )
        for who, found in played
        if found is not None
    ]


def drift(evaluation: Evaluation) -> list[Line]:
    """Feature, index, reading; the most drifted first."""
    return [
        Line((printable(name, 60), amount(psi), _moved(psi)[0]), _moved(psi)[1]) for name, psi in drifted(evaluation)
    ]


def drifted(evaluation: Evaluation) -> list[tuple[str, float]]:
    """Features with their stability index, the most drifted first, and what is not known before all."""
    found = (evaluation.drift or {}).items()
    return sorted(found, key=lambda item: (-math.inf if math.isnan(item[1]) else -item[1], item[0]))


def _agent_is(evaluation: Evaluation, name: str, difference: Figure | None) -> str:
    found = claims.UNCLEAR if claims.reasons(evaluation, name) else claims.outcome(difference)
    return found if found == claims.UNCLEAR else f"agent {found}"


def _segment(segment: Segment, name: str, many: int, supported: bool) -> Line:
    agent, other = segment.values.get(AGENT), segment.values.get(name)
    wider = claims.widened(segment.difference, many)
    worse = supported and claims.outcome(wider) == claims.WORSE
    cells = (
        printable(segment.feature, 40),
        printable(segment.part, 40).replace(" ", NBSP),
        count(segment.decisions),
        amount(agent),
        amount(other),
        signed(segment.difference),
        interval(segment.difference, difference=True) + marked(segment.difference),
        interval(wider, difference=True),
    )
    return Line(cells, "much" if worse else "")


def _moved(psi: float) -> tuple[str, str]:
    if math.isnan(psi):
        return UNKNOWN, "some"
    if psi >= MUCH_DRIFT:
        return "much", "much"
    return ("some", "some") if psi >= SOME_DRIFT else ("little", "")
