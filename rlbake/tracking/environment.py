"""Whether a model works outside of the process that trained it: in a process of its own, or with its own pins."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import requires, version
from pathlib import Path

import mlflow
from mlflow.environment_variables import MLFLOW_ENV_ROOT
from mlflow.exceptions import MlflowException
from packaging.requirements import Requirement

from rlbake.tracking.references import ResolvedModel

PREDICT_TIMEOUT_S = 300
"""Loading TensorFlow and the model, and predicting one row."""

INSTALL_TIMEOUT_S = 1800
"""Downloading and installing the model's requirements."""

_TRIAL = Path(__file__).with_name("environment_trial.py")
_OF_THIS_PROCESS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "TF_USE_LEGACY_KERAS", "MLFLOW_RUN_ID")


def loads(model: ResolvedModel, *, fresh: bool) -> tuple[bool, str]:
    """Whether a model loads, and predicts its input example as its signature says, without rlbake.

    Args:
        model: its files are fetched from the tracking store first.
        fresh: in an isolated environment that holds the model's own requirements and nothing else. It is
            built once, by uv where there is one and by venv and pip elsewhere, and kept below
            `MLFLOW_ENV_ROOT` (~/.mlflow/envs) for every model with the same requirements. Otherwise
            in a clean process of the running environment.

    Returns:
        True and what was tried, or False and one sentence that says what is wrong; nothing is raised for a bad
        model.
    """
    with tempfile.TemporaryDirectory(prefix="rlbake-") as folder:
        try:
            files = Path(mlflow.artifacts.download_artifacts(model.uri, dst_path=folder))
            python = _fresh(files) if fresh else Path(sys.executable)
            said = _last_line(_run([str(python), "-I", str(_TRIAL), str(files)], PREDICT_TIMEOUT_S, "predict"))
            result = json.loads(said)
            return result["passed"], result["message"]
        except _Failed as failed:
            return False, str(failed)
        except (MlflowException, OSError) as error:
            return False, f"its files cannot be read: {' '.join(str(error).split())}"
        except json.JSONDecodeError:
            return False, f"its process ended without an answer: {said[:300]!r}."


def packages() -> dict[str, str]:
    """Versions of Python and of the packages that rlbake demands, as installed; what a training run records."""
    demanded = [Requirement(line) for line in requires("rlbake") or []]
    names = [r.name for r in demanded if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


class _Failed(Exception):
    """The reason, as one sentence."""


def _fresh(files: Path) -> Path:
    """The interpreter of an environment that holds a model's requirements, built where it is not there yet."""
    requirements = files / "requirements.txt"
    if not requirements.is_file():
        raise _Failed("it has no requirements.txt, so there is no environment to try it in.")
    wanted = f"{sys.version_info[:3]}\n{requirements.read_text()}"
    place = Path(MLFLOW_ENV_ROOT.get()) / f"rlbake-{hashlib.sha256(wanted.encode()).hexdigest()[:20]}"
    python = Path("bin", "python") if os.name != "nt" else Path("Scripts", "python.exe")
    if (place / python).exists():
        return place / python
    place.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
    try:
        for command in _build_commands(building, building / python, requirements):
            _run(command, INSTALL_TIMEOUT_S, "build an environment of its requirements")
        try:
            building.rename(place)  # only a whole environment ever has the name
        except OSError:
            if not (place / python).exists():  # or somebody else was faster
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return place / python


def _build_commands(place: Path, python: Path, requirements: Path) -> list[list[str]]:
    if uv := shutil.which("uv"):
        return [
            [uv, "venv", "--quiet", "--python", sys.executable, str(place)],
            [uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(requirements)],
        ]
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        pip = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-compile",
            "--disable-pip-version-check",
            "--requirement",
        ]
        return [[sys.executable, "-m", "venv", str(place)], [*pip, str(requirements)]]
    raise _Failed(
        "there is nothing to build a fresh environment with: install uv, or Python's venv (Debian: python3-venv)."
    )


def _run(command: Sequence[str], timeout_s: float, what: str) -> str:
    """What a command printed.

    Raises:
        _Failed: it took too long, or ended otherwise than well.
    """
    environment = {name: text for name, text in os.environ.items() if name not in _OF_THIS_PROCESS}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise _Failed(f"it took more than {timeout_s:g} s to {what}.") from None
    if done.returncode:
        raise _Failed(f"it failed to {what}: {_last_line(done.stderr or done.stdout)[:300]}")
    return done.stdout


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason was given.")
