"""Files that may be artifacts of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow.exceptions import MlflowException

from rlbake.errors import NotFoundError
from rlbake.tracking.store import connect

_ARTIFACT = "runs:/"


@contextmanager
def local_file(reference: str | None) -> Iterator[str | None]:
    """A path as it is; an artifact, `runs:/<run id>/<path>`, as a file that is there until the context ends.

    Raises:
        NotFoundError: there is no such artifact.
        StorageError: the tracking store does not answer.
    """
    if reference is None or not reference.startswith(_ARTIFACT):
        yield reference
        return
    connect(experiment=None)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = mlflow.artifacts.download_artifacts(reference, dst_path=folder)
        except (MlflowException, OSError) as error:
            raise NotFoundError(f"there is no artifact {reference}: {error}") from error
        yield found
