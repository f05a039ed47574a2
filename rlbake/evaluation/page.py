"""What an evaluation found, as one HTML page for whoever decides; it needs neither network nor script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rlbake.evaluation import cards, claims, readings, tables
from rlbake.evaluation.evaluation import AGENT, LOGGED, Evaluation, Propensities
from rlbake.evaluation.words import amount, candidate, interval, label, printable, share, signed
from rlbake.quality.template import template
from rlbake.quality.words import count, counted, listed

_PAGE = Path(__file__).parent / "page.html"


class Rule(Protocol):
    """What a rule of the gate found."""

    @property
    def name(self) -> str: ...

    @property
    def passed(self) -> bool: ...

    @property
    def message(self) -> str: ...


def page(evaluation: Evaluation, verdict: Sequence[Rule] = ()) -> str:
    """The page.

    Args:
        verdict: what the rules of the gate say about the model; none if it was not judged.
    """
    head = claims.headline(evaluation)
    lead, sentences = readings.worth(evaluation)
    columns, estimates = tables.estimators(evaluation)
    return template(_PAGE).render(
        evaluation=evaluation,
        span=_span(evaluation.windows),
        windows=listed([printable(ds, 60) for ds in evaluation.windows], 30),
        reference=label(claims.reference(evaluation), evaluation),
        head=head,
        level={claims.BETTER: "good", claims.WORSE: "problem"}.get(head.outcome, "attention"),
        figures=_figures(evaluation),
        gate=_gate(verdict),
        rules=sorted(verdict, key=lambda rule: rule.passed),
        worth=lead,
        readings=sentences,
        value_cards=cards.values(evaluation),
        candidates=tables.candidates(evaluation),
        metrics=tables.metrics(evaluation),
        segments_read=readings.segments_read(evaluation, evaluation.segments),
        segments=tables.segments(evaluation),
        segments_plot=cards.segments(evaluation),
        propensities=_propensities(evaluation.propensities),
        propensity_cards=cards.propensities(evaluation.propensities),
        support=tables.support(evaluation),
        columns=columns,
        estimates=estimates,
        agreement=_agreement(evaluation),
        agreement_card=cards.agreement(evaluation),
        simulated=tables.simulated(evaluation),
        simulated_plot=cards.simulated(evaluation),
        drift=tables.drift(evaluation),
        drift_plot=cards.drift(evaluation),
        unclaimed=tables.UNCLAIMED,
        plotted=cards.PLOTTED,
        amount=amount,
        share=share,
        printable=printable,
        counted=counted,
    )


def _span(windows: Sequence[str]) -> str:
    if not windows:
        return "no window"
    first, last = printable(windows[0], 60), printable(windows[-1], 60)
    return f"window {first} (UTC)" if len(windows) == 1 else f"{len(windows):,} windows, {first} to {last} (UTC)"


def _figures(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    name = claims.reference(evaluation)
    ours, theirs, difference = (
        claims.value(evaluation, AGENT),
        claims.value(evaluation, name),
        evaluation.differences.get(name),
    )
    today = label(name, evaluation)
    told = "for diagnosis, not a claim" if claims.reasons(evaluation, name) else "on the same decisions"
    return [
        (amount(ours), "agent", f"{evaluation.unit}; 95 %: {interval(ours)}"),
        (amount(theirs), today, f"{evaluation.unit}; 95 %: {interval(theirs)}"),
        (
            signed(difference),
            f"agent \N{MINUS SIGN} {today}",
            f"{told}; 95 %: {interval(difference, difference=True)}",
        ),
        (count(evaluation.decisions), "decisions", f"held out, of {counted(evaluation.environments, 'environment')}"),
    ]


def _gate(verdict: Sequence[Rule]) -> str:
    failed = sum(not rule.passed for rule in verdict)
    if not failed:
        return f"The gate lets it pass: {counted(len(verdict), 'rule')} met, none broken."
    return f"The gate stops it: {failed:,} of {counted(len(verdict), 'rule')} not met."


def _propensities(found: Propensities | None) -> list[str]:
    if found is None:
        return ["Nothing is known about where the probabilities of the logged decisions come from."]
    sources = {
        "logged": "The logs say how likely each decision was.",
        "estimated": "The logs do not say how likely each decision was. It was estimated, which adds an error that the "
        "intervals do not know about.",
        "mixed": f"The logs do not always say how likely a decision was: {share(found.estimated)} of the probabilities "
        "were estimated, which adds an error that the intervals do not know about.",
    }
    said = [sources.get(found.source, f"Source of the probabilities: {printable(found.source)}.")]
    if found.policies:
        most = sorted(found.policies.items(), key=lambda item: (-item[1], item[0]))
        named = [f"{printable(name, 60)} ({share(part)})" for name, part in most]
        said.append(f"Who decided in the logs: {listed(named, 12)}.")
    return [*said, *(printable(warning) for warning in found.warnings)]


def _agreement(evaluation: Evaluation) -> str:
    """How many estimators put the agent above what runs today; what was logged needs none."""
    name = claims.reference(evaluation)
    theirs, logged = evaluation.estimates.get(name, {}), claims.value(evaluation, LOGGED)
    pairs = [
        (ours, other)
        for kind, ours in evaluation.estimates.get(AGENT, {}).items()
        if (other := logged if name == LOGGED else theirs.get(kind)) is not None
    ]
    if not pairs:
        return ""
    above = sum(ours.value > other.value for ours, other in pairs)
    return (
        f"By {above} of {counted(len(pairs), 'estimator')} the agent is estimated above {candidate(name, evaluation)}. "
        "Estimators err in different ways: where they disagree, trust none of them too much."
    )
