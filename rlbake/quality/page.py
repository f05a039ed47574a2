"""The quality report as one HTML page, which needs neither network nor script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from markupsafe import Markup

from rlbake import vocabulary as v
from rlbake.features.profile import NUMBER, Profile, of_feature, of_metric
from rlbake.quality import verdict
from rlbake.quality.histogram import frequent_values, is_wide
from rlbake.quality.plots import BLUE, GREY, ORANGE, bars_plot, distribution_plot, windows_plot
from rlbake.quality.report import QualityReport, missing_share
from rlbake.quality.template import Card, template
from rlbake.quality.words import count, counted, length, listed, number, percent, shortened
from rlbake.specs import Category, Continuous, Discrete

PLOTTED = 24
"""Features, metrics or parts of an action that are drawn; a table has them all."""

BARS = 40
"""Labels that are drawn of one column; the rest are summed."""

_PAGE = Path(__file__).parent / "page.html"


@dataclass(frozen=True)
class Line:
    """One column in a table, as text; `drifted` is "some", "much" or empty."""

    name: str
    kind: str
    missing: str
    psi: str
    moved: str
    drifted: str
    mean: str = ""
    deviation: str = ""
    low: str = ""
    median: str = ""
    high: str = ""
    frequent: str = ""


def render(report: QualityReport) -> str:
    """The page."""
    found = verdict.findings(report)
    features = _noteworthy(report)
    return template(_PAGE).render(
        report=report,
        span=_span(report),
        headline=verdict.headline(found),
        findings=found,
        figures=_figures(report),
        windows_plot=_windows_plot(report),
        outcomes=_outcomes(report),
        time=_time(report),
        decisions=_decisions(report),
        features=[_card(report, name) for name in features[:PLOTTED]],
        feature_lines=[_line(report, name) for name in features],
        drifted=_drifted(report),
        compared=_compared(report),
        blue=BLUE,
        orange=ORANGE,
    )


def _span(report: QualityReport) -> str:
    first, last = report.windows[0].ds, report.windows[-1].ds
    return first if first == last else f"{first} to {last}"


def _figures(report: QualityReport) -> list[tuple[str, str, str]]:
    lost = report.total("unobserved") + report.total("timed_out")
    return [
        (count(report.total("rows_in")), "rows in", f"{count(report.total('duplicates'))} repetitions dropped"),
        (percent(report.rejected_share), "rejected", counted(report.total("rejected"), "row")),
        (count(report.total("transitions")), "transitions", "steps that can be trained on"),
        (percent(report.open_share), "left open", f"{count(report.left_open)} wait for their successor"),
        (percent(report.lost_share), "lost", f"{count(lost)} can never be trained on"),
    ]


def _windows_plot(report: QualityReport) -> Markup | None:
    if len(report.windows) < 2:
        return None
    lost = [window.unobserved + window.timed_out for window in report.windows]
    parts = [
        ("transitions", BLUE, [window.transitions for window in report.windows]),
        ("lost", ORANGE, lost),
        ("rejected rows", GREY, [window.rejected for window in report.windows]),
    ]
    return windows_plot(
        [window.ds for window in report.windows], parts, described="Transitions, lost and rejected by window"
    )


def _outcomes(report: QualityReport) -> list[Card]:
    metrics = [name for name in report.profiles if name.startswith(of_metric(""))]
    return [_card(report, name) for name in [v.REWARD, *metrics[:PLOTTED]] if name in report.profiles]


def _time(report: QualityReport) -> list[Card]:
    cards = []
    if gaps := report.profiles.get(v.TIME_GAP):
        none = percent(missing_share(gaps))
        notes = (f"{none} of the transitions have none: the world ended with them.",) if gaps.missing else ()
        cards.append(_gaps(gaps, report.reference.get(v.TIME_GAP), notes))
    lengths = report.lengths
    if lengths.present:
        middle = number(lengths.quantiles[len(lengths.quantiles) // 2])
        title = f"Episodes: half have up to {middle} steps, the longest {number(lengths.high or 0)}"
        note = (
            f"{counted(lengths.present, 'episode')} ended in these windows, with {number(lengths.mean)} steps "
            "on average. Steps before these windows are not counted."
        )
        plot = _distribution(lengths, "transitions per episode", "share of episodes", title)
        cards.append(Card(title, plot, (note,)))
    else:
        cards.append(Card("Episodes: none has ended in these windows", None))
    if (ends := report.profiles.get(v.END)) and ends.present:
        ended, cut = (ends.counts.get(end, 0) / ends.present for end in (v.TERMINATED, v.TRUNCATED))
        title = f"Ends: {percent(ended)} of the transitions end the world, {percent(cut)} are cut"
        cards.append(_labelled(report, v.END, v.ENDS, title))
    return cards


def _gaps(gaps: Profile, reference: Profile | None, notes: tuple[str, ...]) -> Card:
    if not gaps.present:
        return Card("Time from one decision to the next: there is none", None, notes)
    middle, high = gaps.quantiles[len(gaps.quantiles) // 2], gaps.high or 0.0
    title = f"Time to the next decision: half within {length(middle)}, the longest {length(high)}"
    if gaps.low == gaps.high:
        title = f"Time to the next decision: always {length(high)}"
    comparable = [gaps, *([reference] if reference and reference.present else [])]
    plot = distribution_plot(
        gaps,
        x_label="time from a decision to the next",
        y_label="share of transitions",
        described=title,
        reference=reference,
        log=any(map(is_wide, comparable)) and all((p.low or 0) > 0 for p in comparable),
        as_length=True,
    )
    return Card(title, plot, (*_beyond(gaps, length), *notes))


def _decisions(report: QualityReport) -> list[Card]:
    action = report.action
    if isinstance(action, Discrete):
        cards = [_taken(report, v.ACTION, action.names, "Actions")]
    elif isinstance(action, Continuous):
        cards = [_card(report, f"{v.ACTION}.{name}") for name in action.names[:PLOTTED]]
    else:
        cards = [_taken(report, f"{v.ACTION}.{name}", values, name) for name, values in action.sets[:PLOTTED]]
    return [*cards, *_propensities(report)]


def _taken(report: QualityReport, column: str, names: Sequence[str], what: str) -> Card:
    counts = report.profiles[column].counts
    if not counts:
        return Card(f"{what}: nothing was done", None)
    most = max(names, key=lambda name: counts.get(name, 0))
    never = [name for name in names if not counts.get(name)]
    share = counts[most] / report.profiles[column].present
    card = _labelled(
        report, column, names, f"{what}: {shortened(most)} most often, in {percent(share)} of the decisions"
    )
    return replace(card, notes=(*card.notes, f"Never taken: {listed(never, 30)}.")) if never else card


def _propensities(report: QualityReport) -> list[Card]:
    logged = report.profiles.get(v.LOG_PROBABILITY)
    if logged is None or not logged.rows:
        return []
    dense = isinstance(report.action, Continuous)
    what, highest, axis = "Propensities", 1.0, "probability with which the logged action was taken"
    if dense:
        what, highest, axis = "Densities", np.inf, "probability density of the logged action, per unit of it"
    unknown = missing_share(logged)
    note = (f"Unknown for {percent(unknown)} of the decisions ({count(logged.missing)} of {count(logged.rows)}).",)
    if not unknown:
        note = ("Known for every decision.",)
    if not logged.present:
        return [Card(f"{what}: none is known", None, note)]
    profile, reference = _exponential(logged, highest), report.reference.get(v.LOG_PROBABILITY)
    low, high = number(profile.low or 0.0), number(profile.high or 0.0)
    title = f"{what}: from {low} to {high}" if low != high else f"{what}: always {low}"
    compared = _exponential(reference, highest) if reference and reference.present else None
    log = is_wide(profile) and all((p.low or 0) > 0 for p in (profile, *([compared] if compared else [])))
    plot = distribution_plot(
        profile,
        x_label=axis,
        y_label="share of decisions",
        described=title,
        reference=compared,
        log=log,
        within=None if log or dense else (0.0, 1.0),
    )
    return [Card(title, plot, (*note, *_beyond(profile)))]


def _exponential(logged: Profile, highest: float) -> Profile:
    """The profile of e^x, at most `highest`; only what a histogram looks at, and no moments."""
    assert logged.low is not None
    assert logged.high is not None
    grid = tuple(np.minimum(np.exp(logged.quantiles), highest).tolist())
    return Profile(NUMBER, logged.rows, logged.missing, low=grid[0], high=grid[-1], quantiles=grid)


def _card(report: QualityReport, name: str) -> Card:
    """A column as it is: a number's histogram, or a label's bars."""
    profile, shown = report.profiles[name], shortened(_short(name), 40)
    missing = missing_share(profile)
    absent = (f"Missing in {percent(missing)} of the rows ({count(profile.missing)}).",) if profile.missing else ()
    if not profile.present:
        return Card(f"{shown}: always missing" if profile.rows else f"{shown}: no rows", None)
    if profile.kind != NUMBER:
        top = max(profile.counts, key=lambda label: profile.counts[label])
        title = f"{shown}: {shortened(top)} in {percent(profile.counts[top] / profile.present)}"
        card = _labelled(report, name, _values(report, name), title)
        return replace(card, notes=(*absent, *card.notes))
    title = f"{shown}: always {number(profile.mean)}" if profile.low == profile.high else _number_title(shown, profile)
    reference = report.reference.get(name)
    if reference is not None and reference.kind != NUMBER:
        reference = None
    plot = _distribution(profile, shown, f"share of {'known ' if profile.missing else ''}values", name, reference)
    return Card(title, plot, (*absent, *_frequent(profile), *_beyond(profile), *_psi_note(report, name)))


def _values(report: QualityReport, name: str) -> list[str]:
    """The labels of a feature as the application orders them, then any others."""
    declared = [f.values for f in report.observation if isinstance(f, Category) and of_feature(f.name) == name]
    return list(dict.fromkeys([*(declared[0] if declared else ()), *report.profiles[name].counts]))


def _number_title(shown: str, profile: Profile) -> str:
    (value, share), *_ = frequent_values(profile) or [(0.0, 0.0)]
    if profile.small == (0, 1) and profile.whole == profile.present:
        return f"{shown}: 1 in {percent(profile.mean)}, else 0"
    if share >= 0.5:
        return f"{shown}: {number(value)} in {percent(share)}, mean {number(profile.mean)}"
    low, high = (number(profile.quantiles[at]) for at in (50, 150))
    return f"{shown}: half between {low} and {high}, mean {number(profile.mean)}"


def _distribution(
    profile: Profile, x_label: str, y_label: str, described: str, reference: Profile | None = None
) -> Markup:
    both = [profile, *([reference] if reference is not None and reference.present else [])]
    log = any(map(is_wide, both)) and all((p.low or 0) > 0 for p in both)
    return distribution_plot(
        profile, x_label=x_label, y_label=y_label, described=described, reference=reference, log=log
    )


def _frequent(profile: Profile) -> tuple[str, ...]:
    if profile.low == profile.high or (profile.whole == profile.present and len(profile.small) <= 6):
        return ()
    frequent = frequent_values(profile)[:3]
    said = [f"{number(value)} in {percent(share)}" for value, share in frequent]
    if not said:
        return ()
    rest = [x for x in profile.quantiles if x != frequent[0][0]]
    if frequent[0][1] >= 0.5 and len(rest) >= 4:
        said.append(
            f"half of the others between {number(rest[len(rest) // 4])} and {number(rest[-1 - len(rest) // 4])}"
        )
    return (f"Frequent: {', '.join(said)}.",)


def _beyond(profile: Profile, said: object = number) -> tuple[str, ...]:
    from rlbake.quality.histogram import histograms

    drawn = histograms([profile], log=is_wide(profile))[0]
    if not len(drawn.edges) or drawn.beyond < 1e-9:
        return ()
    assert callable(said)
    return (
        f"Tails of {percent(drawn.beyond)} are cut: values reach from {said(profile.low)} to {said(profile.high)}.",
    )


def _psi_note(report: QualityReport, name: str) -> tuple[str, ...]:
    found = report.drift.get(name)
    if found is None or found.psi < verdict.SOME_DRIFT:
        return ()
    return (f"Drifted: index {found.psi:.2f}.",)


def _labelled(report: QualityReport, name: str, labels: Sequence[str], title: str) -> Card:
    profile, reference = report.profiles[name], report.reference.get(name)
    shares = _shares(profile, labels)
    compared = _shares(reference, labels) if reference and reference.present and reference.kind != NUMBER else None
    drawn, notes = list(labels), _psi_note(report, name)
    if len(labels) > BARS:
        drawn = sorted(labels, key=lambda label: -profile.counts.get(label, 0))[:BARS]
        rest = 1 - sum(profile.counts.get(label, 0) for label in drawn) / profile.present
        notes = (f"The other {count(len(labels) - BARS)} values: {percent(max(0.0, rest))}.", *notes)
        shares = _shares(profile, drawn)
        compared = _shares(reference, drawn) if compared is not None and reference else None
    plot = bars_plot(
        drawn, shares, x_label="share of known values" if profile.missing else "share of rows",
        y_label=shortened(_short(name)), described=name, reference=compared,
    )  # fmt: skip
    return Card(title, plot, notes)


def _shares(profile: Profile, labels: Sequence[str]) -> list[float]:
    return [profile.counts.get(label, 0) / profile.present for label in labels]


def _noteworthy(report: QualityReport) -> list[str]:
    """The features, those with drift or missing values first, then as the application lists them."""
    names = [of_feature(feature.name) for feature in report.observation if of_feature(feature.name) in report.profiles]

    def unremarkable(name: str) -> tuple[float, float]:
        psi = report.drift[name].psi if name in report.drift else 0.0
        return (-psi if psi >= verdict.SOME_DRIFT else 0.0, -missing_share(report.profiles[name]))

    return names if len(names) <= PLOTTED else sorted(names, key=unremarkable)


def _line(report: QualityReport, name: str) -> Line:
    profile, found = report.profiles[name], report.drift.get(name)
    line = Line(
        name=_short(name),
        kind=profile.kind,
        missing=percent(missing_share(profile)),
        psi=f"{found.psi:.3f}" if found else "",
        moved=number(found.wasserstein) if found and found.wasserstein is not None else "",
        drifted=_how_much(report, name),
    )
    if profile.kind != NUMBER:
        top = sorted(profile.counts, key=lambda label: -profile.counts[label])[:3]
        said = [f"{shortened(label)} {percent(profile.counts[label] / profile.present)}" for label in top]
        return replace(line, frequent=", ".join(said))
    if profile.low is None or profile.high is None:
        return line
    return replace(
        line,
        mean=number(profile.mean),
        deviation=number(profile.deviation if profile.varies else 0.0),
        low=number(profile.low),
        median=number(profile.quantiles[len(profile.quantiles) // 2]),
        high=number(profile.high),
        frequent=", ".join(f"{number(value)} {percent(share)}" for value, share in frequent_values(profile)[:3]),
    )


def _how_much(report: QualityReport, name: str) -> str:
    psi = report.drift[name].psi if name in report.drift and verdict.enough_rows(report, name) else 0.0
    return "much" if psi >= verdict.MUCH_DRIFT else "some" if psi >= verdict.SOME_DRIFT else ""


def _drifted(report: QualityReport) -> list[Line]:
    worst: Mapping[str, float] = {name: found.psi for name, found in report.drift.items()}
    return [_line(report, name) for name in sorted(worst, key=lambda name: -worst[name])][:PLOTTED]


def _compared(report: QualityReport) -> str:
    """What the dots and outlines are, in words; "" if there are none."""
    if not report.reference:
        return ""
    rows = max(profile.rows for profile in report.reference.values())
    return f"{report.relative_to} ({counted(rows, 'transition')})"


def _short(column: str) -> str:
    for prefix in (of_feature(""), of_metric("")):
        column = column.removeprefix(prefix)
    return column
