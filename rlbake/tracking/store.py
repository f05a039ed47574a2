"""Reaching the tracking store, and saying so at once when it cannot be reached."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import mlflow
import sqlalchemy
from mlflow.environment_variables import (
    MLFLOW_EXPERIMENT_ID,
    MLFLOW_EXPERIMENT_NAME,
    MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
    MLFLOW_RUN_ID,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rlbake.errors import StorageError

PROBE_TIMEOUT_S = 10
"""How long the first request to a tracking server, or connection to a database, may take."""

_NOISY_LOGGERS = ("alembic", "mlflow.store", "mlflow.tracking.fluent", "mlflow.pyfunc")
_set_experiments: set[str] = set()
"""Ids of the experiments that `connect` itself has set in this process."""

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def connect(experiment: str | None = "rlbake") -> str:
    """Points MLflow at its tracking store, checks that it answers, and names the experiment.

    The store is the one already set (`MLFLOW_TRACKING_URI` or `mlflow.set_tracking_uri`), else
    `sqlite:///mlflow.db` in the working folder. The experiment is left alone when `mlflow run`
    has chosen one (`MLFLOW_RUN_ID`), when `MLFLOW_EXPERIMENT_NAME` or `MLFLOW_EXPERIMENT_ID`
    names one, inside an active run, or when it is None (for reading only).

    Returns:
        The tracking URI.

    Raises:
        StorageError: the store does not answer, within seconds.
    """
    _quiet()
    if not mlflow.is_tracking_uri_set():
        mlflow.set_tracking_uri(f"sqlite:///{Path('mlflow.db').absolute()}")
    uri = mlflow.get_tracking_uri()
    probe(uri)
    if experiment is not None and not _experiment_is_chosen() and mlflow.active_run() is None:
        _set_experiments.add(mlflow.set_experiment(experiment).experiment_id)
    return uri


def _experiment_is_chosen() -> bool:
    """By `mlflow run` or the user; `set_experiment` leaves the same variable behind as they do."""
    by_id = MLFLOW_EXPERIMENT_ID.get()
    return (
        MLFLOW_RUN_ID.is_set()
        or MLFLOW_EXPERIMENT_NAME.is_set()
        or (by_id is not None and by_id not in _set_experiments)
    )


def probe(uri: str) -> None:
    """One cheap request, with few retries; MLflow's own would go on for minutes.

    Raises:
        StorageError: the store does not answer.
    """
    try:
        if uri.startswith(_DATABASES):
            _probe_database(uri)
        with impatient():
            MlflowClient().search_experiments(max_results=1)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError, OSError) as error:
        raise StorageError(
            f"The MLflow tracking store {_without_password(uri)} cannot be used: {_root_cause(error)} "
            "Check MLFLOW_TRACKING_URI, or unset it to use sqlite:///mlflow.db in this folder."
        ) from error


def _probe_database(uri: str) -> None:
    url = sqlalchemy.make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    timeout = {"postgresql": "connect_timeout", "mysql": "connect_timeout", "sqlite": "timeout"}
    argument = timeout.get(url.get_backend_name())
    engine = sqlalchemy.create_engine(url, connect_args={argument: PROBE_TIMEOUT_S} if argument else {})
    try:
        with engine.connect() as connection:
            if url.get_backend_name() == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # refused where the file cannot be written
    finally:
        engine.dispose()


@contextmanager
def impatient() -> Iterator[None]:
    """MLflow's HTTP retries cut short, except those that the user has set."""
    limits = {
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.name: "2",
        MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR.name: "1",
        MLFLOW_HTTP_REQUEST_TIMEOUT.name: str(PROBE_TIMEOUT_S),
    }
    added = {name: value for name, value in limits.items() if name not in os.environ}
    os.environ.update(added)
    urllib3 = logging.getLogger("urllib3.connectionpool")
    level = urllib3.level
    urllib3.setLevel(logging.ERROR)  # a warning per retry
    try:
        yield
    finally:
        urllib3.setLevel(level)
        for name in added:
            os.environ.pop(name, None)


def _quiet() -> None:
    """Silences what MLflow says of itself and nobody can act on."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def _root_cause(error: BaseException) -> str:
    while inner := error.__cause__ or error.__context__:
        error = inner
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0].strip()[:300]
    return line if line.endswith(".") else line + "."


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))
