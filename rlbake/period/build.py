"""Logs to trajectories, window by window, until nothing that is built is stale."""

from __future__ import annotations

import logging
from collections import Counter
from heapq import heapify, heappop, heappush

from pyspark.sql import DataFrame

from rlbake import vocabulary as v
from rlbake.application import user_code
from rlbake.cadence import Window
from rlbake.errors import ConfigError, EmptyWindowError, RlbakeError
from rlbake.period.period import Period
from rlbake.period.quality import profiled, profiled_windows, report
from rlbake.period.simulate import simulate_missing
from rlbake.period.sources import fingerprint, sources
from rlbake.sources import read_errors
from rlbake.timesteps.join_logs import OUTCOMES, UNMATCHED, UNSEEN, counted
from rlbake.tracking.runs import StageRun, stage_run
from rlbake.trajectories.build import SOURCES, TAIL, WindowBuild, build_window, is_whole, tail_content
from rlbake.warehouse.session import spark_session
from rlbake.warehouse.table import Table

_logger = logging.getLogger(__name__)


def build_trajectories(period: Period, start: str | None = None) -> list[WindowBuild]:
    """Builds the windows from start to the period's own, and those around them that are stale.

    A window is stale if the files that its `timesteps` read have changed since (looked for in the
    windows before start that are not older than the cadence's `lateness`), or if the window before
    it has been rebuilt and left something else open.

    Raises:
        DataError: the logs break the application's contract, or the period's window has no rows.
        ConfigError: start is no date, or lies after the period's window.
    """
    cadence = period.application.cadence
    first = cadence.window(start) if start else period.window
    if first > period.window:
        raise ConfigError(f"start {start} lies after the date, {period.window}.")
    return _build(period, cadence.windows(first, period.window))


def build_period(period: Period) -> None:
    """Builds the period's own window, what of its training window is not built or profiled yet, and what is stale."""
    _build(period, [*(w for w in unbuilt(period) if w != period.window), period.window])


def ensure_trajectories(period: Period) -> None:
    """Builds what of the training window is not built or profiled yet."""
    missing = unbuilt(period)
    if missing:
        _logger.info("No trajectories yet for %s. Building first.", ", ".join(w.ds for w in missing))
        _build(period, missing)


def unbuilt(period: Period) -> list[Window]:
    """What of the training window is not built or profiled yet."""
    windows = period.application.cadence.training_windows(period.window)
    built = profiled_windows(period)
    return [w for w in windows if w.ds not in built]


def _built(period: Period) -> set[str]:
    return set(period.trajectories.windows()) if period.trajectories.exists() else set()


def _build(period: Period, asked: list[Window]) -> list[WindowBuild]:
    """Builds windows in order of time. One without rows is told and left out; no episode is continued across it.

    Raises:
        EmptyWindowError: the period's own has no rows.
    """
    application = period.application
    with stage_run("build_trajectories", application=application.name, window=period.window.ds) as run:
        run.log_config({"windows": [w.ds for w in asked], "tables": application.tables, "seed": period.seed})
        simulate_missing(period, asked)
        with run.phase("spark"):
            spark_session()
        with run.phase("look_for_late_rows"):
            stale = _late(period, asked)
        for window, why in stale.items():
            _tell_stale(run, window, why)
        waiting = [*stale, *asked]
        builds: list[WindowBuild] = []
        left_out: list[Window] = []
        unplaced: Counter[str] = Counter()
        heapify(waiting)
        while waiting:
            window = heappop(waiting)
            try:
                with run.phase("build"):
                    built, joined = _build_window(period, window, run)
            except EmptyWindowError as missing:
                if window == period.window:
                    raise
                _logger.warning("Missing window, left out: %s", missing)
                run.tag({f"rlbake.missing.{window}": "no rows"})
                left_out.append(window)
                continue
            with run.phase("profile"):
                profiled(period, run, window)
            builds = [*(b for b in builds if b.window != window), built]
            unplaced.update(joined)
            # The window itself, too: the one before may have been built at the same time.
            for next_ in (window, application.cadence.following(window)):
                if next_ not in waiting and _continues_otherwise(period, next_):
                    stale[next_] = f"{application.cadence.previous(next_)} leaves other decisions open now"
                    _tell_stale(run, next_, stale[next_])
                    heappush(waiting, next_)
        totals = {**_totals(builds), **unplaced}
        run.metrics({f"{v.BUILD}/{name}": value for name, value in totals.items()})
        if builds:
            with run.phase("quality"):
                report(period, run, builds, stale=stale, missing=left_out, unplaced=unplaced)
        return builds


def _late(period: Period, asked: list[Window]) -> dict[Window, str]:
    """The windows not older than `lateness` that are built, but not of the logs as they are now; and why."""
    built, cadence = _built(period), period.application.cadence
    candidates = {*cadence.late_windows(asked[0]), *cadence.late_windows(period.window)} - set(asked)
    stale = {}
    for window in sorted(candidates):
        if window.ds not in built:
            continue
        recorded = period.trajectories.builds([window.ds])[window.ds].inputs.get(SOURCES, "")
        if not is_whole(period.folder, window):
            stale[window] = "another build of it was cut short"
        elif _changed(period, window, recorded):
            stale[window] = "the logs have changed since it was built"
    return stale


def _changed(period: Period, window: Window, recorded: str) -> bool:
    try:
        return bool(recorded) and fingerprint(_timesteps(period, window)) not in ("", recorded)
    except RlbakeError as gone:
        _logger.warning("Cannot tell whether %s is stale: %s", window, gone)
        return False


def _continues_otherwise(period: Period, window: Window) -> bool:
    """Whether a window is built, but not from what the window before it leaves open now."""
    if window.ds not in _built(period):
        return False
    left = Table(f"{period.folder}/{v.OPEN_TABLE}")
    recorded = period.trajectories.builds([window.ds])[window.ds].inputs.get(TAIL, "")
    return tail_content(left, period.application.cadence.previous(window)) != recorded


def _tell_stale(run: StageRun, window: Window, why: str) -> None:
    _logger.info("Stale window, built again: %s (%s).", window, why)
    run.tag({f"rlbake.stale.{window}": why})


def _timesteps(period: Period, window: Window) -> DataFrame:
    application = period.application
    with user_code(f"{application.name}.timesteps, window {window}"):
        return application.timesteps(spark_session(), window)


def _build_window(period: Period, window: Window, run: StageRun) -> tuple[WindowBuild, dict[str, int]]:
    """Builds one window; also tells what joining its logs could not place."""
    application = period.application
    with counted() as unplaced:
        frame = _timesteps(period, window)
    run.log_sources(sources(application, frame, window))
    with read_errors(f"{application.name}.timesteps, window {window}"):
        built = build_window(
            frame,
            tables=period.folder,
            keys=application.keys,
            observation=application.observation,
            action=application.action,
            metrics=application.metrics,
            reward=application.reward,
            window=window,
            previous=application.cadence.previous(window),
            episode_timeout=application.cadence.episode_timeout,
            run_id=run.run_id,
            config_digest=period.build_digest,
            max_rejected=application.max_rejected,
            fatal=application.fatal,
            sources=fingerprint(frame),
        )
    _logger.info(
        "Built window %s: %s rows in, %s transitions, %s left open%s.",
        window, f"{built.rows_in:,}", f"{built.transitions:,}", f"{built.open:,}",
        "" if built.commit.changed else " (nothing changed: no new version)",
    )  # fmt: skip
    if built.rejected:
        _logger.warning(
            "Rejected %s of %s rows of window %s, which are in the table %s: %s.",
            f"{built.rejected:,}", f"{built.rows_in:,}", window, v.QUARANTINE_TABLE,
            "; ".join(f"{b.count:,} {b.rule.problem} (column {b.rule.where})" for b in built.breaches),
        )  # fmt: skip
    if joined := unplaced.get():
        _logger.info(
            "Joined the logs of window %s: %s of %s outcomes follow no decision, %s decisions had seen nothing.",
            window, *(f"{joined[name]:,}" for name in (UNMATCHED, OUTCOMES, UNSEEN)),
        )  # fmt: skip
    return built, joined


def _totals(builds: list[WindowBuild]) -> dict[str, int]:
    """Sums over the windows built; `open` is what the last of them left open."""
    summed = ("rows_in", "rejected", "duplicates", "transitions", "unobserved", "timed_out", "stray")
    totals = {name: sum(getattr(built, name) for built in builds) for name in summed}
    totals["rows_rejected"] = totals.pop("rejected")
    breaches = [breach for built in builds for breach in built.breaches]
    for breach in breaches:
        name = f"rejected/{breach.rule.name}"
        totals[name] = totals.get(name, 0) + breach.count
    return {**totals, "open": builds[-1].open if builds else 0}
