"""What every test shares: one Spark session, and a tracking store that costs no migration."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# The JVMs of tests, those of the processes that they start as well, end before the second compiler has paid off.
os.environ.setdefault("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1")


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    from rlbake.warehouse.session import spark_session

    session = spark_session()
    yield session
    session.stop()


@pytest.fixture(scope="session")
def model_environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where fresh environments of models are kept: building one takes a minute, and all tests pin the same.

    The processes of one run of the tests share it.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "environments"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly migrated MLflow database; migrating one takes seconds, copying it does not."""
    from mlflow.tracking import MlflowClient

    database = tmp_path_factory.mktemp("mlflow") / "template.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def tracking_uri(migrated_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty MLflow store and registry, with artifacts beside it; the working folder is tmp_path."""
    import mlflow

    database = tmp_path / "mlflow.db"
    shutil.copy(migrated_store, database)
    uri = f"sqlite:///{database}"
    for store in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # which MLflow's setters write to as well
        monkeypatch.setenv(store, uri)
    for chosen in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(chosen, raising=False)
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    yield uri
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])
