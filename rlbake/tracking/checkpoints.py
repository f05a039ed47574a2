"""The newest checkpoint of a training, among the artifacts of its run, on whichever store they are.

checkpoint/a.npz and checkpoint/b.npz are written in turns; the tag `rlbake.checkpoint` names the one that is
whole, with its digest. It is set once a file is stored, so what was cut short while written is never read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.tracking.runs import StageRun
from rlbake.training.checkpoint import Checkpoint, read_checkpoint

FOLDER = "checkpoint"
_FILES = ("a.npz", "b.npz")

_logger = logging.getLogger(__name__)


def save(run: StageRun, checkpoint: Checkpoint) -> None:
    """Stores a checkpoint in place of the one before the last, and the metrics up to it.

    Raises:
        MlflowException, OSError: the artifact store refuses it.
    """
    newest = _named(MlflowClient().get_run(run.run_id)).get("file")
    name = _FILES[1] if newest == _FILES[0] else _FILES[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        checkpoint.write(file)
        run.flush()
        run.log_artifact(file, FOLDER)
        run.tag({v.TAG_CHECKPOINT: json.dumps({"steps": checkpoint.steps, "file": name, "sha256": _digest(file)})})


def load(run: Run) -> Checkpoint | None:
    """A run's newest checkpoint; None if it has none that is whole."""
    named = _named(run)
    if not named:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            uri = f"runs:/{run.info.run_id}/{FOLDER}/{named['file']}"
            file = Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
        except (MlflowException, OSError) as gone:
            _logger.warning("The checkpoint of run %s cannot be read: %s", run.info.run_id, gone)
            return None
        if _digest(file) != named["sha256"]:
            _logger.warning("The checkpoint of run %s is damaged.", run.info.run_id)
            return None
        return read_checkpoint(file)


def remove(run_id: str) -> None:
    """Leaves no checkpoint. Where the artifact store cannot delete, the last two files stay, and nothing names them."""
    client = MlflowClient()
    run = client.get_run(run_id)
    if v.TAG_CHECKPOINT not in run.data.tags:
        return
    client.delete_tag(run_id, v.TAG_CHECKPOINT)
    try:
        get_artifact_repository(run.info.artifact_uri).delete_artifacts(FOLDER)
    except (MlflowException, NotImplementedError, OSError) as refused:
        _logger.debug("The checkpoint of run %s could not be deleted: %s", run_id, refused)


def _named(run: Run) -> dict[str, str]:
    return json.loads(run.data.tags.get(v.TAG_CHECKPOINT, "{}"))


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
