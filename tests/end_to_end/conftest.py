"""Entry points called as `mlflow run` calls them: a run is made first, its id stands in MLFLOW_RUN_ID. Clusters."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from entry_points import terminal
from tests.end_to_end.cluster import Cluster, kill


@dataclass(frozen=True)
class Outcome:
    """What a user of an entry point gets to see."""

    exit_code: int
    printed: str
    run: Run

    @property
    def failure(self) -> str | None:
        return self.run.data.tags.get("rlbake.failure")


Enter = Callable[..., Outcome]


@pytest.fixture
def enter(
    tracking_uri: str, spark: object, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Enter:
    """Runs an entry point in this process, in an empty working folder, and tells how it ended."""

    def call(entry_point: str, **parameters: object) -> Outcome:
        client = MlflowClient()
        experiment = client.get_experiment_by_name("test")
        experiment_id = experiment.experiment_id if experiment else client.create_experiment("test")
        run_id = client.create_run(experiment_id).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        arguments = [text for name, value in parameters.items() for text in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", [entry_point, *arguments])
        capfd.readouterr()
        code = 0
        try:
            terminal.run(importlib.import_module(f"entry_points.{entry_point}").command)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)  # MLflow drops it itself once it is used
            while mlflow.active_run():
                mlflow.end_run()
        out, err = capfd.readouterr()
        return Outcome(code, out + err, client.get_run(run_id))

    return call


@pytest.fixture
def cluster(tracking_uri: str, tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    started = Cluster(folder)
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Filled by a test; whatever is left of them at its end is killed."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        kill(process)
