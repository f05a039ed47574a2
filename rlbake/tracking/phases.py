"""Wall time and peak memory of a phase of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

SAMPLE_EVERY_S = 0.2


@dataclass
class Phase:
    """What a phase took; filled in when it ends, whether it succeeded or not.

    Attributes:
        seconds: wall time.
        peak_mb: highest resident memory seen, in MB (10^6 bytes), of this process and all
            below it (the local Spark driver included), sampled every `SAMPLE_EVERY_S`; pages
            that processes share count once for each.
    """

    seconds: float = 0.0
    peak_mb: float = 0.0


@contextmanager
def measured() -> Iterator[Phase]:
    """Measures the block that it wraps."""
    phase = Phase()
    done = threading.Event()
    root = psutil.Process()

    def sample() -> None:
        phase.peak_mb = max(phase.peak_mb, _resident_bytes(root) / 1e6)

    def watch() -> None:
        while not done.wait(SAMPLE_EVERY_S):
            sample()

    start = time.perf_counter()
    sample()
    watcher = threading.Thread(target=watch, name="rlbake-memory", daemon=True)
    watcher.start()
    try:
        yield phase
    finally:
        phase.seconds = time.perf_counter() - start
        done.set()
        watcher.join()
        sample()


def _resident_bytes(root: psutil.Process) -> int:
    total = 0
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        processes = [root]
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it ended, or is not ours to look at
            continue
    return total
