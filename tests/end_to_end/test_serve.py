"""A champion that was really trained, behind HTTP: by `mlflow run -e serve`, and by MLflow alone."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
import requests
from deltalake import DeltaTable
from mlflow.tracking import MlflowClient

from rlbake.experience.tables import TABLES
from tests.end_to_end.conftest import Enter

ROOT = Path(__file__).parents[2]
MLFLOW = str(Path(sys.executable).with_name("mlflow"))
MODEL = "main.rl.cartpole"
ROW: dict[str, Any] = {"position": 0.0, "velocity": 0.1, "angle": 0.02, "angular_velocity": -0.1}


@pytest.fixture
def champion(enter: Enter) -> str:
    """URI of a champion that has learned a little."""
    trained = enter("train", set="steps=200,agent.layers=[16]")
    assert trained.exit_code == 0, trained.printed
    MlflowClient().set_registered_model_alias(MODEL, "champion", "1")
    return f"models:/{MODEL}@champion"


@contextmanager
def process(command: list[str], said: Path) -> Iterator[subprocess.Popen[str]]:
    """A process, which is killed with all that it started if it has not ended by then."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with said.open("w") as output:
        running = subprocess.Popen(command, env=environment, stdout=output, stderr=output, text=True)
        try:
            yield running
        finally:
            for one in [*psutil.Process(running.pid).children(recursive=True)] if running.poll() is None else []:
                one.kill()
            running.kill()
            running.wait()


def wait_for(condition: Callable[[], Any], running: subprocess.Popen[str], said: Path) -> Any:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except requests.ConnectionError:
            pass
        assert running.poll() is None, said.read_text()
        time.sleep(0.1)
    raise AssertionError(said.read_text())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.mark.slow
def test_a_champion_is_served_by_mlflow_run_and_by_mlflow_alone(champion: str, tmp_path: Path) -> None:
    _served_until_the_server_is_told_to_end(champion, tmp_path)
    _served_by_mlflow_alone(champion, tmp_path)
    _described_by_a_dockerfile(champion, tmp_path / "docker")


def _served_until_the_server_is_told_to_end(champion: str, tmp_path: Path) -> None:
    said, log = tmp_path / "said.txt", tmp_path / "experience"
    command = [MLFLOW, "run", str(ROOT), "-e", "serve", "--env-manager", "local", "-P", "port=0", "-P", f"log={log}"]
    with process(command, said) as running:
        url = wait_for(lambda: re.search(r"on (http://\S+)", said.read_text()), running, said)[1]
        wait_for(lambda: requests.get(f"{url}/ready", timeout=5).status_code == 200, running, said)
        answers = requests.post(f"{url}/decide", json=[{"cart": n, **ROW} for n in range(8)], timeout=20).json()
        told = {"decision_id": answers[0]["decision_id"], "alive": 1.0}
        assert requests.post(f"{url}/outcome", json=told, timeout=20).json() == {"outcomes": 1}
        (entered,) = [p for p in psutil.Process(running.pid).children(recursive=True) if _is_supervisor(p)]
        entered.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0, said.read_text()
    decisions, outcomes = (DeltaTable(log / table).to_pyarrow_table() for table in TABLES)
    assert set(decisions["decision_id"].to_pylist()) == {answer["decision_id"] for answer in answers}
    assert decisions["policy_version"].to_pylist() == [f"{MODEL}/1"] * 8
    assert outcomes["decision_id"].to_pylist() == [told["decision_id"]]
    client = MlflowClient()
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.`rlbake.stage` = 'serve'")
    assert run.info.status == "FINISHED"
    assert run.data.params["cfg.model"] == champion


def _is_supervisor(found: psutil.Process) -> bool:
    return found.cmdline()[1:3] == ["-m", "entry_points.serve"]


def _served_by_mlflow_alone(champion: str, tmp_path: Path) -> None:
    said, url = tmp_path / "said.txt", f"http://127.0.0.1:{free_port()}"
    port = url.rpartition(":")[2]
    command = [MLFLOW, "models", "serve", "-m", champion, "--env-manager", "local", "-p", port]
    with process(command, said) as running:
        wait_for(lambda: requests.get(f"{url}/ping", timeout=5).status_code == 200, running, said)
        asked = {"dataframe_records": [ROW, ROW], "params": {"explore": True}}
        answered = requests.post(f"{url}/invocations", json=asked, timeout=20)
        assert answered.status_code == 200, answered.text
    expected = mlflow.pyfunc.load_model(champion).predict([ROW, ROW], params={"explore": True})
    for one in answered.json()["predictions"]:
        assert one.keys() == set(expected.columns)
        assert one["policy_version"] == f"{MODEL}/1"
        assert -20 < one["log_probability"] <= 0


def _described_by_a_dockerfile(champion: str, folder: Path) -> None:
    written = subprocess.run(
        [MLFLOW, "models", "generate-dockerfile", "-m", champion, "-d", str(folder)], capture_output=True, text=True
    )
    assert written.returncode == 0, written.stderr
    assert "mlflow" in (folder / "Dockerfile").read_text()
    assert list(folder.rglob("saved_model.pb"))
