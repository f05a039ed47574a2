"""What Prometheus is told, summed over all worker processes.

The environment must name the server's folder of counts (`METRICS_FOLDER`) before this module is imported.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from rlbake.serving.settings import METRICS_FOLDER

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

REQUESTS = Counter("rlbake_requests", "Requests answered.", ["path", "status"])
REQUEST_SECONDS = Histogram("rlbake_request_seconds", "From its head to its answer.", ["path"], buckets=_SECONDS)
DECISIONS = Counter("rlbake_decisions", "Decisions answered, by who decided.", ["policy_version"])
FALLBACKS = Counter("rlbake_fallbacks", "Rows that the fallback decided, by reason.", ["reason"])
OUTCOMES = Counter("rlbake_outcomes", "Outcomes taken.")
CALL_ROWS = Histogram("rlbake_model_call_rows", "Rows decided in one call of the model.", buckets=_ROWS)
CALL_SECONDS = Histogram("rlbake_model_call_seconds", "One call of the model.", buckets=_SECONDS)
LOG_FAILURES = Counter("rlbake_log_failures", "Rows that could not be written to the experience log.", ["durability"])
SWAPS = Counter("rlbake_model_swaps", "Versions that took over.", ["policy_version"])
REFUSALS = Counter("rlbake_model_refusals", "Versions that may not take over.")
SINCE = Gauge(
    "rlbake_model_since_seconds",
    "When a version took over, in seconds since 1970; 0: it decides no longer.",
    ["policy_version"],
    multiprocess_mode="livemax",
)
KEYS = Gauge("rlbake_feature_keys", "Keys in the table of features.", multiprocess_mode="livemax")


def exposition() -> tuple[bytes, str]:
    """Every metric as text, and its content type."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


def forget_dead_processes() -> None:
    """Drops what only a living process can say, of workers that are gone; what they counted stays."""
    for file in Path(os.environ[METRICS_FOLDER]).glob("gauge_live*.db"):
        process = int(file.stem.rpartition("_")[2])
        if not psutil.pid_exists(process):
            mark_process_dead(process)
