"""Stage runs against a real store: names, tags, config, phases, metrics, failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.tracking import MlflowClient

import rlbake
from rlbake import vocabulary as v
from rlbake.errors import DataError, StorageError
from rlbake.tracking.runs import record_failure, stage_run
from rlbake.tracking.store import connect

REPOSITORY = Path(rlbake.__file__).parents[1]


@pytest.fixture
def client(tracking_uri: str) -> MlflowClient:
    connect("runs")
    return MlflowClient()


def test_a_stage_is_a_run_with_its_tags_and_ends_finished(client: MlflowClient) -> None:
    with stage_run("train", application="cartpole", window="2026-01-05") as run:
        assert mlflow.active_run().info.run_id == run.run_id
    ended = client.get_run(run.run_id)
    assert ended.info.status == "FINISHED"
    assert ended.info.run_name == "train cartpole 2026-01-05"
    assert ended.data.tags[v.TAG_STAGE] == "train"
    assert ended.data.tags[v.TAG_APPLICATION] == "cartpole"
    assert ended.data.tags[v.TAG_WINDOW] == "2026-01-05"
    assert client.get_experiment(ended.info.experiment_id).name == "runs"
    assert mlflow.active_run() is None


def test_nested_stages_share_the_experiment_and_name_their_parent(client: MlflowClient) -> None:
    with stage_run("main", application="a") as outer, stage_run("train", application="a") as inner:
        pass
    child = client.get_run(inner.run_id)
    assert child.data.tags["mlflow.parentRunId"] == outer.run_id
    assert child.info.experiment_id == outer.experiment_id


def test_a_failure_is_tagged_on_every_run_around_it(client: MlflowClient) -> None:
    with (
        pytest.raises(DataError, match="no rows"),
        stage_run("main", application="a") as outer,
        stage_run("build_trajectories", application="a") as inner,
    ):
        raise DataError("window 2026-01-05 has no rows. " + "x" * 9000)
    for run_id in (outer.run_id, inner.run_id):
        run = client.get_run(run_id)
        assert run.info.status == "FAILED"
        assert run.data.tags[v.TAG_FAILURE].startswith("window 2026-01-05 has no rows.")
        assert run.data.tags[v.TAG_FAILURE].endswith("…")
    assert mlflow.active_run() is None


def test_a_defect_and_an_interrupt_keep_their_type(client: MlflowClient) -> None:
    with pytest.raises(ZeroDivisionError), stage_run("train", application="a") as defect:
        _ = 1 / 0
    with pytest.raises(KeyboardInterrupt), stage_run("train", application="a") as interrupted:
        raise KeyboardInterrupt
    assert client.get_run(defect.run_id).data.tags[v.TAG_FAILURE] == "ZeroDivisionError: division by zero"
    assert client.get_run(defect.run_id).info.status == "FAILED"
    assert client.get_run(interrupted.run_id).info.status == "KILLED"


def test_the_run_of_mlflow_run_is_taken_over_in_its_own_experiment(tracking_uri: str, monkeypatch) -> None:
    client = MlflowClient()
    experiment = client.create_experiment("chosen on the command line")
    given = client.create_run(experiment, run_name="my name")
    client.log_param(given.info.run_id, "agent", "'dqn'")
    monkeypatch.setenv("MLFLOW_RUN_ID", given.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    connect("rlbake")
    assert client.get_experiment_by_name("rlbake") is None
    with stage_run("main", application="a") as outer, stage_run("train", application="a") as inner:
        outer.log_config({"agent": "dqn"})
    assert outer.run_id == given.info.run_id
    ended = client.get_run(outer.run_id)
    assert ended.info.status == "FINISHED"
    assert ended.info.run_name == "my name"
    assert ended.data.params == {"agent": "'dqn'", "cfg.agent": "dqn"}
    nested = client.get_run(inner.run_id)
    assert nested.info.experiment_id == experiment
    assert nested.data.tags["mlflow.parentRunId"] == outer.run_id


@dataclass(frozen=True)
class Network:
    layers: tuple[int, ...]
    learning_rate: float


def test_config_is_flat_typed_params_and_one_artifact(client: MlflowClient) -> None:
    config = {
        "agent": Network((100, 100), 1e-3),
        "flag": True,
        "nothing": None,
        "text": "24h",
        "odd key!": 1,
        "long": "y" * 10_000,
        "many": {f"k{i}": i for i in range(250)},
    }
    with stage_run("train", application="a") as run:
        run.log_config(config)
    params = client.get_run(run.run_id).data.params
    assert params["cfg.agent.layers"] == "[100, 100]"
    assert params["cfg.agent.learning_rate"] == "0.001"
    assert params["cfg.flag"] == "true"
    assert params["cfg.nothing"] == "null"
    assert params["cfg.text"] == "24h"
    assert params["cfg.odd key_"] == "1"
    assert len(params["cfg.long"]) == 6000
    assert params["cfg.many.k249"] == "249"
    whole = json.loads(mlflow.artifacts.load_text(f"runs:/{run.run_id}/config.json"))
    assert whole["long"] == "y" * 10_000
    assert whole["agent"] == {"layers": [100, 100], "learning_rate": 0.001}


def test_phases_measure_time_and_memory_of_the_process_tree(client: MlflowClient) -> None:
    with stage_run("build", application="a") as run:
        with run.phase("idle"):
            time.sleep(0.3)
        before = client.get_run(run.run_id)
        assert "time/idle_s" not in before.data.metrics  # buffered
        with run.phase("own"):
            block = np.ones(25_000_000)  # 200 MB
            time.sleep(0.5)
            del block
        with run.phase("child"):
            code = "import time; b = bytearray(300_000_000); time.sleep(1.5)"
            subprocess.run([sys.executable, "-c", code], check=True)
        with run.phase("idle"):
            time.sleep(0.3)
    metrics = client.get_run(run.run_id).data.metrics
    assert 0.6 <= metrics["time/idle_s"] < 1.5
    assert metrics["memory/own_peak_mb"] >= metrics["memory/idle_peak_mb"] + 150 - 60
    assert metrics["memory/child_peak_mb"] >= metrics["memory/idle_peak_mb"] + 250 - 60


def test_a_phase_that_fails_is_logged_too(client: MlflowClient) -> None:
    with pytest.raises(ValueError, match="no"), stage_run("build", application="a") as run, run.phase("join"):
        raise ValueError("no")
    assert client.get_run(run.run_id).data.metrics["time/join_s"] >= 0


def test_metrics_arrive_in_batches_with_their_steps(client: MlflowClient) -> None:
    with stage_run("train", application="a") as run:
        start = time.perf_counter()
        for step in range(1200):
            run.metrics({"train/loss": 1.0 / (step + 1), "train/q": float("nan")}, step)
        assert time.perf_counter() - start < 10  # 1200 single calls take 18 s
    history = client.get_metric_history(run.run_id, "train/loss")
    assert len(history) == 1200
    assert {m.step: m.value for m in history}[9] == pytest.approx(0.1)


def test_an_unreachable_server_is_one_clear_error_within_seconds(tmp_path: Path) -> None:
    code = "from rlbake.tracking.store import connect; connect()"
    for uri in ("http://127.0.0.1:9", "postgresql://me:secret@127.0.0.1:9/db", "sqlite:////proc/no/mlflow.db"):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(REPOSITORY)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("rlbake.errors.StorageError: The MLflow tracking store")
        assert "Check MLFLOW_TRACKING_URI" in last
        assert "secret" not in last
        assert time.perf_counter() - start < 40


def test_without_a_setting_the_store_is_a_database_in_the_working_folder(tmp_path: Path) -> None:
    code = (
        "from rlbake.tracking.store import connect; from rlbake.tracking.runs import stage_run; uri = connect()\n"
        "with stage_run('train', application='a'): pass\n"
        "import sys; sys.stdout.write(uri)"
    )
    environment = {k: x for k, x in os.environ.items() if not k.startswith("MLFLOW_")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"sqlite:///{tmp_path}/mlflow.db"
    assert done.stderr == ""
    assert (tmp_path / "mlflow.db").exists()


def test_a_stage_that_the_store_refuses_is_a_storage_error(tracking_uri: str, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    connect()
    with pytest.raises(StorageError, match="train"), stage_run("train", application="a"):
        pass


def test_a_run_names_the_commit_and_whether_the_tree_differed(
    client: MlflowClient, tmp_path: Path, monkeypatch
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    (folder / "code.py").write_text("x = 1\n")
    subprocess.run([*git, "add", "code.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.chdir(folder)
    seen = []
    for text in ("x = 1\n", "x = 2\n"):
        (folder / "code.py").write_text(text)
        with stage_run("train", application="a") as run:
            pass
        tags = client.get_run(run.run_id).data.tags
        seen.append((tags["mlflow.source.git.commit"], tags[v.TAG_GIT_DIRTY]))
    assert seen == [(head, "false"), (head, "true")]


def test_a_failure_before_any_stage_reaches_the_run_of_mlflow_run(client: MlflowClient, monkeypatch) -> None:
    given = client.create_run("0")
    record_failure("nobody asked for a run")  # not under `mlflow run`: nothing to tag
    monkeypatch.setenv("MLFLOW_RUN_ID", given.info.run_id)
    record_failure("seed 'abc' is not an integer")
    assert client.get_run(given.info.run_id).data.tags[v.TAG_FAILURE] == "seed 'abc' is not an integer"


def test_a_failure_that_cannot_be_recorded_does_not_hide_itself(client: MlflowClient, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    record_failure("the run is gone")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    record_failure("the server is gone")
