"""Servers in processes of their own, with versions from a real registry."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests

from tests.serving.crossing import MODEL
from tests.serving.registration import register_all

ROOT = Path(__file__).parents[2]
APPLICATION = "tests.serving.crossing:Crossing"


class Server:
    """A server in a process of its own, and what it said."""

    def __init__(self, folder: Path, store: str, environment: dict[str, str], **parameters: object) -> None:
        self.folder, self.log = folder, folder / "experience"
        given = {"application": APPLICATION, "model": f"models:/{MODEL}@champion", "log": self.log, "port": 0}
        given |= {"tables": folder / "tables", "refresh_s": 0.3} | parameters
        arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "entry_points.serve", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": store, **environment},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # as a terminal does
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)

    @property
    def printed(self) -> str:
        return "".join(self.said)

    def wait_for(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        """What a condition gave as soon as it held."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            assert self.process.poll() is None, self.printed
            time.sleep(0.05)
        raise AssertionError(f"it never came true. The server said: {self.printed}")

    @property
    def url(self) -> str:
        found = self.wait_for(lambda: re.search(r"on (http://\S+)", self.printed))
        return str(found[1])

    def alive(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def started(self) -> Server:
        self.wait_for(self.alive)
        return self

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=20, **options)

    def post(self, path: str, content: Any, **options: Any) -> requests.Response:
        return requests.post(f"{self.url}{path}", json=content, timeout=20, **options)

    def end(self) -> int:
        """Tells it to end, and waits until it has."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(5)
        return code


Serve = Callable[..., Server]


@pytest.fixture(scope="session")
def registered(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of `register_all`'s versions."""
    database = shutil.copy(migrated_store, tmp_path_factory.mktemp("registered") / "mlflow.db")
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # which the setters write to as well
            patch.setenv(name, "")
        patch.chdir(database.parent)
        mlflow.set_tracking_uri(f"sqlite:///{database}")
        mlflow.set_registry_uri(f"sqlite:///{database}")
        register_all(database.parent)
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    return database


@pytest.fixture
def store(registered: Path, tmp_path: Path) -> str:
    """A copy of it, whose aliases a test may move."""
    return f"sqlite:///{shutil.copy(registered, tmp_path / 'mlflow.db')}"


@pytest.fixture
def serve(store: str, tmp_path: Path) -> Iterator[Serve]:
    """Starts a server of the copied store; it ends with the test."""
    servers: list[Server] = []

    def start(environment: dict[str, str] | None = None, *, wait: bool = True, **parameters: object) -> Server:
        folder = tmp_path / f"server_{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, store, environment or {}, **parameters))
        return servers[-1].started() if wait else servers[-1]

    yield start
    for server in servers:
        server.end()


@pytest.fixture(scope="session")
def server(registered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests that only ask."""
    started = Server(tmp_path_factory.mktemp("server"), f"sqlite:///{registered}", {}).started()
    yield started
    started.end()
