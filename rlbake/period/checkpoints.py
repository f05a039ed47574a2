"""Checkpoints of a training while it goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from mlflow.exceptions import MlflowException

from rlbake import vocabulary as v
from rlbake.errors import RlbakeError, StorageError
from rlbake.tracking import checkpoints
from rlbake.tracking.runs import StageRun
from rlbake.tracking.trainer import Claim
from rlbake.tracking.unfinished import Unfinished
from rlbake.training.checkpoint import Checkpoint

EVERY_S = 30.0
"""How much of a training may be lost, in seconds."""

_logger = logging.getLogger(__name__)


class Checkpoints:
    """Keeps the newest checkpoint of a training with its run.

    Args:
        run: of the training.
        claim: this process's, on the run.
        resumed: digest of what the run trained before it was cut short; None: it is a new one.
    """

    def __init__(self, run: StageRun, claim: Claim, resumed: str | None) -> None:
        self._run, self._claim, self._resumed = run, claim, resumed
        self._kept_at = time.monotonic()

    def of(self, digest: str) -> None:
        """Says what the run trains: by it `take_over` finds the run, should it be cut short.

        Raises:
            StorageError: a run that is resumed trained something else before.
        """
        if self._resumed not in (None, digest):
            raise StorageError(
                f"what run {self._run.run_id} was trained on has changed at this moment, so that it cannot be "
                "resumed. Train again."
            )
        self._run.tag({v.TAG_TRAINING: digest})
        self._kept_at = time.monotonic()

    def on_chunk(self, moment: Callable[[], Checkpoint]) -> None:
        """Keeps a checkpoint of the moment, if the last one was kept long enough ago.

        Raises:
            StorageError: another process trains the run now.
        """
        self._claim.check()
        if time.monotonic() - self._kept_at < EVERY_S:
            return
        try:
            checkpoints.save(self._run, moment())
        except (MlflowException, OSError) as refused:
            _logger.warning("No checkpoint could be kept, and the training goes on without: %s", refused)
        self._kept_at = time.monotonic()


@contextmanager
def checkpointed(run: StageRun, cut: Unfinished | None) -> Iterator[Checkpoints]:
    """Keeps a run's checkpoints until the block ends.

    One that ends well, is refused or diverges leaves none; after any other failure, an interrupt or a SIGKILL
    the training can be finished later.

    Args:
        run: of the training.
        cut: what the run goes on with, if it is resumed.
    """
    with nullcontext(cut.claim) if cut else Claim(run.run_id) as claim:
        try:
            yield Checkpoints(run, claim, cut.digest if cut else None)
        except StorageError:
            raise
        except RlbakeError:
            checkpoints.remove(run.run_id)
            raise
        checkpoints.remove(run.run_id)
