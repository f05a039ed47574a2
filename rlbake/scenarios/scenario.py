"""What all shipped applications share: they are simulated, and keep raw logs of it.

Each log is a Delta table `<tables>/<name>/logs/<log>`, partitioned by `ds`: the window whose
decisions its rows belong to, as a daily export would file them. Simulating a window again
replaces exactly that window's rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from rlbake import vocabulary as v
from rlbake.application import Application
from rlbake.cadence import Window
from rlbake.errors import ConfigError, NotFoundError
from rlbake.policies.policy import Policy
from rlbake.warehouse.location import Location
from rlbake.warehouse.table import Table
from rlbake.world import World

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

LOGS = "logs"
UTC_MICROSECONDS = pa.timestamp("us", tz="UTC")


class Scenario(Application, ABC):
    """An application with a simulated world of known best return, which also writes its raw logs.

    Attributes:
        units: default size of the simulated population.
        warm_up: windows that a fresh start needs before it has a transition to learn from.
        logs: names of the raw logs in the order of their commits. A window counts as simulated
            once the last of them holds it, so a simulation that was cut short never counts.
    """

    units: ClassVar[int]
    warm_up: ClassVar[int] = 1
    logs: ClassVar[tuple[str, ...]]

    @abstractmethod
    def play(self, window: Window, policy: Policy, units: int, seed: int) -> dict[str, pa.Table]:
        """One window of every log; a pure function of its arguments that needs no other window."""

    @abstractmethod
    def world(self) -> World:
        """The world that the logs come from, for evaluation."""

    def world_at(self, window: Window) -> World:
        return self.world()

    def simulate(self, window: Window, policy: Policy, units: int, seed: int) -> None:
        """Plays a window and replaces it in every log.

        Raises:
            ConfigError: units is below 1.
            StorageError: a log cannot be written.
        """
        if units < 1:
            raise ConfigError(f"units is {units}: simulate at least 1.")
        played = self.play(window, policy, units, seed)
        of_window = f"{v.DS} = '{window.ds}'"
        if window in self.simulated_windows():
            last = self._log(self.logs[-1])
            with last.errors("write to"):
                DeltaTable(last.uri).delete(of_window)
        for name in self.logs:
            log = self._log(name)
            log.make_writable()
            rows = played[name].append_column(v.DS, pa.array(np.full(played[name].num_rows, window.ds)))
            with log.errors("write to"):
                write_deltalake(log.uri, rows, mode="overwrite", predicate=of_window, partition_by=[v.DS])

    def number(self, window: Window) -> int:
        """How many windows lie before this one."""
        return (window.start - self.cadence.start) // self.cadence.every

    def simulated_windows(self) -> list[Window]:
        """The windows whose logs are complete, in order of time."""
        last = self._log(self.logs[-1])
        with last.errors("read"):
            if not DeltaTable.is_deltatable(last.uri):
                return []
            partitions = DeltaTable(last.uri).partitions()
        return sorted(self.cadence.window(partition[v.DS]) for partition in partitions)

    def latest_complete(self, now: datetime) -> Window:
        """The last simulated window: simulated time has no clock, and outcomes come with their window.

        Raises:
            NotFoundError: nothing has been simulated.
        """
        simulated = self.simulated_windows()
        if not simulated:
            raise NotFoundError(f"{self.name}: nothing has been simulated in {self.tables}. {_REMEDY}")
        return simulated[-1]

    def read_log(self, spark: SparkSession, log: str, window: Window) -> DataFrame:
        """One window of a raw log, without `ds`.

        Raises:
            NotFoundError: the window has not been simulated.
        """
        simulated = self.simulated_windows()
        if window not in simulated:
            there = f"{simulated[0]} to {simulated[-1]}" if simulated else "none"
            raise NotFoundError(f"{self.name}: window {window} has not been simulated (there: {there}). {_REMEDY}")
        table = Table(self._log(log).uri)
        return table.read(spark, windows={window.ds} & set(table.windows())).drop(v.DS)  # a log may be empty that day

    def _log(self, name: str) -> Location:
        return Location(f"{self.tables}/{self.name}/{LOGS}/{name}")


def microseconds(start: datetime, seconds: np.ndarray) -> np.ndarray:
    """The instants so many seconds after a start, datetime64[us] in UTC."""
    return np.datetime64(start.replace(tzinfo=None), "us") + (seconds * 1e6).astype("timedelta64[us]")


_REMEDY = "Simulate it with `mlflow run . -e simulate`."
