"""The trials of a sweep as runs nested in its own; a sweep that was cut short finds them again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mlflow
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag, ViewType
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from rlbake import vocabulary as v
from rlbake.sweep.objective import DONE, FAILED, Trial, read_trial
from rlbake.tracking.params import flatten, shortened
from rlbake.tracking.runs import StageRun
from rlbake.tracking.taking_over import taken_over
from rlbake.tracking.trainer import Claim

TRIAL_FILE = "trial.json"
STATUS = "status"

_FINISHED, _FAILED = (RunStatus.to_string(status) for status in (RunStatus.FINISHED, RunStatus.FAILED))
_PAGE = 1000

_logger = logging.getLogger(__name__)


def log_trial(run: StageRun, trial: Trial) -> None:
    """Logs a trial that has ended as a run of its own.

    The tag that makes it count comes last: a trial that this is interrupted in was never made.
    """
    client = MlflowClient()
    ended = int(time.time() * 1000)
    nested = client.create_run(
        run.experiment_id,
        start_time=ended - int(trial.seconds * 1000),
        run_name=trial.name,
        tags={MLFLOW_PARENT_RUN_ID: run.run_id, v.TAG_STAGE: "trial"},
    ).info.run_id
    client.log_text(nested, trial.to_json(), TRIAL_FILE)
    params = [Param(name, text) for name, text in flatten(trial.point).items()]
    tags = [RunTag(v.TAG_TRIAL, str(trial.number)), RunTag(f"{v.TAG_TRIAL}.{STATUS}", trial.status)]
    if trial.reason:
        tags.append(RunTag(v.TAG_FAILURE, shortened(trial.reason, MAX_TAG_VAL_LENGTH)))
    client.log_batch(nested, metrics=_metrics(trial, ended), params=params)
    client.log_batch(nested, tags=tags)
    client.set_terminated(nested, _FAILED if trial.status == FAILED else _FINISHED, ended)
    if trial.outcome and trial.status == DONE:
        run.metrics({v.TUNE_SCORE: trial.outcome.score}, trial.number + 1)


def _metrics(trial: Trial, now: int) -> list[Metric]:
    outcome = trial.outcome
    if outcome is None:
        return []
    figures = {
        v.TUNE_SCORE: outcome.score,
        v.TUNE_LEVEL: outcome.level,
        v.TUNE_SPEED: outcome.speed,
        v.TUNE_WORST: outcome.worst[1],
        "tune/median": outcome.median,
        "tune/spread": outcome.spread,
        **{f"tune/score/{task}": score for task, score in outcome.by_task.items()},
        **{f"time/{what}_s": seconds for what, seconds in outcome.seconds.items()},
    }
    metrics = [Metric(name, value, now, 0) for name, value in figures.items()]
    return metrics + [Metric("tune/curve", score, now, at + 1) for at, score in enumerate(outcome.learning_curve)]


@dataclass(frozen=True)
class UnfinishedSweep:
    """A sweep that was cut short, and is claimed for this process.

    Attributes:
        run_id: of its run.
        trials: those of its trials that had ended, by number.
        claim: on its run.
    """

    run_id: str
    trials: tuple[Trial, ...]
    claim: Claim


@contextmanager
def take_over_sweep(digest: str | None) -> Iterator[UnfinishedSweep | None]:
    """The latest sweep of the experiment that would go on as a new one began, and was cut short.

    Args:
        digest: of everything that decides its trials: the run's tag `rlbake.tuning`; None: there is no such run.

    Raises:
        StorageError: the tracking store does not answer.
    """

    def resume(run: Run, claim: Claim) -> UnfinishedSweep:
        trials = tuple(_ended(run))
        _logger.info("Resuming the sweep of run %s after %d trials.", run.info.run_id, len(trials))
        return UnfinishedSweep(run.info.run_id, trials, claim)

    with taken_over(f"tags.`{v.TAG_TUNING}` = '{digest}'" if digest else None, "sweep", resume) as cut:
        yield cut


def _ended(run: Run) -> list[Trial]:
    """The trials of a sweep's run that have ended; the traces of others are removed."""
    client, found, token = MlflowClient(), [], None
    while token != "":
        page = client.search_runs(
            [run.info.experiment_id],
            f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run.info.run_id}'",
            ViewType.ACTIVE_ONLY,
            _PAGE,
            page_token=token,
        )
        for nested in page:
            if v.TAG_TRIAL in nested.data.tags:
                text = mlflow.artifacts.load_text(f"{nested.info.artifact_uri}/{TRIAL_FILE}")
                found.append(read_trial(text))
            elif nested.data.tags.get(v.TAG_STAGE) == "trial":
                client.delete_run(nested.info.run_id)
        token = page.token or ""
    return sorted(found, key=lambda trial: trial.number)
