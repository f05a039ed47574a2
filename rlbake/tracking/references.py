"""From what a user calls a model to the one logged model that is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from rlbake.errors import NotFoundError, StorageError, nearest

FORMS = "models:/<name>@<alias>, models:/<name>/<version>, models:/m-<id> or runs:/<run id>"

_BY_ALIAS = re.compile(r"models:/(?P<name>[^/@]+)@(?P<alias>[^/@]+)")
_BY_VERSION = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>\d+)")
_BY_ID = re.compile(r"models:/(?P<id>m-[0-9a-f]+)")
_BY_RUN = re.compile(r"runs:/(?P<run_id>[0-9a-f]{32})(/[^/]+)?")
_MISSING = {ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)}


@dataclass(frozen=True)
class ResolvedModel:
    """One logged model, and the registered version that it was asked for by.

    Attributes:
        name: registered name; None when asked for by id.
        version: registered version; None when asked for by id.
        model_id: of the logged model, `m-…`.
        run_id: of the run that logged it; empty if none did.
        uri: loads it, and stays with it when an alias moves on.
        source: URI of its artifacts.
    """

    name: str | None
    version: str | None
    model_id: str
    run_id: str
    uri: str
    source: str

    @property
    def policy_version(self) -> str:
        """What the model's own decisions are logged under."""
        return f"{self.name}/{self.version}" if self.name else self.model_id


def resolve(reference: str, *, name: str | None = None) -> ResolvedModel:
    """The model that a reference means now.

    Args:
        reference: `models:/<name>@<alias>`, `models:/<name>/<version>`, `models:/m-<id>`,
            `runs:/<run id>` for the last model that a run logged, or a bare version or alias of `name`.
        name: registered model of a bare reference.

    Raises:
        NotFoundError: there is no such model; the message says what there is.
        StorageError: the registry does not answer.
    """
    text = str(reference).strip()
    if name is not None and re.fullmatch(r"[\w\-]+", text):
        text = f"models:/{name}/{text}" if text.isdigit() else f"models:/{name}@{text}"
    client = MlflowClient()
    try:
        if by_id := _BY_ID.fullmatch(text):
            return _logged(client, by_id["id"], None)
        if by_run := _BY_RUN.fullmatch(text):
            return _logged(client, _last_of(client, by_run["run_id"]), None)
        if by_version := _BY_VERSION.fullmatch(text):
            found = client.get_model_version(by_version["name"], by_version["version"])
        elif by_alias := _BY_ALIAS.fullmatch(text):
            found = client.get_model_version_by_alias(by_alias["name"], by_alias["alias"])
        else:
            raise NotFoundError(f"{reference!r} names no model: write {FORMS}.")
        return _logged(client, _model_id(found), found)
    except MlflowException as error:
        if error.error_code in _MISSING:
            raise NotFoundError(f"there is no model {text}. {_what_exists(client, text)}") from error
        raise StorageError(f"the model registry cannot be read: {error}") from error


def policy_dir(model: ResolvedModel) -> Path:
    """A local folder with the model's `saved_model/` and `policy.json`, downloaded where needed.

    Raises:
        NotFoundError: the model holds no policy, or its files are gone.
    """
    try:
        root = Path(mlflow.artifacts.download_artifacts(model.uri))
        flavour = Model.load(str(root)).flavors["python_function"]
        return root / flavour["artifacts"]["policy"]["path"]
    except (MlflowException, OSError, KeyError) as error:
        raise NotFoundError(f"model {model.uri} holds no policy that rlbake can read: {error}") from error


def _logged(client: MlflowClient, model_id: str, registered: ModelVersion | None) -> ResolvedModel:
    model = client.get_logged_model(model_id)
    return ResolvedModel(
        name=registered.name if registered else None,
        version=str(registered.version) if registered else None,
        model_id=model_id,
        run_id=model.source_run_id or "",
        uri=f"models:/{registered.name}/{registered.version}" if registered else f"models:/{model_id}",
        source=model.artifact_location,
    )


def _last_of(client: MlflowClient, run_id: str) -> str:
    run = client.get_run(run_id)
    logged = [client.get_logged_model(output.model_id) for output in run.outputs.model_outputs] if run.outputs else []
    if not logged:
        raise NotFoundError(f"run {run_id} logged no model.")
    return max(logged, key=lambda model: model.creation_timestamp).model_id


def _model_id(version: ModelVersion) -> str:
    from_source = _BY_ID.fullmatch(version.source or "")
    model_id = version.model_id or (from_source["id"] if from_source else None)
    if not model_id:
        raise NotFoundError(
            f"version {version.version} of {version.name} was registered from {version.source}, not from a logged "
            "model, so its training cannot be traced. Register models:/m-<id>."
        )
    return model_id


def _what_exists(client: MlflowClient, text: str) -> str:
    asked = _BY_VERSION.fullmatch(text) or _BY_ALIAS.fullmatch(text)
    if _BY_RUN.fullmatch(text):
        return "There is no such run in this tracking store; see MLFLOW_TRACKING_URI."
    if asked is None:
        return "It may have been deleted, or live in another tracking store; see MLFLOW_TRACKING_URI."
    name = asked["name"]
    versions = client.search_model_versions(f"name = '{name}'", max_results=1000)
    if not versions:
        known = [m.name for m in client.search_registered_models(max_results=100)]
        return nearest(name, known) if known else "No model is registered yet: train one first."
    aliases = client.get_registered_model(name).aliases
    numbers = ", ".join(str(n) for n in sorted((int(m.version) for m in versions), reverse=True)[:5])
    said = ", ".join(f"{alias} = {number}" for alias, number in sorted(aliases.items())) or "none"
    return f"{name} has {len(versions)} version(s), the latest {numbers}; its aliases are: {said}."
