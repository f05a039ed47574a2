"""Whether a model works outside of the process that trained it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

import rlbake.tracking.environment as environment
from rlbake.tracking.environment import loads
from rlbake.tracking.model import log_agent
from rlbake.tracking.references import ResolvedModel, resolve
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect
from tests.tracking.conftest import whole_environments

Logged = Callable[[Path], ResolvedModel]


@pytest.fixture
def logged(tracking_uri: str) -> Logged:
    connect()

    def log(policy: Path) -> ResolvedModel:
        with stage_run("train", application="demo"):
            return resolve(log_agent(policy, application="demo").model_uri)

    return log


def files_of(model: ResolvedModel) -> Path:
    return Path(mlflow.artifacts.download_artifacts(model.uri))  # in a local store, the files themselves


def test_a_good_model_loads_in_a_process_without_rlbake(
    logged: Logged, policy_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = logged(policy_dir)
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.setenv("MLFLOW_RUN_ID", "gone")
    assert loads(model, fresh=False) == (True, f"it loads and predicts in Python {_version()}.")


@pytest.mark.slow
def test_whatever_is_wrong_is_one_sentence(logged: Logged, policy_dir: Path) -> None:
    model = logged(policy_dir)
    (saved,) = files_of(model).rglob("saved_model.pb")
    saved.write_bytes(b"nonsense")
    works, reason = loads(model, fresh=False)
    assert not works
    assert "Cannot parse file" in reason
    assert len(reason.splitlines()) == 1


def test_serving_code_that_needs_rlbake_does_not_pass(logged: Logged, policy_dir: Path) -> None:
    model = logged(policy_dir)
    (code,) = files_of(model).rglob("serving_code.py")
    code.write_text("import rlbake\n" + code.read_text().replace("from __future__ import annotations\n", ""))
    works, reason = loads(model, fresh=False)
    assert (works, "import of rlbake halted" in reason) == (False, True), reason


@pytest.mark.slow
def test_output_that_the_signature_does_not_promise_does_not_pass(logged: Logged, policy_dir: Path) -> None:
    model = logged(policy_dir)
    (code,) = files_of(model).rglob("serving_code.py")
    good = code.read_text()
    assert good.count('out["log_probability"].numpy()') == 1
    code.write_text(good.replace('out["log_probability"].numpy()', '1 - out["log_probability"].numpy()'))
    works, reason = loads(model, fresh=False)
    assert (works, "log probability of its decision is 1" in reason) == (False, True), reason


def test_one_that_hangs_is_stopped(logged: Logged, policy_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PREDICT_TIMEOUT_S", 0.5)
    assert loads(logged(policy_dir), fresh=False) == (False, "it took more than 0.5 s to predict.")


def test_files_that_are_gone_are_told(logged: Logged, policy_dir: Path) -> None:
    model = logged(policy_dir)
    shutil.rmtree(files_of(model))
    works, reason = loads(model, fresh=False)
    assert (works, "Could not find" in reason) == (False, True), reason


@pytest.mark.slow
def test_requirements_that_cannot_be_installed_do_not_pass(
    logged: Logged, policy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "environments"))
    model = logged(policy_dir)
    (files_of(model) / "requirements.txt").write_text("-r nowhere.txt\n")
    works, reason = loads(model, fresh=True)
    assert not works
    assert reason.startswith("it failed to build an environment of its requirements: ")
    assert "nowhere.txt" in reason
    assert list((tmp_path / "environments").iterdir()) == []


def test_without_a_tool_it_says_what_to_install(
    logged: Logged, policy_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "environments"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    works, reason = loads(logged(policy_dir), fresh=True)
    assert (works, "install uv, or Python's venv" in reason) == (False, True)


@pytest.mark.slow
def test_it_loads_in_a_fresh_environment_which_is_kept(
    logged: Logged, policy_dir: Path, tmp_path: Path, model_environments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(model_environments))
    model = logged(policy_dir)
    assert loads(model, fresh=True) == (True, f"it loads and predicts in Python {_version()}.")
    (kept,) = whole_environments(model_environments)
    assert not list(kept.glob("lib/*/site-packages/rlbake*"))
    monkeypatch.setenv("PATH", str(tmp_path))  # nothing is built again
    monkeypatch.setattr(environment, "INSTALL_TIMEOUT_S", 0)
    assert loads(model, fresh=True)[0]


def _version() -> str:
    import platform

    return platform.python_version()
