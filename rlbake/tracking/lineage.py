"""From a model back to the tables it was learnt from, and forward to all that came of them.

registered version → logged model → training run → trajectory dataset → build runs → sources
training run → the model that it went on from → the one that this went on from → …
build run → trained models;  model → the runs that evaluated it or scored with it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow.entities import DatasetInput, Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_GIT_COMMIT

from rlbake import vocabulary as v
from rlbake.errors import NotFoundError, StorageError
from rlbake.tracking.dataset import Source, TrajectoryDataset, read_source, read_trajectory_dataset
from rlbake.tracking.references import ResolvedModel, resolve

_PAGE = 500


@dataclass(frozen=True)
class RunNode:
    """One run in the walk.

    Attributes:
        run_id: of the MLflow run.
        stage: what it did; None if it is no run of rlbake's.
        window: `ds` it worked on, if any.
        status: FINISHED, FAILED, RUNNING or KILLED.
        commit: git commit of its code, if known.
        dirty: whether the working tree differed from the commit.
    """

    run_id: str
    stage: str | None
    window: str | None
    status: str
    commit: str | None
    dirty: bool


@dataclass(frozen=True)
class BuildNode:
    """A run that built windows of a dataset, and what it read; `run` is None if it is gone."""

    run_id: str
    run: RunNode | None
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class DatasetNode:
    """A trajectory dataset that a run read, and what for."""

    dataset: TrajectoryDataset
    context: str
    builds: tuple[BuildNode, ...]


@dataclass(frozen=True)
class ModelNode:
    """A logged model, and the registered versions of it (`name/version`)."""

    model_id: str
    run_id: str
    versions: tuple[str, ...]


@dataclass(frozen=True)
class ParentNode:
    """A model that a training went on from, and what its own went on from; `model` is None if it is gone."""

    model_id: str
    model: ModelNode | None
    started_from: tuple[ParentNode, ...]


@dataclass(frozen=True)
class Lineage:
    """The walk from one model, both ways.

    Attributes:
        model: where it starts.
        aliases: that point at the registered version now.
        training: the run that logged the model; None if it is gone.
        datasets: that the training read.
        started_from: models that the training went on from.
        uses: other runs that used the model, oldest first.
        siblings: other models trained on any of the datasets.
    """

    model: ResolvedModel
    aliases: tuple[str, ...]
    training: RunNode | None
    datasets: tuple[DatasetNode, ...]
    started_from: tuple[ParentNode, ...]
    uses: tuple[RunNode, ...]
    siblings: tuple[ModelNode, ...]


def walk(reference: str) -> Lineage:
    """The lineage of a model.

    Args:
        reference: `models:/<name>@<alias>`, `models:/<name>/<version>` or `models:/m-<id>`.

    Raises:
        NotFoundError: there is no such model.
        StorageError: the tracking store does not answer.
    """
    model = resolve(reference)
    try:
        run = _run(model.run_id)
        datasets = _datasets(run) if run else ()
        siblings = {m.model_id: m for d in datasets for m in trained_on(d.dataset) if m.model_id != model.model_id}
        return Lineage(
            model=model,
            aliases=_aliases(model),
            training=_node(run) if run else None,
            datasets=datasets,
            started_from=_parents(run),
            uses=_uses(model),
            siblings=tuple(siblings.values()),
        )
    except MlflowException as error:
        raise StorageError(f"the lineage of {reference} cannot be read: {error}") from error


def trained_on(dataset: TrajectoryDataset) -> tuple[ModelNode, ...]:
    """All models of runs that read exactly this dataset, in whichever experiment."""
    where = f"dataset.name = '{dataset.name}' AND dataset.digest = '{dataset.digest}'"
    return tuple(model for run in _search(where) for model in _models_logged(run))


def trained_from_build(run_id: str) -> tuple[ModelNode, ...]:
    """All models that were trained on something that a build run built.

    Raises:
        NotFoundError: there is no such run.
        StorageError: the tracking store does not answer.
    """
    try:
        if _run(run_id) is None:
            raise NotFoundError(f"there is no run {run_id} in this tracking store.")
        return tuple(model for run in _search("") if _reads(run, run_id) for model in _models_logged(run))
    except MlflowException as error:
        raise StorageError(f"the models built from run {run_id} cannot be found: {error}") from error


def _reads(run: Run, build_run_id: str) -> bool:
    for given in _inputs(run):
        builds = {tag.key: tag.value for tag in given.tags}.get(v.TAG_BUILD_RUNS, "")
        if build_run_id in builds.split(","):
            return True
        if builds.endswith("…"):  # cut: the manifest holds them all
            dataset = read_trajectory_dataset(run.info.run_id, given)
            if dataset is not None and build_run_id in dataset.build_runs:
                return True
    return False


def _datasets(run: Run) -> tuple[DatasetNode, ...]:
    nodes = []
    for given in _inputs(run):
        dataset = read_trajectory_dataset(run.info.run_id, given)
        if dataset is not None:
            context = {tag.key: tag.value for tag in given.tags}.get(MLFLOW_DATASET_CONTEXT, "")
            nodes.append(DatasetNode(dataset, context, tuple(_build(run_id) for run_id in dataset.build_runs)))
    return tuple(nodes)


def _build(run_id: str) -> BuildNode:
    run = _run(run_id)
    if run is None:
        return BuildNode(run_id, None, ())
    sources = [read_source(given) for given in _inputs(run)]
    known = sorted((s for s in sources if s is not None), key=lambda s: (s.name, s.window))
    return BuildNode(run_id, _node(run), tuple(known))


def _uses(model: ResolvedModel) -> tuple[RunNode, ...]:
    """Runs that say so, and runs that logged metrics of the model."""
    used = {run.info.run_id: run for run in _search(f"tags.`{v.TAG_MODELS}` LIKE '%{model.model_id}%'")}
    for metric in MlflowClient().get_logged_model(model.model_id).metrics or []:
        if metric.run_id not in used and (run := _run(metric.run_id)):
            used[run.info.run_id] = run
    oldest_first = sorted(used.values(), key=lambda run: run.info.start_time)
    return tuple(_node(run) for run in oldest_first if run.info.run_id != model.run_id)


def _models_logged(run: Run) -> Iterator[ModelNode]:
    outputs = run.outputs.model_outputs if run.outputs else []
    if not outputs:
        return
    for output in outputs:
        yield ModelNode(output.model_id, run.info.run_id, _versions(output.model_id, run.info.run_id))


def _versions(model_id: str, run_id: str | None) -> tuple[str, ...]:
    """The registered versions of a logged model, `name/version`."""
    registered = MlflowClient().search_model_versions(f"run_id = '{run_id}'") if run_id else []
    return tuple(sorted(f"{m.name}/{m.version}" for m in registered if (m.source or "").endswith(model_id)))


def _parents(run: Run | None) -> tuple[ParentNode, ...]:
    given = run.inputs.model_inputs if run and run.inputs else []
    return tuple(_parent(model.model_id) for model in given)


def _parent(model_id: str) -> ParentNode:
    try:
        run_id = MlflowClient().get_logged_model(model_id).source_run_id
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return ParentNode(model_id, None, ())
        raise
    model = ModelNode(model_id, run_id or "", _versions(model_id, run_id))
    return ParentNode(model_id, model, _parents(_run(run_id)))


def _inputs(run: Run) -> list[DatasetInput]:
    return run.inputs.dataset_inputs if run.inputs else []


def _aliases(model: ResolvedModel) -> tuple[str, ...]:
    if model.name is None:
        return ()
    aliases = MlflowClient().get_registered_model(model.name).aliases
    return tuple(sorted(alias for alias, number in aliases.items() if str(number) == model.version))


def _run(run_id: str | None) -> Run | None:
    if not run_id:
        return None
    try:
        return MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return None
        raise


def _search(where: str) -> Iterator[Run]:
    """Runs of every experiment that satisfy an MLflow filter, oldest first."""
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    token = None
    while experiments:
        page = client.search_runs(
            experiments, where, order_by=["attributes.start_time ASC"], max_results=_PAGE, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _node(run: Run) -> RunNode:
    tags = run.data.tags
    return RunNode(
        run.info.run_id,
        tags.get(v.TAG_STAGE),
        tags.get(v.TAG_WINDOW),
        run.info.status,
        tags.get(MLFLOW_GIT_COMMIT),
        tags.get(v.TAG_GIT_DIRTY) == "true",
    )
