"""A Spark cluster on loopback, whose workers can be killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyspark

from rlbake.warehouse.java import java_home

SPARK = Path(pyspark.__file__).parent
SHORT_LIVED = os.environ["SPARK_SUBMIT_OPTS"]
"""Options of JVMs that are soon gone, as tests/conftest.py has them for all others."""


def wait_until(true: Callable[[], object], what: str, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s until {what}"
        time.sleep(0.05)


@dataclass(frozen=True)
class Worker:
    """A worker of one core; its executor is in its process group."""

    port: str
    process: subprocess.Popen[bytes]


class Cluster:
    """A standalone master and its workers on loopback, each a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment = os.environ | {
            "JAVA_HOME": java_home(),
            "SPARK_HOME": str(SPARK),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(folder / "scratch"),
            "SPARK_DAEMON_MEMORY": "512m",
            "SPARK_DAEMON_JAVA_OPTS": SHORT_LIVED,
            "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
        }
        _, log = self._start("master.Master", "--port", "0")
        self.url = self._told(log, r"Starting Spark master at (spark://\S+)")
        self._page = self._told(log, r"MasterWebUI .* started at (http://\S+)")

    def add_worker(self) -> Worker:
        """Starts a worker; returns once the master knows it."""
        place = self._folder / f"work{len(self._processes)}"
        size = ("--cores", "1", "--memory", "1g", "--work-dir", str(place))
        process, log = self._start("worker.Worker", *size, "--port", "0", self.url)
        worker = Worker(self._told(log, r"Starting Spark worker 127\.0\.0\.1:(\d+)"), process)
        wait_until(lambda: self.state(worker), "a worker had registered")
        return worker

    def state(self, worker: Worker) -> dict[str, Any]:
        """What the master says about a worker; nothing before it has registered."""
        with urllib.request.urlopen(f"{self._page}/json/", timeout=60) as answer:
            known = json.load(answer)["workers"]
        return next((found for found in known if found["id"].endswith(f"-{worker.port}")), {})

    def stop(self) -> None:
        for process in reversed(self._processes):
            kill(process)

    def _start(self, daemon: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = self._folder / f"log{len(self._processes)}"
        command = [SPARK / "bin/spark-class", f"org.apache.spark.deploy.{daemon}", "--host", "127.0.0.1"]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*command, "--webui-port", "0", *arguments],
                cwd=self._folder, env=self.environment, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        return process, log

    def _told(self, log: Path, pattern: str) -> str:
        wait_until(lambda: re.search(pattern, log.read_text()), f"{log.name} said {pattern}")
        found = re.search(pattern, log.read_text())
        assert found is not None
        return found[1]


def kill(process: subprocess.Popen[Any]) -> None:
    """SIGKILLs a whole process group, if there is one left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
