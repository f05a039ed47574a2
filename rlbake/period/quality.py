"""What a build leaves behind beside its tables: profiles of the windows built, and a report of their quality."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import NotFoundError
from rlbake.features.profile import Profiles, merge_all
from rlbake.features.stored import is_current, read_profiles
from rlbake.period.features import profiles_kept
from rlbake.period.models import champion_of
from rlbake.period.period import Period
from rlbake.profiles.build import profile_window
from rlbake.profiles.episodes import episode_lengths
from rlbake.quality.page import render
from rlbake.quality.report import Joined, QualityReport, Rejection, WindowFacts, facts
from rlbake.timesteps.join_logs import OUTCOMES, UNMATCHED, UNSEEN
from rlbake.tracking.runs import StageRun
from rlbake.trajectories.build import WindowBuild
from rlbake.warehouse.session import spark_session
from rlbake.warehouse.table import Table

PAGE, FACTS = "quality.html", "quality.json"
"""Artifacts of the run: the page, and what it says as data."""

QUALITY = "quality"
"""Prefix of the run's metrics."""

_EXAMPLES = 5


def report(
    period: Period,
    run: StageRun,
    builds: Sequence[WindowBuild],
    *,
    stale: Mapping[Window, str],
    missing: Sequence[Window],
    unplaced: Mapping[str, int],
) -> QualityReport:
    """Logs `quality.html`, `quality.json` and `quality/…` of the windows that a run built.

    Of other windows only their profiles are read. Drift is against the champion's training window
    if it kept its profiles, else against the windows before those built.

    Args:
        builds: in order of time, at least one.
        stale: why windows were built again without being asked for.
        missing: windows that have no rows.
        unplaced: what `join_logs` could not place; empty if it was not used.
    """
    trajectories = period.trajectories
    windows = [built.window.ds for built in builds]
    profiles = merge_all([profiled(period, run, built.window) for built in builds])
    reference, relative_to = _reference(period, builds[0].window)
    made = QualityReport(
        application=period.application.name,
        run_id=run.run_id,
        observation=period.application.observation,
        action=period.application.action,
        windows=tuple(_facts(built, stale.get(built.window, "")) for built in builds),
        profiles=profiles,
        lengths=episode_lengths(trajectories.read(spark_session(), windows=windows)),
        missing=tuple(window.ds for window in missing),
        rejections=_rejections(builds),
        quarantine=Table(f"{period.folder}/{v.QUARANTINE_TABLE}").uri,
        reference=reference,
        relative_to=relative_to,
        joined=Joined(unplaced[OUTCOMES], unplaced[UNMATCHED], unplaced[UNSEEN]) if unplaced else None,
    )
    run.log_text(render(made), PAGE)
    run.log_text(json.dumps(facts(made), indent=2) + "\n", FACTS)
    run.metrics({f"{QUALITY}/{name}": value for name, value in made.metrics().items()})
    return made


def profiled(period: Period, run: StageRun, window: Window) -> Profiles:
    """The profiles of a window that is built, made if there are none of its rows as they are now."""
    application = period.application
    return profile_window(
        spark_session(),
        tables=period.folder,
        window=window,
        observation=application.observation,
        action=application.action,
        metrics=application.metrics,
        run_id=run.run_id,
        config_digest=period.build_digest,
    )


def _facts(built: WindowBuild, stale: str) -> WindowFacts:
    return WindowFacts(
        ds=built.window.ds,
        rows_in=built.rows_in,
        rejected=built.rejected,
        duplicates=built.duplicates,
        transitions=built.transitions,
        open=built.open,
        unobserved=built.unobserved,
        timed_out=built.timed_out,
        stray=built.stray,
        changed=built.commit.changed,
        stale=stale,
    )


def _rejections(builds: Sequence[WindowBuild]) -> tuple[Rejection, ...]:
    """By rule and column over all windows, the most frequent first."""
    found: dict[tuple[str, str], Rejection] = {}
    for breach in (breach for built in builds for breach in built.breaches):
        rule, known = breach.rule, found.get((breach.rule.name, breach.rule.where))
        found[rule.name, rule.where] = Rejection(
            rule=rule.name,
            problem=known.problem if known else rule.problem,
            column=rule.where,
            count=breach.count + (known.count if known else 0),
            examples=((known.examples if known else ()) + breach.examples)[:_EXAMPLES],
            fix=rule.fix,
        )
    return tuple(sorted(found.values(), key=lambda rejection: -rejection.count))


def _reference(period: Period, first: Window) -> tuple[Profiles, str]:
    """What windows from `first` on are compared with, and what that is, in words."""
    try:
        champion = champion_of(period)
        if kept := profiles_kept(champion):
            return kept, f"the training window of the champion, {champion.policy_version}"
    except NotFoundError:  # of a champion, or of its files
        pass
    before = _profiled_before(period, first)
    if not before:
        return {}, "there is neither a champion that kept its profiles, nor a window before these"
    which = before[0] if len(before) == 1 else f"{before[0]} to {before[-1]}"
    whose = "the window before" if len(before) == 1 else f"the {len(before)} windows before"
    return merge_all(read_profiles(period.folder, before)), f"{whose}, {which}"


def _profiled_before(period: Period, first: Window) -> list[str]:
    """The `ds` of the training window before `first`, as far as it has rows, of this configuration, and profiles."""
    cadence = period.application.cadence
    previous = cadence.previous(first)
    if previous is None:
        return []
    built, profiled_ = period.trajectories.builds(), profiled_windows(period)
    windows = [window.ds for window in cadence.training_windows(previous) if window.ds in profiled_]
    return [ds for ds in windows if built[ds].content.rows and built[ds].config_digest == period.build_digest]


def profiled_windows(period: Period) -> set[str]:
    """The `ds` of the windows that are built, and of which there are profiles of the rows as they are now."""
    profiles = Table(f"{period.folder}/{v.PROFILES_TABLE}")
    if not (period.trajectories.exists() and profiles.exists()):
        return set()
    built, held = period.trajectories.builds(), profiles.builds()
    return {ds for ds, build in built.items() if ds in held and is_current(held[ds], build)}
