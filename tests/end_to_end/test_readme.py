"""The README's commands, as a user types them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

from tests.tracking.conftest import whole_environments

ROOT = Path(__file__).parent.parent.parent
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
COMMANDS = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines() if line.strip()]
MLFLOW_RUNS = [command for command in COMMANDS if command[:2] == ["mlflow", "run"]]


def test_the_readme_shows_commands():
    assert len(MLFLOW_RUNS) >= 5
    assert ["make", "train"] in COMMANDS
    assert ["make", "test"] in COMMANDS


@pytest.mark.parametrize("command", MLFLOW_RUNS, ids=" ".join)
def test_every_mlflow_run_names_what_there_is(command: list[str]):
    entry_point = PROJECT["entry_points"][command[command.index("-e") + 1]]
    given = [command[n + 1].partition("=")[0] for n, word in enumerate(command) if word == "-P"]
    assert set(given) <= set(entry_point["parameters"])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "make"], ids=" ".join)
def test_every_make_target_exists(command: list[str]):
    assert re.search(rf"^{command[1]}:", (ROOT / "Makefile").read_text(), flags=re.M)


@pytest.mark.slow
def test_main_then_the_next_date_then_the_lineage(tmp_path: Path, migrated_store: Path, model_environments: Path):
    """In a copy of the project, so that its tables and its MLflow store are fresh."""
    project = tmp_path / "project"
    ignored = shutil.ignore_patterns(".*", "tables", "mlruns", "mlflow.db", "__pycache__", "tests")
    shutil.copytree(ROOT, project, ignore=ignored)
    shutil.copy(migrated_store, project / "mlflow.db")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment["MLFLOW_ENV_ROOT"] = str(model_environments)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    on_message_timing = [c for c in COMMANDS if "message_timing" in " ".join(c)]
    assert [c[0] for c in on_message_timing] == ["mlflow", "mlflow", "python"]
    for command in on_message_timing:
        ended = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stdout + ended.stderr
    assert "built by build_trajectories" in ended.stdout

    store = f"sqlite:///{project}/mlflow.db"
    client = MlflowClient(store, store)
    aliases = client.get_registered_model("main.rl.message_timing").aliases
    assert str(aliases["champion"]) == "1"  # the second may be refused, the first is judged by the logs alone
    assert len(whole_environments(model_environments)) == 1
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    finished = [run for run in runs if run.info.status == "FINISHED"]
    refused = [run for run in runs if run.info.status == "FAILED"]
    assert {run.data.tags["rlbake.stage"] for run in refused} <= {"promote"}
    assert len([run for run in finished if run.data.tags["rlbake.stage"] == "main"]) == 2
