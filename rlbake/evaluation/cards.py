"""The plots of an evaluation's page, with what they need said."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rlbake.evaluation import claims, tables
from rlbake.evaluation.evaluation import AGENT, LOGGED, Evaluation, Figure, Propensities
from rlbake.evaluation.plots import CIRCLE, DIAMOND, SQUARE, Mark, forest_plot, reliability_plot
from rlbake.evaluation.words import label, ordered
from rlbake.quality.plots import BLUE, GREY, ORANGE
from rlbake.quality.template import Card
from rlbake.quality.verdict import MUCH_DRIFT, SOME_DRIFT
from rlbake.quality.words import shortened

PLOTTED = 40
"""Rows of a plot; a table has them all."""


def values(evaluation: Evaluation) -> list[Card]:
    """What each candidate would earn, and what the agent adds to each."""
    values = [(name, claims.value(evaluation, name)) for name in ordered(evaluation.estimates)]
    rows = [(label(n, evaluation), [Mark(v, *_look(n))]) for n, v in values if v is not None][:PLOTTED]
    against = [
        (label(name, evaluation), evaluation.differences[name], not claims.reasons(evaluation, name))
        for name in ordered(evaluation.differences)
    ][:PLOTTED]
    cards = []
    if rows:
        plot = forest_plot(rows, x_label=evaluation.unit, described="Value of each candidate with its interval")
        cards.append(Card("What each would earn", plot))
    if against:
        plot = _differences_plot(against, f"agent \N{MINUS SIGN} other, {evaluation.unit}", "Agent minus each other")
        cards.append(Card("What the agent adds to each: right of 0 the agent earns more", plot))
    return cards


def segments(evaluation: Evaluation) -> Markup | None:
    """The segments of most decisions, in the order of the table."""
    if not evaluation.segments:
        return None
    places = sorted(range(len(evaluation.segments)), key=lambda at: -evaluation.segments[at].decisions)[:PLOTTED]
    drawn = [evaluation.segments[at] for at in sorted(places)]
    supported = not claims.reasons(evaluation, claims.reference(evaluation))
    rows = [(f"{shortened(s.feature, 18)}: {shortened(s.part, 18)}", s.difference, supported) for s in drawn]
    against = label(claims.reference(evaluation), evaluation)
    x_label = f"agent \N{MINUS SIGN} {against}, {evaluation.unit}"
    return _differences_plot(rows, x_label, "Difference by segment", wide=True)


def propensities(found: Propensities | None) -> list[Card]:
    """Whether the probabilities of the logged decisions are right."""
    cards: list[Card] = []
    if found is None:
        return cards
    if found.by_action:
        furthest = sorted(found.by_action, key=lambda name: -abs(found.by_action[name] - 1))[:PLOTTED]
        rows = [
            (name, [Mark(_point(found.by_action[name]), BLUE, CIRCLE)]) for name in found.by_action if name in furthest
        ]
        notes = ["1 where the probabilities are right and the action is always possible; below 1 where it was not."]
        if len(found.by_action) > len(rows):
            notes.append(f"The {len(rows)} of {len(found.by_action):,} actions that are furthest from 1.")
        plot = forest_plot(rows, x_label="mean of 1 / probability", described="Check of the probabilities", lines=[1.0])
        cards.append(Card("Do the probabilities add up, action by action?", plot, tuple(notes)))
    if found.reliability:
        note = "On the line, actions were taken as often as the estimate says. Larger dots are more rows."
        plot = reliability_plot(found.reliability, described="Estimated probabilities against observed shares")
        cards.append(Card("Are the estimated probabilities right?", plot, (note,)))
    return cards


def agreement(evaluation: Evaluation) -> Card | None:
    """Each estimator's value of the agent, beside that of what runs today."""
    name = claims.reference(evaluation)
    today, ours = label(name, evaluation), evaluation.estimates.get(AGENT, {})
    theirs = evaluation.estimates.get(name, {}) if name != LOGGED else {}
    kinds = sorted(dict.fromkeys([*ours, *theirs]), key=lambda kind: kind != evaluation.primary)[:PLOTTED]
    rows = []
    for kind in kinds:
        marks = [Mark(ours[kind], BLUE, CIRCLE, "agent")] if kind in ours else []
        if kind in theirs:
            marks.append(Mark(theirs[kind], ORANGE, DIAMOND, today))
        rows.append((f"{kind} (decides)" if kind == evaluation.primary else kind, marks))
    if not rows:
        return None
    logged = claims.value(evaluation, LOGGED)
    title = f"Each estimator's value of the agent and of the {today}"
    if name == LOGGED:
        title = f"Each estimator's value of the agent{'; dotted line: what was logged' if logged else ''}"
    lines = [logged.value] if logged and name == LOGGED else []
    return Card(title, forest_plot(rows, x_label=evaluation.unit, described=title, lines=lines, wide=True))


def simulated(evaluation: Evaluation) -> Markup | None:
    """Returns between chance and the best."""
    played = (("agent", evaluation.simulated), ("champion", evaluation.champion_simulated))
    rows = [(who, [Mark(Figure(s.mean, s.low, s.high), *_look(who))]) for who, s in played if s is not None]
    known = evaluation.simulated or evaluation.champion_simulated
    if known is None:
        return None
    lines = [known.random, known.best]
    return forest_plot(rows, x_label="return in the simulated world", described="Simulated returns", lines=lines)


def drift(evaluation: Evaluation) -> Markup | None:
    """The features that moved most."""
    found = tables.drifted(evaluation)[:PLOTTED]
    if not found:
        return None
    rows = [(name, [Mark(_point(psi), ORANGE if psi >= MUCH_DRIFT else BLUE, CIRCLE)]) for name, psi in found]
    lines = [0.0, SOME_DRIFT, MUCH_DRIFT]
    return forest_plot(rows, x_label="population stability index", described="Drift by feature", lines=lines)


def _look(name: str) -> tuple[str, str]:
    return (BLUE, CIRCLE) if name == AGENT else (GREY, SQUARE)


def _differences_plot(
    rows: Sequence[tuple[str, Figure, bool]], x_label: str, described: str, *, wide: bool = False
) -> Markup:
    """Label, difference, and whether the logs support it: only then it may look better or worse."""
    looks = {claims.BETTER: (BLUE, CIRCLE), claims.WORSE: (ORANGE, DIAMOND)}
    marks = [
        (said, [Mark(figure, *looks.get(claims.outcome(figure) if supported else "", (GREY, SQUARE)))])
        for said, figure, supported in rows
    ]
    return forest_plot(marks, x_label=x_label, described=described, lines=[0.0], wide=wide)


def _point(x: float) -> Figure:
    return Figure(x, x, x)
