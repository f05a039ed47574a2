"""One application at one window: what every stage of the story works on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rlbake import vocabulary as v
from rlbake.application import Application, describe, load_application
from rlbake.cadence import Window
from rlbake.errors import ConfigError
from rlbake.scenarios.scenario import Scenario
from rlbake.tracking.store import connect
from rlbake.warehouse.table import Table


@dataclass(frozen=True)
class Period:
    """One application at one window.

    Attributes:
        application: with its `tables` set.
        window: the period to work on.
        seed: of every random choice.
        model_name: registered model, `main.rl.<application>` unless named.
        target: what the application was loaded by: `package.module:Class` or `path/to/file.py:Class`.
    """

    application: Application
    window: Window
    seed: int
    model_name: str
    target: str = ""

    @property
    def folder(self) -> str:
        """URI of the folder that holds the application's tables."""
        return f"{self.application.tables}/{self.application.name}"

    @property
    def trajectories(self) -> Table:
        return Table(f"{self.folder}/{v.TRAJECTORIES_TABLE}")

    @property
    def build_digest(self) -> str:
        """Of everything but the logs that decides what a build writes: 32 hex digits."""
        timeout = self.application.cadence.episode_timeout
        decisive = {**describe(self.application), "episode_timeout": timeout and timeout.total_seconds()}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32]

    def at(self, window: Window) -> Period:
        """The same application at another window."""
        return replace(self, window=window)


def open_period(
    application: str, tables: str, date: str, seed: int, model_name: str | None = None, *, ahead: int = 0
) -> Period:
    """Loads an application and finds the window that a date names.

    Args:
        application: `package.module:Class` or `path/to/file.py:Class`.
        tables: URI of the folder that holds the tables.
        date: ISO date or time within the window, or "latest": the latest complete one.
        seed: of every random choice.
        model_name: registered model.
        ahead: with "latest", how many windows beyond it (for simulating what is yet to come).

    Raises:
        ConfigError: there is no such application or date, or the window is not complete yet.
        StorageError: the tracking store cannot be reached.
    """
    loaded = load_application(application, tables)
    connect(experiment=loaded.name)
    name = model_name or f"main.rl.{loaded.name}"
    return Period(loaded, _window(loaded, date, ahead), seed, name, application)


def _window(application: Application, date: str, ahead: int) -> Window:
    cadence = application.cadence
    if isinstance(application, Scenario):
        return cadence.window(date) if date != "latest" else _simulated(application, ahead)
    latest = application.latest_complete(datetime.now(UTC))
    window = latest if date == "latest" else cadence.window(date)
    if window > latest:
        raise ConfigError(
            f"date {date}: the window {window} is not complete yet; the latest complete one is {latest} "
            "(its end and the reward delay must have passed)."
        )
    return window


def _simulated(scenario: Scenario, ahead: int) -> Window:
    """The last simulated window, or `ahead` windows beyond it; on a fresh start, what is to come first."""
    simulated = scenario.simulated_windows()
    if simulated:
        return scenario.cadence.following(simulated[-1], ahead)
    return scenario.cadence.following(scenario.cadence.first, (ahead or scenario.warm_up) - 1)
