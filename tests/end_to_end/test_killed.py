"""Killed anywhere and run again, a step leaves what an undisturbed one would have left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
from deltalake import DeltaTable
from mlflow.tracking import MlflowClient

from rlbake.registry.versions import policy_dir, resolve
from rlbake.warehouse.table import Table

ROOT = Path(__file__).parent.parent.parent
TABLES = ("timesteps", "open", "trajectories")
FEW = "from rlbake.scenarios.message_timing import MessageTiming\n\nclass Few(MessageTiming):\n    units = 2000\n"


def start(entry_point: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    return subprocess.Popen(
        [sys.executable, "-m", f"entry_points.{entry_point}", "--application", "few.py:Few", *arguments],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 0, printed


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILLs the whole process group, the JVM too."""
    os.killpg(process.pid, signal.SIGKILL)
    _, printed = process.communicate()
    assert process.returncode == -signal.SIGKILL, printed


def kill_once_there(process: subprocess.Popen[str], path: Path) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.005)
    kill(process)


def kill_once_printed(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    assert any(words in line for line in process.stderr)
    kill(process)


def rows(folder: Path, table: str) -> dict[str, object]:
    delta = Table(str(folder / "tables/message_timing" / table))
    stored = DeltaTable(delta.uri).to_pyarrow_table()
    return {"contents": delta.contents(), "rows": stored.num_rows, "digest": delta.digest()}


@pytest.fixture
def folder(tmp_path: Path, migrated_store: Path) -> Path:
    for name in ("disturbed", "undisturbed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "few.py").write_text(FEW)
        (tmp_path / name / "mlflow.db").write_bytes(migrated_store.read_bytes())
    return tmp_path


@pytest.mark.slow
def test_a_build_and_a_training_killed_halfway(folder: Path, tracking_uri: str):
    disturbed, undisturbed = folder / "disturbed", folder / "undisturbed"
    build = ("build_trajectories", "--date", "2026-01-02", "--start", "2026-01-01")
    train = ("train", "--set", "steps=20000,batch_size=64")
    finish(start(build[0], undisturbed, *build[1:]))
    finish(start(train[0], undisturbed, *train[1:]))

    for moment in ("timesteps/ds=2026-01-01", "timesteps/_delta_log", "open/_delta_log"):
        kill_once_there(start(build[0], disturbed, *build[1:]), disturbed / "tables/message_timing" / moment)
    finish(start(build[0], disturbed, *build[1:]))
    for table in TABLES:
        assert rows(disturbed, table) == rows(undisturbed, table), table

    kill_once_printed(start(train[0], disturbed, *train[1:]), "of 20000: loss")
    finish(start(train[0], disturbed, *train[1:]))
    for table in TABLES:
        assert rows(disturbed, table) == rows(undisturbed, table), table
    weights = []
    for path in (disturbed, undisturbed):
        store = f"sqlite:///{path}/mlflow.db"
        mlflow.set_tracking_uri(store)
        mlflow.set_registry_uri(store)
        (version,) = MlflowClient().search_model_versions("name = 'main.rl.message_timing'")
        model = resolve(version.version, name="main.rl.message_timing")
        weights.append((policy_dir(model) / "saved_model/variables/variables.data-00000-of-00001").read_bytes())
    assert weights[0] == weights[1]
