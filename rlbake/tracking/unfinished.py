"""A training that was cut short, to be taken over and finished in its own run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import StorageError
from rlbake.tracking import checkpoints
from rlbake.tracking.runs import experiment_of_next_run
from rlbake.tracking.trainer import Claim, is_alive
from rlbake.training.checkpoint import Checkpoint

_FINISHED = RunStatus.to_string(RunStatus.FINISHED)

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
    with ExitStack() as claims:
        try:
            cut = _claimed(digest, claims) if digest else None
        except MlflowException as error:
            raise StorageError(f"unfinished trainings cannot be looked for: {error}") from error
        yield cut


def _claimed(digest: str, claims: ExitStack) -> Unfinished | None:
    client = MlflowClient()
    where = f"tags.`{v.TAG_TRAINING}` = '{digest}'"
    for run in client.search_runs([experiment_of_next_run()], where, order_by=["attributes.start_time DESC"]):
        run_id = run.info.run_id
        if v.TAG_CHECKPOINT not in run.data.tags or run.info.status == _FINISHED:
            continue
        if is_alive(run):
            _logger.info("Run %s trains the same at this moment; it is left alone.", run_id)
            continue
        with ExitStack() as attempt:
            claim = attempt.enter_context(Claim(run_id))
            checkpoint = checkpoints.load(client.get_run(run_id)) if claim.holds() else None
            if checkpoint is not None:
                claims.push(attempt.pop_all())
                _logger.info("Resuming run %s from step %s.", run_id, f"{checkpoint.steps:,}")
                return Unfinished(run_id, digest, checkpoint, claim)
    return None
