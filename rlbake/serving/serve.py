"""A server: one process that supervises its workers, until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import resource_tracker
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from rlbake.application import Application, load_application
from rlbake.errors import ConfigError, RlbakeError
from rlbake.registry.versions import ResolvedModel, policy_dir, resolve
from rlbake.scoring.shipment import pack
from rlbake.serving.contract import decision_rows, outcome_rows
from rlbake.serving.fallback import Fallback
from rlbake.serving.lookup import Lookup
from rlbake.serving.remember import experience_log
from rlbake.serving.settings import METRICS_FOLDER, TOKEN, Settings
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect

GRACE_S = 30
"""How long open requests may take to be answered once the server is told to end."""

KEEP_ALIVE_S = 75
"""How long an idle connection is kept: longer than the proxies in front, so that it is they who close it."""

_STARTING_S = 120  # importing TensorFlow on a busy machine

_HANDLER = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "plain"}
_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(message)s"}, "worker": {"format": "%(levelname)s [%(process)d] %(message)s"}},
    "handlers": {"plain": _HANDLER, "worker": {**_HANDLER, "formatter": "worker"}},
    "loggers": {
        "rlbake": {"handlers": ["plain"], "level": "INFO", "propagate": False},
        "uvicorn.error": {"handlers": ["worker"], "level": "WARNING", "propagate": False},
    },
}

_logger = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; then answers open requests, writes the log out and returns.

    A worker that dies is replaced. The MLflow run stays open as long as the server.

    Raises:
        ConfigError: a setting is wrong, or the port is taken.
        NotFoundError: there is no such model or table of features.
        SpecError: the model is for other features or actions.
        StorageError: the registry does not answer.
    """
    application = load_application(settings.application, settings.tables)
    connect(experiment=application.name)
    model = _checked(settings, application)
    bound = _bound(settings.host, settings.port)
    with bound, TemporaryDirectory() as counts, stage_run("serve", application=application.name) as run:
        run.log_config({**asdict(settings), "token": TOKEN in os.environ})
        run.log_model_input(model.model_id)
        os.environ[METRICS_FOLDER] = counts
        settings.hand_over()
        _logger.info("Serving %s on http://%s:%d", model.policy_version, *bound.getsockname()[:2])
        _supervise(settings, bound)


def _checked(settings: Settings, application: Application) -> ResolvedModel:
    """The version that the workers will start with, after everything else that they need was looked at."""
    observation, action = application.observation, application.action
    model = resolve(settings.model)
    pack(policy_dir(model), observation=observation, action=action, exploration=settings.exploration)
    Fallback(application, settings.fallback)
    decision_rows(application.keys, observation, action, most=1, whole=True, looked_up=False)
    outcome_rows(application.keys, application.metrics, most=1)
    if settings.features:
        Lookup(settings.features, application.keys, observation).read()
    experience_log(settings, application).close()  # makes its tables, before many processes would at once
    return model


def _supervise(settings: Settings, bound: socket.socket) -> None:
    config = uvicorn.Config(
        "rlbake.serving.app:create",
        factory=True,
        workers=settings.workers,
        access_log=False,
        server_header=False,
        log_config=_LOGGING,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_worker_healthcheck=_STARTING_S,
    )
    supervisor = _Supervisor(config, [bound])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise RlbakeError("the server's workers could not start; what they said is above.")


class _Supervisor(Multiprocess):
    """Notices at once that a worker has died while it was being asked whether it lives.

    uvicorn's own keeps a worker's end of the pipe between them open, so that it waits for the
    answer of a dead one as long as for that of one that is starting, and hears no signal meanwhile.
    Ctrl-C reaches all processes of a terminal; here only the supervisor hears it and ends the others.
    """

    def init_processes(self) -> None:
        with _interrupts_held():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        for process in self.processes:
            process.child_conn.close()
        with _interrupts_held():
            super().keep_subprocess_alive()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes that are started within never see SIGINT; this one sees it afterwards."""
    resource_tracker.ensure_running()  # the start of a process would start it, and let SIGINT through thereafter
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another port.") from error
    bound.set_inheritable(True)
    return bound
