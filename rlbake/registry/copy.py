"""A version under another registered name: from dev to prod, without training again."""

from __future__ import annotations

import contextlib
import io

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import ConfigError, StorageError
from rlbake.registry.versions import ResolvedModel, resolve

_OF_THE_ORIGIN = (
    v.TAG_GATE_RUN, v.TAG_REPLACED, v.TAG_FORCED, v.TAG_PROMISE, v.TAG_ROLLED_BACK, v.TAG_ROLLED_BACK_FROM,
)  # fmt: skip
"""Tags that tell what happened under the other name."""


def copy_version(source: str, name: str) -> ResolvedModel:
    """The version of `name` that is the same logged model as `source`; made, as challenger, if there is none.

    Its training, its evaluations and its artifacts are those of the origin, which a tag names. What was
    decided about the origin does not come along: the gate of `name` judges for itself.

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
            if known.model_id == origin.model_id and known.tags.get(v.TAG_COPIED_FROM):
                return resolve(str(known.version), name=name)
        with contextlib.redirect_stderr(io.StringIO()):  # MLflow reports every step there
            copied = client.copy_model_version(origin.uri, name)
        number = str(copied.version)
        for key in set(_OF_THE_ORIGIN) & set(copied.tags or {}):
            client.delete_model_version_tag(name, number, key)
        client.set_model_version_tag(name, number, v.TAG_COPIED_FROM, origin.policy_version)
        client.set_registered_model_alias(name, v.CHALLENGER, number)
    except MlflowException as error:
        raise StorageError(f"the registry refuses to copy {origin.policy_version} to {name}: {error}") from error
    return resolve(number, name=name)
