"""What is good and what needs attention, by thresholds that the page states.

| finding | needs attention | is a problem |
|---|---|---|
| windows without rows | any | |
| rejected rows | any | > `REJECTED` |
| decisions that can never be trained on | > `LOST` | |
| decisions left open | > `LEFT_OPEN` | no transition at all |
| final observations that no decision leads to | > `LOST` of the rows | |
| outcomes without a decision, decisions without an observation | > `LOST` | |
| unknown propensities | > `UNKNOWN` | |
| propensities below `RARE` | > `RARELY` of the known | |
| propensities of 1 | > `CERTAIN` of the known | |
| actions never taken | any | |
| rewards | all zero | |
| values missing, by feature | > `MISSING` | |
| time gaps more than `FAR` times the median | > `RARELY` | |
| population stability index, by column | ≥ `SOME_DRIFT`, much ≥ `MUCH_DRIFT` | |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlbake import vocabulary as v
from rlbake.features.profile import Profile
from rlbake.quality.report import QualityReport, missing_share, share_up_to
from rlbake.quality.words import count, counted, length, listed, number, percent, rounded
from rlbake.specs import Continuous, Discrete

REJECTED = 0.01
LOST = 0.01
LEFT_OPEN = 0.75
UNKNOWN = 0.01
RARE, RARELY = 0.01, 0.01
CERTAIN = 0.5
MISSING = 0.2
FAR = 10.0
SOME_DRIFT, MUCH_DRIFT = 0.1, 0.25  # Siddiqi, "Credit Risk Scorecards", 2006
FEWEST = 500
"""Chance alone gives columns of fewer rows a drift worth telling; see `rlbake.features.drift`."""

GOOD, ATTENTION, PROBLEM = "good", "attention", "problem"
_WORST_FIRST = (PROBLEM, ATTENTION, GOOD)


@dataclass(frozen=True)
class Finding:
    """One line of the verdict.

    Attributes:
        level: `GOOD`, `ATTENTION` or `PROBLEM`.
        what: is the case.
        why: it matters and what to do; "" if it is good.
    """

    level: str
    what: str
    why: str = ""


def findings(report: QualityReport) -> list[Finding]:
    """All that the report has to say, the worst first."""
    parts = (_windows, _rejected, _lost, _open, _joined, _propensities, _actions, _rewards, _missing, _gaps, _drift)
    found = [finding for part in parts for finding in part(report)]
    return sorted(found, key=lambda finding: _WORST_FIRST.index(finding.level))


def headline(found: Sequence[Finding]) -> str:
    """The verdict in one sentence."""
    problems, attention = (sum(f.level == level for f in found) for level in (PROBLEM, ATTENTION))
    if not problems and not attention:
        return "Nothing in this data needs attention."
    need = f"{counted(attention, 'thing')} {'needs' if attention == 1 else 'need'} attention"
    if not problems:
        return f"Usable, but {need}."
    return f"{counted(problems, 'problem')} to solve before trusting this data{f'; {need}' if attention else ''}."


def _windows(report: QualityReport) -> Iterator[Finding]:
    if report.missing:
        yield Finding(
            ATTENTION,
            f"{counted(len(report.missing), 'window')} had no rows at all: {listed(report.missing)}.",
            "No episode is continued across such a gap. Check whether its logs are late, then build it again.",
        )
    rebuilt = [window.ds for window in report.windows if window.stale]
    if rebuilt:
        yield Finding(GOOD, f"{counted(len(rebuilt), 'stale window')} built again: {listed(rebuilt)}.")


def _rejected(report: QualityReport) -> Iterator[Finding]:
    rejected, rows = report.total("rejected"), report.total("rows_in")
    if not rejected:
        yield Finding(GOOD, f"None of {counted(rows, 'row')} was rejected.")
        return
    first = f"; the most frequent reason: {report.rejections[0].problem}" if report.rejections else ""
    yield Finding(
        PROBLEM if report.rejected_share > REJECTED else ATTENTION,
        f"{percent(report.rejected_share)} of the rows were rejected ({count(rejected)} of {count(rows)}){first}.",
        f"They are in the quarantine, see below. More than {rounded(REJECTED)} is a problem.",
    )


def _lost(report: QualityReport) -> Iterator[Finding]:
    unobserved, timed_out = report.total("unobserved"), report.total("timed_out")
    if report.lost_share > LOST:
        yield Finding(
            ATTENTION,
            f"{percent(report.lost_share)} of the decisions can never be trained on: {count(unobserved)} were cut "
            f"without a final observation, {count(timed_out)} were followed by silence beyond the episode timeout.",
            "Log what was seen after an episode was cut, and check that the timeout suits how often one decides.",
        )
    elif report.total("transitions"):
        yield Finding(
            GOOD, f"Of what is not left open, {_all_of(1 - report.lost_share, 'decision')} can be trained on."
        )
    stray, rows = report.total("stray"), report.total("rows_in")
    if rows and stray / rows > LOST:
        yield Finding(
            ATTENTION,
            f"{counted(stray, 'final observation')} follow no decision.",
            "Rows without an action end an episode that was cut: check that its decisions are logged under the same "
            "keys, and that no window before is missing.",
        )


def _open(report: QualityReport) -> Iterator[Finding]:
    waiting = counted(report.left_open, "decision")
    if not report.total("transitions"):
        yield Finding(
            PROBLEM,
            f"There is no transition: {waiting} left open.",
            "A decision becomes a transition when its successor is seen, often in the next window. If that is built "
            "already, check that the keys are the same from decision to decision.",
        )
    elif report.open_share > LEFT_OPEN:
        yield Finding(
            ATTENTION,
            f"{percent(report.open_share)} of the decisions are left open ({count(report.left_open)}).",
            f"They wait for their successor. More than {rounded(LEFT_OPEN)} is unusual: do many environments never "
            "come back? An episode timeout, or an end in the logs, says when to stop waiting.",
        )


def _joined(report: QualityReport) -> Iterator[Finding]:
    joined = report.joined
    if joined is None:
        return
    if joined.outcomes and joined.unmatched / joined.outcomes > LOST:
        yield Finding(
            ATTENTION,
            f"{percent(joined.unmatched / joined.outcomes)} of the outcomes belong to no decision "
            f"({count(joined.unmatched)} of {count(joined.outcomes)}).",
            "They count for nothing. Check the keys of the outcomes and how long the attribution lasts.",
        )
    elif joined.outcomes:
        yield Finding(GOOD, f"A decision was found for {_all_of(1 - joined.unmatched / joined.outcomes, 'outcome')}.")
    rows = report.total("rows_in")
    if rows and joined.unseen / rows > LOST:
        yield Finding(
            ATTENTION,
            f"{counted(joined.unseen, 'decision')} had no observation at or before them.",
            "Their features are NULL. Check the keys of the observations, and the tolerance for their age.",
        )


def _propensities(report: QualityReport) -> Iterator[Finding]:
    logged = report.profiles.get(v.LOG_PROBABILITY)
    if logged is None or not logged.rows:
        return
    unknown = missing_share(logged)
    if unknown > UNKNOWN:
        whose = _all_of(unknown, "decision")
        yield Finding(
            ATTENTION,
            f"The propensity of {whose} is unknown.",
            "Off-policy evaluation then has to estimate how likely the logging policy was to decide so. "
            f"Log {v.LOG_PROBABILITY} with each decision.",
        )
    else:
        yield Finding(GOOD, f"Propensities are known for {_all_of(1 - unknown, 'decision')}.")
    if logged.low is None or logged.high is None or isinstance(report.action, Continuous):
        return  # a density is neither rare nor certain
    rare = share_up_to(logged, math.log(RARE) - 1e-6)
    if rare > RARELY:
        yield Finding(
            ATTENTION,
            f"{percent(rare)} of the known propensities are below {number(RARE)}; the least is "
            f"{number(math.exp(logged.low))}.",
            f"A decision with a propensity below {number(RARE)} weighs more than {number(1 / RARE)} times in "
            "importance sampling, so estimates rest on few decisions.",
        )
    certain = 1 - share_up_to(logged, -1e-6)
    if certain > CERTAIN:
        yield Finding(
            ATTENTION,
            f"{percent(certain)} of the decisions were certain (propensity 1).",
            "Where nothing else was tried, nothing can be learnt about it, and no other policy can be evaluated. "
            "Let the logging policy explore.",
        )


def _actions(report: QualityReport) -> Iterator[Finding]:
    never = never_taken(report)
    if never:
        yield Finding(
            ATTENTION,
            f"{counted(len(never), 'action')} never taken: {listed(never)}.",
            "An agent cannot learn what they lead to.",
        )
    elif not isinstance(report.action, Continuous) and report.total("transitions"):
        yield Finding(GOOD, "Every action was taken.")


def never_taken(report: QualityReport) -> list[str]:
    """Names of actions that no transition took, with their set if there are several; none if there is no transition."""
    if isinstance(report.action, Continuous) or not report.total("transitions"):
        return []
    if isinstance(report.action, Discrete):
        sets = [(v.ACTION, "", report.action.names)]
    else:
        sets = [(f"{v.ACTION}.{name}", f"{name}: ", values) for name, values in report.action.sets]
    return [
        f"{prefix}{value}"
        for column, prefix, values in sets
        if column in report.profiles
        for value in values
        if not report.profiles[column].counts.get(value)
    ]


def _rewards(report: QualityReport) -> Iterator[Finding]:
    reward = report.profiles.get(v.REWARD)
    if reward is not None and reward.present and reward.low == reward.high == 0:
        yield Finding(
            ATTENTION,
            "Every reward is 0.",
            "There is nothing to learn from. Check that outcomes are joined, and the weights of the reward.",
        )


def _missing(report: QualityReport) -> Iterator[Finding]:
    shares = {_short(name): share for name, share in report.missing_shares().items() if share > MISSING}
    worst = sorted(shares, key=lambda name: -shares[name])
    if worst:
        named = [f"{name} ({percent(shares[name])})" for name in worst]
        yield Finding(
            ATTENTION,
            f"{counted(len(named), 'feature')} missing in more than {rounded(MISSING)} of the rows: {listed(named)}.",
            "The agent sees that they are missing. Check whether they should be.",
        )
    elif report.total("transitions"):
        most = max(report.missing_shares().values(), default=0.0)
        yield Finding(
            GOOD,
            f"No feature is missing in more than {percent(most)} of the rows."
            if most
            else "No feature is ever missing.",
        )


def _gaps(report: QualityReport) -> Iterator[Finding]:
    gaps = report.profiles.get(v.TIME_GAP)
    if gaps is None or not gaps.present or gaps.high is None:
        return
    median = gaps.quantiles[len(gaps.quantiles) // 2]
    far = 1 - share_up_to(gaps, FAR * median)
    if far > RARELY:
        yield Finding(
            ATTENTION,
            f"{percent(far)} of the time gaps are more than {number(FAR)} times as long as the median of "
            f"{length(median)}; the longest is {length(gaps.high)}.",
            "A step over a long silence means something else than a usual one. Consider an episode timeout, or "
            "discounting by time (gamma_period).",
        )


def _drift(report: QualityReport) -> Iterator[Finding]:
    if not report.reference:
        return
    judged = {name: found.psi for name, found in report.drift.items() if enough_rows(report, name)}
    for least, below, how in ((MUCH_DRIFT, math.inf, "much"), (SOME_DRIFT, MUCH_DRIFT, "somewhat")):
        moved = sorted((n for n, psi in judged.items() if least <= psi < below), key=lambda name: -judged[name])
        if moved:
            named = [f"{_short(name)} ({judged[name]:.2f})" for name in moved]
            yield Finding(
                ATTENTION,
                f"{counted(len(moved), 'column')} {'has' if len(moved) == 1 else 'have'} changed {how} since "
                f"{report.relative_to}: {listed(named)}.",
                f"A population stability index from {number(SOME_DRIFT)} on is some drift, from {number(MUCH_DRIFT)} "
                "on much. If the world has changed, train anew; if only a log has, repair it. Calendars always do.",
            )
    if judged and max(judged.values()) < SOME_DRIFT:
        yield Finding(GOOD, f"No column has drifted from {report.relative_to}.")


def enough_rows(report: QualityReport, name: str) -> bool:
    """Whether a column has the rows to tell drift from chance."""
    profiles: tuple[Profile, ...] = (report.profiles[name], report.reference[name])
    return all(profile.rows >= FEWEST for profile in profiles)


def _all_of(share: float, what: str) -> str:
    return f"every {what}" if share == 1 else f"{percent(share)} of the {what}s"


def _short(column: str) -> str:
    return column.removeprefix(f"{v.OBSERVATION}.")
