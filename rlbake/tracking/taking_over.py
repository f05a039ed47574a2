"""Finding a run that was cut short, and making it this process's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from mlflow.entities import Run, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rlbake.errors import StorageError
from rlbake.tracking.runs import experiment_of_next_run
from rlbake.tracking.trainer import Claim, is_alive

Resumed = TypeVar("Resumed")

_FINISHED = RunStatus.to_string(RunStatus.FINISHED)

_logger = logging.getLogger(__name__)


@contextmanager
def taken_over(
    where: str | None, what: str, resume: Callable[[Run, Claim], Resumed | None]
) -> Iterator[Resumed | None]:
    """The latest run of the experiment that was cut short and can go on. Until the context ends, it is this process's.

    Args:
        where: MLflow's filter on the runs in question; None: there is none.
        what: they are, to say in words: "training".
        resume: what a run goes on from, of the run as it is once it is claimed; None: it cannot, and is let go.

    Raises:
        StorageError: the tracking store does not answer.
    """
    with ExitStack() as claims:
        try:
            cut = _claimed(where, what, resume, claims) if where else None
        except MlflowException as error:
            raise StorageError(f"an unfinished {what} cannot be looked for: {error}") from error
        yield cut


def _claimed(
    where: str, what: str, resume: Callable[[Run, Claim], Resumed | None], claims: ExitStack
) -> Resumed | None:
    client = MlflowClient()
    for run in client.search_runs([experiment_of_next_run()], where, order_by=["attributes.start_time DESC"]):
        if run.info.status == _FINISHED:
            continue
        if is_alive(run):
            _logger.info("Run %s is the same %s, going on at this moment; it is left alone.", run.info.run_id, what)
            continue
        with ExitStack() as attempt:
            claim = attempt.enter_context(Claim(run.info.run_id))
            cut = resume(client.get_run(run.info.run_id), claim) if claim.holds() else None
            if cut is not None:
                claims.push(attempt.pop_all())
                return cut
    return None
