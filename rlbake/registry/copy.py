"""A version under another registered name: from dev to prod, without training again."""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import ConfigError, StorageError
from rlbake.registry.versions import ResolvedModel, register, resolve


def copy_version(source: str, name: str) -> ResolvedModel:
    """The version of `name` that is the same logged model as `source`; made, as challenger, if there is none.

    Its training, its evaluations and its artifacts are those of the origin, which a tag names. What was
    decided about the origin does not come along: the gate of `name` judges for itself. The logged model
    is registered again, and not with `MlflowClient.copy_model_version`: that refers to the origin's
    version in place of the logged model, takes its tags along and breaks when the origin is deleted.

    Args:
        source: `models:/<name>/<version>` or `models:/<name>@<alias>`.
        name: registered model to copy to; in Unity Catalog it may lie in another catalog.

    Raises:
        ConfigError: the source is of the same name, or no registered version.
        NotFoundError: there is no such source.
        StorageError: the registry refuses.
    """
    origin = resolve(source)
    if origin.name is None or origin.name == name:
        what = "is no registered version" if origin.name is None else f"is a version of {name} already"
        raise ConfigError(f"source {source!r} {what}: name a version of another model, models:/<name>/<version>.")
    client = MlflowClient()
    try:
        for known in client.search_model_versions(f"name = '{name}'", max_results=10_000):
            if known.tags.get(v.TAG_COPIED_FROM) == origin.policy_version:
                return resolve(str(known.version), name=name)
        copied = register(origin, name)
        client.set_model_version_tag(name, str(copied.version), v.TAG_COPIED_FROM, origin.policy_version)
    except MlflowException as error:
        raise StorageError(f"the registry refuses to copy {origin.policy_version} to {name}: {error}") from error
    return copied
