"""Load, moved aliases, a killed worker and nonsense at once; `benchmarks.serving` does it for a minute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from benchmarks.storm import faults, storm, workers
from rlbake.policies.saved import SavedPolicy
from rlbake.registry.versions import policy_dir, resolve
from tests.serving.conftest import Serve
from tests.serving.crossing import MODEL

ROWS = [
    {"car_id": n, "speed": n % 7 - 3.0, "load": n % 11, "member": n % 2 == 0, "country": ("DE", "US")[n % 3 == 0]}
    for n in range(200)
]


@pytest.fixture
def policies(store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, SavedPolicy]]:
    """Who decides, by version."""

    def load() -> dict[str, SavedPolicy]:
        before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
        mlflow.set_tracking_uri(store)
        mlflow.set_registry_uri(store)
        found = {version: policy_dir(resolve(version, name=MODEL)) for version in ("1", "2")}
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
        return {f"{MODEL}/{n}": SavedPolicy(folder, f"{MODEL}/{n}", explore=True) for n, folder in found.items()}

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # which the setters write to as well
        monkeypatch.setenv(name, "")
    return load


@pytest.mark.slow
def test_what_was_answered_is_in_the_log_once_and_was_decided_by_who_is_said(
    serve: Serve, store: str, policies: Callable[[], dict[str, SavedPolicy]]
) -> None:
    server = serve(workers=2, budget_ms=0)
    server.wait_for(lambda: server.printed.count("/1 decides.") == 2)
    first = {process.pid for process in workers(server.process.pid)}
    seen = storm(
        server.url,
        ROWS,
        seconds=10,
        clients=6,
        supervisor=server.process.pid,
        registry=MlflowClient(store, store),
        name=MODEL,
        versions=("2", "1"),
        every_s=2,
    )
    assert len(first & {process.pid for process in workers(server.process.pid)}) == 1
    server.wait_for(lambda: server.get("/ready").status_code == 200)
    counted = server.get("/metrics").text
    assert server.end() == 0
    assert faults(seen, Path(server.log), policies()) == []
    assert seen.broken <= 6
    assert seen.statuses[422] > 0
    assert seen.by.keys() == {f"{MODEL}/1", f"{MODEL}/2"}
    assert "Traceback" not in server.printed
    told = [line for line in counted.splitlines() if line.startswith("rlbake_decisions_total")]
    assert sum(float(line.rpartition(" ")[2]) for line in told) >= len(seen.answers)
