"""Logs to trajectories, window by window."""

from __future__ import annotations

import logging

from rlbake import vocabulary as v
from rlbake.application import user_code
from rlbake.cadence import Window
from rlbake.errors import ConfigError, EmptyWindowError
from rlbake.period.period import Period
from rlbake.period.simulate import simulate_missing
from rlbake.period.sources import sources
from rlbake.tracking.runs import StageRun, stage_run
from rlbake.trajectories.build import WindowBuild, build_window
from rlbake.warehouse.session import spark_session

_logger = logging.getLogger(__name__)


def build_trajectories(period: Period, start: str | None = None) -> list[WindowBuild]:
    """Builds the windows from start to the period's own, oldest first, replacing what they held.

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
    """Builds the period's own window, and what of its training window has not been built yet."""
    _build(period, [*(w for w in _unbuilt(period) if w != period.window), period.window])


def ensure_trajectories(period: Period) -> None:
    """Builds what of the training window has not been built yet."""
    missing = _unbuilt(period)
    if missing:
        _logger.info("No trajectories yet for %s. Building first.", ", ".join(w.ds for w in missing))
        _build(period, missing)


def _unbuilt(period: Period) -> list[Window]:
    windows = period.application.cadence.training_windows(period.window)
    built = set(period.trajectories.windows()) if period.trajectories.exists() else set()
    return [w for w in windows if w.ds not in built]


def _build(period: Period, windows: list[Window]) -> list[WindowBuild]:
    """Builds windows in order of time. One without rows is told and left out; no episode is continued across it.

    Raises:
        EmptyWindowError: the last of them has no rows.
    """
    application = period.application
    with stage_run("build_trajectories", application=application.name, window=period.window.ds) as run:
        run.log_config({"windows": [w.ds for w in windows], "tables": application.tables, "seed": period.seed})
        simulate_missing(period, windows)
        with run.phase("spark"):
            spark_session()
        builds = []
        for window in windows:
            try:
                with run.phase("build"):
                    builds.append(_build_window(period, window, run))
            except EmptyWindowError as missing:
                if window == windows[-1]:
                    raise
                _logger.warning("Missing window, left out: %s", missing)
                run.tag({f"rlbake.missing.{window}": "no rows"})
        run.metrics({f"{v.BUILD}/{name}": value for name, value in _totals(builds).items()})
        return builds


def _build_window(period: Period, window: Window, run: StageRun) -> WindowBuild:
    application, spark = period.application, spark_session()
    with user_code(f"{application.name}.timesteps, window {window}"):
        frame = application.timesteps(spark, window)
        run.log_sources(sources(frame, window.ds))
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
    )
    _logger.info(
        "Built window %s: %s rows in, %s transitions, %s left open%s.",
        window, f"{built.rows_in:,}", f"{built.transitions:,}", f"{built.open:,}",
        "" if built.commit.changed else " (nothing changed: no new version)",
    )  # fmt: skip
    return built


def _totals(builds: list[WindowBuild]) -> dict[str, int]:
    """Sums over the windows built; `open` is what the last of them left open."""
    summed = ("rows_in", "duplicates", "transitions", "unobserved", "timed_out", "stray")
    return {
        **{name: sum(getattr(built, name) for built in builds) for name in summed},
        "open": builds[-1].open,
    }
