"""Three logs, joined into timesteps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlbake import vocabulary as v
from rlbake.application import Application
from rlbake.cadence import Window, duration
from rlbake.errors import DataError, SpecError, nearest
from rlbake.sources.rows import Rows, Span

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from rlbake.timesteps.join_logs import Metrics

_OF_A_DECISION = (v.TIMESTAMP, v.ACTION, v.ACTION_MASK, v.LOG_PROBABILITY, v.POLICY_VERSION, v.END)


@dataclass(frozen=True, kw_only=True)
class Logs:
    """Observations, decisions and outcomes; `rlbake.join_logs` says how they fit together.

    Of each log the columns count that the application declares (keys, features, action and what
    goes with it, metrics) and `timestamp`; others are left out.

    Attributes:
        observations: read from `tolerance` before a window, or from their beginning.
        decisions: read from `attribution` before a window until `attribution` after it, so that an
            outcome goes to the decision that it followed, whichever window that is in.
        outcomes: read until `attribution` after the window.
        attribution: see `rlbake.join_logs`, as the two below.
        tolerance: without one, every window reads all observations before it.
        metrics: how each metric's events become one number.
    """

    observations: Rows
    decisions: Rows
    outcomes: Rows
    attribution: str
    tolerance: str | None = None
    metrics: Metrics | None = None

    def __post_init__(self) -> None:
        for name in ("observations", "decisions", "outcomes"):
            if not isinstance(getattr(self, name), Rows):
                raise SpecError(f"Logs: {name} must be a Folder, SparkTable or Query.")
        duration(self.attribution)
        if self.tolerance is not None:
            duration(self.tolerance)

    def timesteps(self, spark: SparkSession, window: Window, application: Application) -> DataFrame:
        """The decisions of a window, with what was seen and what followed.

        Raises:
            NotFoundError, DataError: a log cannot be read, or they do not fit together.
            SpecError: windows are built before their outcomes are in.
        """
        from rlbake.timesteps.join_logs import join_logs

        refuse_too_early(application, self.attribution)
        declared = {
            *application.keys,
            *(feature.name for feature in application.observation),
            *_OF_A_DECISION,
            *application.metrics,
        }
        logs = {}
        for name, (log, span) in self._spans(window).items():
            rows = log.read(spark, span)
            for key in application.keys:
                if key not in rows.columns:
                    raise DataError(f"{name}: {log.name} has no key {key!r}. {nearest(key, rows.columns)}")
            logs[name] = rows.select(*(f"`{column}`" for column in rows.columns if column in declared))
        return join_logs(
            **logs,
            attribution=self.attribution,
            keys=application.keys,
            tolerance=self.tolerance,
            metrics=self.metrics,
            window=window,
        )

    def lineage(self, window: Window) -> list[tuple[str, str]]:
        """What is read for a window: the log's name, and its place."""
        return [(name, log.place(span)) for name, (log, span) in self._spans(window).items()]

    def _spans(self, window: Window) -> dict[str, tuple[Rows, Span]]:
        horizon = duration(self.attribution)
        oldest = None if self.tolerance is None else duration(self.tolerance)
        return {
            "observations": (self.observations, Span(window, before=oldest)),
            "decisions": (self.decisions, Span(window, before=horizon, after=horizon)),
            "outcomes": (self.outcomes, Span(window, after=horizon)),
        }


def refuse_too_early(application: Application, attribution: str) -> None:
    """Refuses a cadence by which a window is built while its outcomes are still coming in.

    Raises:
        SpecError: its reward delay is shorter than the attribution.
    """
    if application.cadence.reward_delay < duration(attribution):
        raise SpecError(
            f"application {application.name}: reward_delay is shorter than attribution {attribution!r}: "
            "a window would be built before its outcomes are in. Make the cadence's reward_delay as long."
        )
