"""A training that was cut short, to be taken over and finished in its own run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlflow.entities import Run

from rlbake import vocabulary as v
from rlbake.tracking import checkpoints
from rlbake.tracking.taking_over import taken_over
from rlbake.tracking.trainer import Claim
from rlbake.training.checkpoint import Checkpoint

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Unfinished:
    """A training that was cut short and is claimed for this process.

    Attributes:
        run_id: of its run.
        digest: that it was found by.
        checkpoint: where it goes on.
        claim: on its run.
    """

    run_id: str
    digest: str
    checkpoint: Checkpoint
    claim: Claim


@contextmanager
def take_over(digest: str | None) -> Iterator[Unfinished | None]:
    """The latest training of the experiment that was cut short, and would end with the same weights as a new one.

    It has a checkpoint and no process trains it; a run that is refused, has diverged or is finished has no
    checkpoint any more. Until the context ends, it is this process's.

    Args:
        digest: of everything that decides the weights: the run's tag `rlbake.training`; None: there is no such run.

    Raises:
        StorageError: the tracking store does not answer.
    """
    where = f"tags.`{v.TAG_TRAINING}` = '{digest}' AND tags.`{v.TAG_CHECKPOINT}` != ''" if digest else None

    def resume(run: Run, claim: Claim) -> Unfinished | None:
        checkpoint = checkpoints.load(run)
        if checkpoint is None or digest is None:
            return None
        _logger.info("Resuming run %s from step %s.", run.info.run_id, f"{checkpoint.steps:,}")
        return Unfinished(run.info.run_id, digest, checkpoint, claim)

    with taken_over(where, "training", resume) as cut:
        yield cut
