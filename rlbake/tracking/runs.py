"""One MLflow run per stage: what it was given, what it took, what came out, why it failed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.data.dataset import Dataset
from mlflow.entities import DatasetInput, InputTag, LoggedModelInput, Metric, Param, Run, RunStatus, RunTag
from mlflow.environment_variables import MLFLOW_RUN_ID
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.fluent import _get_experiment_id
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from mlflow.utils.validation import MAX_INPUT_TAG_VALUE_SIZE, MAX_TAG_VAL_LENGTH

from rlbake import vocabulary as v
from rlbake.errors import RlbakeError, StorageError
from rlbake.tracking import source_code
from rlbake.tracking.dataset import Source, SourceDataset, TrajectoryDataset, manifest_file
from rlbake.tracking.params import flatten, plain, shortened
from rlbake.tracking.phases import Phase, measured
from rlbake.tracking.store import impatient, probe

FLUSH_METRICS = 500
"""Metrics are sent when this many wait; MLflow takes 1000 at once."""

FLUSH_EVERY_S = 5.0
"""Metrics are sent when the oldest has waited this long."""

CONFIG_FILE = "config.json"

_logger = logging.getLogger(__name__)


class StageRun:
    """The run of one stage, open until `stage_run` ends it.

    Attributes:
        run_id: of the MLflow run.
        experiment_id: that it is in.
    """

    def __init__(self, run_id: str, experiment_id: str) -> None:
        self.run_id = run_id
        self.experiment_id = experiment_id
        self._client = MlflowClient()
        self._waiting: list[Metric] = []
        self._flushed_at = time.monotonic()
        self._phases: dict[str, Phase] = {}
        self._models: list[str] = []
        self._mirrors: list[Callable[[Mapping[str, float], int], None]] = []

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Logs a configuration as flat parameters `cfg.…` and whole as `config.json`."""
        params = [Param(k, text) for k, text in flatten(config).items()]
        self._client.log_batch(self.run_id, params=params)
        self.log_text(json.dumps(plain(config), indent=2) + "\n", CONFIG_FILE)

    def metrics(
        self,
        values: Mapping[str, float],
        step: int | None = None,
        *,
        model_id: str | None = None,
        dataset: Dataset | None = None,
    ) -> None:
        """Logs metrics in batches; `flush` and the end of the run send what still waits.

        Args:
            values: by metric name.
            step: gradient step, window number or whatever counts; 0 if None.
            model_id: logged model that the metrics describe.
            dataset: that they were measured on; it must be an input of the run.
        """
        for mirror in self._mirrors:
            mirror(values, step or 0)
        now = int(time.time() * 1000)
        self._waiting += [
            Metric(
                key,
                float(value),
                now,
                step or 0,
                model_id=model_id,
                dataset_name=dataset.name if dataset else None,
                dataset_digest=dataset.digest if dataset else None,
                run_id=self.run_id,
            )
            for key, value in values.items()
        ]
        if len(self._waiting) >= FLUSH_METRICS or time.monotonic() - self._flushed_at >= FLUSH_EVERY_S:
            self.flush()

    def mirror(self, to: Callable[[Mapping[str, float], int], None]) -> None:
        """Has all further metrics written elsewhere, too."""
        self._mirrors.append(to)

    def last_step(self, metric: str) -> int:
        """The latest step at which a metric was logged in a run that is resumed; -1 if it never was."""
        return max((seen.step for seen in self._client.get_metric_history(self.run_id, metric)), default=-1)

    def flush(self) -> None:
        """Sends the metrics that wait."""
        waiting, self._waiting = self._waiting, []
        self._flushed_at = time.monotonic()
        if waiting:
            self._client.log_batch(self.run_id, metrics=waiting)

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Measures a block and logs `time/<name>_s` and `memory/<name>_peak_mb`.

        A name used again adds to the time and keeps the higher peak.
        """
        taken = Phase()
        try:
            with measured() as taken:
                yield taken
        finally:
            self._log_phase(name, taken)

    def _log_phase(self, name: str, taken: Phase) -> None:
        total = self._phases.setdefault(name, Phase())
        total.seconds += taken.seconds
        total.peak_mb = max(total.peak_mb, taken.peak_mb)
        self.metrics({f"time/{name}_s": total.seconds, f"memory/{name}_peak_mb": total.peak_mb})

    def log_input(self, dataset: Dataset, context: str, tags: Mapping[str, str] | None = None) -> None:
        """Records a dataset that the run read; the context says what for, such as "training".

        A trajectory dataset brings its own tags, and its manifest becomes an artifact.
        """
        named = {MLFLOW_DATASET_CONTEXT: context, **(tags or {})}
        if isinstance(dataset, TrajectoryDataset):
            named |= dataset.tags()
            self.log_text(json.dumps(dataset.manifest(), indent=2) + "\n", manifest_file(dataset.name))
        self._log_inputs([(dataset, named)])

    def log_model_input(self, model_id: str) -> None:
        """Records a logged model that the run used: evaluated, scored with or started from."""
        if model_id not in self._models:
            self._models.append(model_id)
            self._client.log_inputs(self.run_id, models=[LoggedModelInput(model_id)])
            self.tag({v.TAG_MODELS: ",".join(self._models)})  # MLflow cannot search by model input

    def log_sources(self, sources: Sequence[Source]) -> None:
        """Records what a build read."""
        context = {MLFLOW_DATASET_CONTEXT: "build"}
        self._log_inputs([(SourceDataset(source), context) for source in sources])

    def _log_inputs(self, inputs: Sequence[tuple[Dataset, Mapping[str, str]]]) -> None:
        entities = [
            DatasetInput(
                mlflow.entities.Dataset(**dataset.to_dict()),
                [InputTag(key, shortened(text, MAX_INPUT_TAG_VALUE_SIZE)) for key, text in tags.items()],
            )
            for dataset, tags in inputs
        ]
        if entities:
            self._client.log_inputs(self.run_id, datasets=entities)

    def log_artifact(self, path: Path | str, folder: str | None = None) -> None:
        """Stores a file with the run."""
        self._client.log_artifact(self.run_id, str(path), folder)

    def log_artifacts(self, path: Path | str, folder: str | None = None) -> None:
        """Stores the files of a folder with the run."""
        self._client.log_artifacts(self.run_id, str(path), folder)

    def log_text(self, text: str, file: str) -> None:
        """Stores a text file with the run."""
        self._client.log_text(self.run_id, text, file)

    def tag(self, tags: Mapping[str, str]) -> None:
        """Sets tags on the run; a value beyond MLflow's limit is cut."""
        values = [RunTag(k, shortened(str(t), MAX_TAG_VAL_LENGTH)) for k, t in tags.items()]
        self._client.log_batch(self.run_id, tags=values)


@contextmanager
def stage_run(
    stage: str,
    *,
    application: str,
    window: str | None = None,
    tags: Mapping[str, str] | None = None,
    resume: str | None = None,
) -> Iterator[StageRun]:
    """Opens the MLflow run of one stage and ends it as the block ended.

    The outermost stage under `mlflow run` takes over the run that `MLFLOW_RUN_ID` names; any
    other starts its own, nested in the one that is active. A stage that was cut short goes on in the
    run that it had; the one around it, or that `mlflow run` has made for it, names that run in
    `rlbake.resumed`. A failure ends the run FAILED, an
    interrupt KILLED, and tags it with `rlbake.failure`; the exception goes on, so that every
    run around it is tagged as well.

    Args:
        stage: entry point or step, such as "train".
        application: the application's name.
        window: `ds` that the stage works on, if it works on one.
        tags: to set beside rlbake's own.
        resume: id of the stage's run that was cut short.

    Raises:
        StorageError: the tracking store refuses the run.
    """
    if resume is not None and mlflow.active_run() is None and MLFLOW_RUN_ID.is_set():
        with (
            stage_run(stage, application=application, window=window, tags=tags),
            stage_run(stage, application=application, window=window, tags=tags, resume=resume) as resumed,
        ):
            yield resumed
        return
    run = StageRun(*(_reopen(stage, resume) if resume else _open(stage, application, window, tags or {})))
    try:
        yield run
        run.flush()
    except BaseException as error:
        _end_badly(run, error)
        raise
    mlflow.end_run(RunStatus.to_string(RunStatus.FINISHED))


def record_failure(reason: str) -> None:
    """Tags the run that `mlflow run` has made with a failure that came before any stage took it over.

    Elsewhere, and where the tracking store does not answer, it does nothing: `mlflow run` ends
    the run by the exit code.
    """
    run_id = MLFLOW_RUN_ID.get()
    if run_id is None:
        return
    try:
        probe(mlflow.get_tracking_uri())
        with impatient():
            MlflowClient().set_tag(run_id, v.TAG_FAILURE, shortened(reason, MAX_TAG_VAL_LENGTH))
    except (StorageError, MlflowException) as lost:
        _logger.debug("run %s could not be tagged: %s", run_id, lost)


def _open(stage: str, application: str, window: str | None, extra: Mapping[str, str]) -> tuple[str, str]:
    tags = {v.TAG_STAGE: stage, v.TAG_APPLICATION: application, **source_code.tags(), **extra}
    if window is not None:
        tags[v.TAG_WINDOW] = window
    parent = mlflow.active_run()
    try:
        if parent is None and MLFLOW_RUN_ID.is_set():
            run: Run = mlflow.start_run(tags=tags)
        else:
            name = " ".join(part for part in (stage, application, window) if part)
            experiment = parent.info.experiment_id if parent else None
            run = mlflow.start_run(run_name=name, experiment_id=experiment, nested=parent is not None, tags=tags)
    except MlflowException as error:
        raise StorageError(f"MLflow refuses a run for stage {stage!r}: {error}") from error
    return run.info.run_id, run.info.experiment_id


def _reopen(stage: str, run_id: str) -> tuple[str, str]:
    parent, client = mlflow.active_run(), MlflowClient()
    try:
        if parent is not None:
            client.set_tag(parent.info.run_id, v.TAG_RESUMED, run_id)
        if v.TAG_FAILURE in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, v.TAG_FAILURE)
        run = mlflow.start_run(run_id=run_id, nested=parent is not None)
    except MlflowException as error:
        raise StorageError(f"MLflow refuses to resume run {run_id} of stage {stage!r}: {error}") from error
    return run.info.run_id, run.info.experiment_id


def experiment_of_next_run() -> str:
    """Id of the experiment in which `stage_run` would open a run now."""
    if parent := mlflow.active_run():
        return parent.info.experiment_id
    given = MLFLOW_RUN_ID.get()
    return MlflowClient().get_run(given).info.experiment_id if given else str(_get_experiment_id())


def _end_badly(run: StageRun, error: BaseException) -> None:
    """Records a failure; one of the tracking store itself must not hide it."""
    interrupted = isinstance(error, KeyboardInterrupt)
    status = RunStatus.to_string(RunStatus.KILLED if interrupted else RunStatus.FAILED)
    reason = str(error) if isinstance(error, RlbakeError) else f"{type(error).__name__}: {error}"
    try:
        run.tag({v.TAG_FAILURE: reason})
        run.flush()
        mlflow.end_run(status)
    except MlflowException as lost:
        _logger.warning("run %s could not be ended as %s: %s", run.run_id, status, lost)
