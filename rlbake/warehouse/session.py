"""The Spark session: the cluster's own where there is one, else a quiet local one."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pyspark import SparkContext
from pyspark.sql import SparkSession

from rlbake.warehouse.java import java_home

LOG_CONFIG = Path(__file__).with_name("log4j2.properties")

# A local session is short: four times the usual run count before a method is compiled to the last
# level saves a tenth of a cold build's CPU, and a long build passes it all the same.
JIT = (
    "-XX:Tier4InvocationThreshold=20000 -XX:Tier4MinInvocationThreshold=2400 "
    "-XX:Tier4CompileThreshold=60000 -XX:Tier4BackEdgeThreshold=160000"
)


def spark_session() -> SparkSession:
    """The active session, untouched; where there is none, a local one on all cores.

    A session that spark-submit or Spark Connect is about to give counts as the cluster's own:
    nothing of it is configured here.

    Raises:
        RlbakeError: a local session is needed and there is no Java >= 17.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    started_elsewhere = SparkContext._active_spark_context is not None
    if started_elsewhere or "PYSPARK_GATEWAY_PORT" in os.environ or "SPARK_REMOTE" in os.environ:
        return SparkSession.builder.getOrCreate()
    return _local_session()


def _local_session() -> SparkSession:
    os.environ["JAVA_HOME"] = java_home()
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings: dict[str, bool | float | int | str | None] = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "localhost",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": f"{_driver_megabytes()}m",
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={LOG_CONFIG.as_uri()} -XX:+UseParallelGC {JIT}",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(Path(tempfile.gettempdir()) / "spark-warehouse"),
        "spark.sql.shuffle.partitions": str(2 * cores),
        "spark.sql.adaptive.enabled": "true",
        # else each column expression calls the JVM three times more, to tell in errors which line of Python made it
        "spark.python.sql.dataFrameDebugging.enabled": "false",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    }
    builder = SparkSession.builder.appName("rlbake").master("local[*]")
    with _without_incubator_banner():
        return builder.config(map=settings).getOrCreate()


def _driver_megabytes() -> int:
    """A third of the memory this process may use, at most 2 GiB: what does not fit is spilled to disk."""
    available = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and limit.read_text().strip().isdigit():
        available = min(available, int(limit.read_text()))
    return max(512, min(2048, available // 3 // 2**20))


@contextmanager
def _without_incubator_banner() -> Iterator[None]:
    """Keeps the JVM's line about its vector module, which no flag silences, off the terminal.

    The JVM inherits a pipe as its stderr; everything else that it writes is passed on for as
    long as it lives.
    """
    terminal = os.dup(2)
    reader, writer = os.pipe()
    os.set_inheritable(terminal, False)
    os.dup2(writer, 2)
    os.close(writer)
    threading.Thread(target=_pass_on, args=(reader, os.dup(terminal)), daemon=True).start()
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def _pass_on(reader: int, terminal: int) -> None:
    with os.fdopen(reader, "rb") as lines, os.fdopen(terminal, "wb", buffering=0) as out:
        for line in lines:
            if b"Using incubator modules" not in line:
                out.write(line)
