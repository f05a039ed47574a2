"""Training once more from what was recorded, to see whether the same model comes out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

from rlbake import vocabulary as v
from rlbake.dataset.reading import read
from rlbake.dataset.snapshot import Snapshot
from rlbake.errors import ConfigError, DataError, NotFoundError, StorageError
from rlbake.features import identify
from rlbake.period.decisions import decided
from rlbake.period.features import known_profiles
from rlbake.period.narrow_logs import held_to_narrow_logs
from rlbake.period.period import Period, open_period
from rlbake.registry.versions import ResolvedModel, policy_dir, resolve
from rlbake.specs import to_json
from rlbake.tracking import source_code
from rlbake.tracking.dataset import TrajectoryDataset, read_trajectory_dataset
from rlbake.tracking.runs import CONFIG_FILE, stage_run
from rlbake.tracking.store import connect
from rlbake.training.config import TrainConfig
from rlbake.training.config import resolve as typed
from rlbake.training.fit import fit, profiles_of
from rlbake.training.fitted import WarmStart, read_warm_start
from rlbake.training.reading import reading
from rlbake.warehouse.table import Table

SAME = "reproduce/same"


@dataclass(frozen=True)
class Difference:
    """Something that training again made otherwise.

    Attributes:
        name: of a checkpoint variable, `<part>/<index>`, or "features": their transforms.
        said: what differs, and by how much.
    """

    name: str
    said: str


@dataclass(frozen=True)
class Reproduction:
    """What came of training again.

    Attributes:
        model: that was trained again.
        compared: checkpoint variables, all of them bit for bit.
        differences: empty if the same model came out.
        code: how the code differs from the one that trained it, if it was to be run anyway.
    """

    model: ResolvedModel
    compared: int
    differences: tuple[Difference, ...]
    code: tuple[str, ...]

    @property
    def same(self) -> bool:
        return not self.differences


@dataclass(frozen=True)
class Recorded:
    """What a training run says of itself."""

    run: Run
    config: Mapping[str, Any]
    dataset: TrajectoryDataset


def reproduce(reference: str, *, anyway: bool = False) -> Reproduction:
    """Trains again from the recorded version of the data, configuration and seed, and compares all variables.

    Nothing is registered; a run of stage "reproduce" records what came out.

    Args:
        reference: of the model.
        anyway: train although the code differs from the one that trained it. Other data is never trained on.

    Raises:
        NotFoundError: there is no such model, or its training is not recorded.
        ConfigError: the code differs; the message says how.
        DataError: the data is gone or differs; the message says how.
        StorageError: the tracking store does not answer.
    """
    connect(experiment=None)
    model = resolve(reference)
    recorded = _recorded(model)
    code = _code_differences(model, recorded)
    if code and not anyway:
        raise ConfigError(
            f"{model.policy_version} was trained by other code: {' '.join(code)} Check out and install what "
            "trained it, or add --anyway."
        )
    snapshot = _same_data(model, recorded.dataset)
    period = _period(model, recorded)
    parent = _parent(model, recorded)
    name = period.application.name
    with stage_run("reproduce", application=name, window=period.window.ds) as run, run.phase("train"):
        run.log_config({"model": model.uri, "model_id": model.model_id, "anyway": anyway, "code": list(code)})
        run.log_model_input(model.model_id)
        run.log_input(recorded.dataset, "training")
        reproduction = _trained_again(model, recorded, period, snapshot, parent, code)
        run.metrics({SAME: float(reproduction.same)})
    return reproduction


def _recorded(model: ResolvedModel) -> Recorded:
    if not model.run_id:
        raise NotFoundError(f"{model.policy_version} was logged by no run, so its training is not recorded.")
    try:
        run = MlflowClient().get_run(model.run_id)
        config = json.loads(mlflow.artifacts.load_text(f"runs:/{model.run_id}/{CONFIG_FILE}"))
        inputs = run.inputs.dataset_inputs if run.inputs else []
        read_by_run = [read_trajectory_dataset(model.run_id, given) for given in inputs]
    except (MlflowException, OSError, json.JSONDecodeError) as error:
        raise StorageError(f"the training of {model.policy_version} cannot be read: {error}") from error
    datasets = [dataset for dataset in read_by_run if dataset is not None]
    lacking = [
        key for key in ("application", "tables", "seed", "agent") if not config.get(key) and config.get(key) != 0
    ]
    if lacking or not datasets:
        what = ", ".join(lacking) if lacking else "the data"
        raise NotFoundError(f"run {model.run_id}, which trained {model.policy_version}, did not record {what}.")
    return Recorded(run, config, datasets[0])


def _code_differences(model: ResolvedModel, recorded: Recorded) -> tuple[str, ...]:
    """One sentence each, of the commit, uncommitted changes and packages."""
    then, now = recorded.run.data.tags, source_code.tags()
    said = []
    before, after = then.get(MLFLOW_GIT_COMMIT), now.get(MLFLOW_GIT_COMMIT)
    if before != after:
        said.append(f"commit {_short(before)} then, {_short(after)} now.")
    if then.get(v.TAG_GIT_DIRTY) == "true":
        said.append("it was trained with uncommitted changes, which are not recorded.")
    if now.get(v.TAG_GIT_DIRTY) == "true":
        said.append("The working folder has uncommitted changes now.")
    said += [
        f"{name} {before} then, {after or 'not installed'} now."
        for name, before in _packages(model, recorded).items()
        if before != (after := _installed(name))
    ]
    return tuple(said)


def _short(commit: str | None) -> str:
    return commit[:10] if commit else "none"


def _packages(model: ResolvedModel, recorded: Recorded) -> dict[str, str]:
    """Versions at training: those that the run recorded, and those that the model was pinned to."""
    try:
        pinned = Path(mlflow.artifacts.download_artifacts(f"{model.uri}/requirements.txt")).read_text()
    except (MlflowException, OSError) as error:
        raise StorageError(f"the requirements of {model.policy_version} cannot be read: {error}") from error
    lines = [line.strip().partition("==") for line in pinned.splitlines()]
    return {**{name: version for name, _, version in lines if version}, **recorded.config.get("packages", {})}


def _installed(name: str) -> str | None:
    if name == "python":
        return sys.version.split()[0]
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _same_data(model: ResolvedModel, dataset: TrajectoryDataset) -> Snapshot:
    """The recorded windows at the recorded version.

    Raises:
        DataError: they are gone, or their digest differs.
    """
    table, where = Table(dataset.uri), f"version {dataset.version} of {dataset.uri}"
    try:
        digest = table.digest(dataset.windows, dataset.version)
    except NotFoundError as gone:
        raise DataError(f"{model.policy_version} was trained on {where}, which is gone: {gone}") from gone
    if digest != dataset.digest:
        raise DataError(
            f"{model.policy_version} was trained on {where} with digest {dataset.digest}, and its digest is {digest} "
            "now: another table stands there."
        )
    return Snapshot(table.uri, dataset.version, dataset.windows, digest, dataset.rows)


def _period(model: ResolvedModel, recorded: Recorded) -> Period:
    """The period of the training, with the application as it is now.

    Raises:
        ConfigError: the application is gone, or observes or does something else now.
    """
    config = recorded.config
    window = recorded.run.data.tags[v.TAG_WINDOW]
    period = open_period(config["application"], config["tables"], window, int(config["seed"]), config.get("model_name"))
    then = json.loads((policy_dir(model) / "policy.json").read_text())
    now = {
        "observation": [to_json(feature) for feature in period.application.observation],
        "action": to_json(period.application.action),
    }
    changed = [part for part, described in now.items() if json.loads(json.dumps(described)) != then[part]]
    if changed:
        raise ConfigError(
            f"{config['application']} has another {' and '.join(changed)} than when {model.policy_version} was trained."
        )
    return period


def _parent(model: ResolvedModel, recorded: Recorded) -> WarmStart | None:
    """Where the model that the training went on from had stopped.

    Raises:
        NotFoundError: that model is gone.
    """
    given = recorded.config.get("warm_start")
    if not given:
        return None
    try:
        return read_warm_start(policy_dir(resolve(f"models:/{given['model_id']}")))
    except NotFoundError as gone:
        raise NotFoundError(f"{model.policy_version} went on from {given['model']}, which is gone: {gone}") from gone


def _trained_again(
    model: ResolvedModel,
    recorded: Recorded,
    period: Period,
    snapshot: Snapshot,
    parent: WarmStart | None,
    code: tuple[str, ...],
) -> Reproduction:
    """As `train`, but on the recorded snapshot, and with nothing registered."""
    known = {field.name for field in fields(TrainConfig)}
    given = {name: value for name, value in recorded.config.items() if name in known}
    application = period.application
    reward = dict.fromkeys(application.metrics, 0.0)
    config = typed(given, gamma=application.gamma, reward=reward)
    with ExitStack() as rows:
        try:
            training, holdout = rows.enter_context(
                read(snapshot, reading(period.application, config), holdout=config.holdout, budget=config.memory)
            )
        except StorageError as error:
            raise DataError(f"what {model.policy_version} was trained on cannot be read any more: {error}") from error
        further = recorded.config.get("warm_start") or {}
        training, holdout = decided(training, holdout, period, config, further.get("model"))
        profiles = known_profiles(period, snapshot) or profiles_of(training, application.observation)
        fitted = fit(
            training,
            holdout,
            observation=application.observation,
            action=application.action,
            config=held_to_narrow_logs(config, profiles),
            seed=period.seed,
            warm_start=parent,
            profiles=profiles,
        )
    before = read_warm_start(policy_dir(model))
    found = list(_differences(before.variables, fitted.variables))
    transforms = identify.to_json(before.identified), identify.to_json(fitted.preprocessing.identified)
    if transforms[0] != transforms[1]:
        found.insert(0, Difference("features", "their transforms differ."))
    return Reproduction(model, sum(map(len, before.variables.values())), tuple(found), code)


def _differences(
    before: Mapping[str, Sequence[np.ndarray]], after: Mapping[str, Sequence[np.ndarray]]
) -> list[Difference]:
    """Bit for bit, by name of the variable."""
    then, now = _flat(before), _flat(after)
    found = [Difference(name, "only one of the two has it.") for name in sorted(then.keys() ^ now.keys())]
    for name in sorted(then.keys() & now.keys()):
        a, b = then[name], now[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            found.append(Difference(name, f"{a.dtype} {list(a.shape)} then, {b.dtype} {list(b.shape)} now."))
        elif a.tobytes() != b.tobytes():
            apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
            share = np.count_nonzero(apart) / max(apart.size, 1)
            found.append(Difference(name, f"{share:.1%} of {a.size:,} numbers differ, by {apart.max():.3g} at most."))
    return found


def _flat(parts: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    return {f"{part}/{i}": np.asarray(values) for part, of in parts.items() for i, values in enumerate(of)}
