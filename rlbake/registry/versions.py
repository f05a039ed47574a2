"""Registered versions of an agent."""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from mlflow.models.model import ModelInfo
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import StorageError
from rlbake.tracking.references import ResolvedModel, policy_dir, resolve

__all__ = ["ResolvedModel", "policy_dir", "register", "resolve"]


def register(model: ModelInfo | ResolvedModel, name: str) -> ResolvedModel:
    """Registers a logged model as the next version of `name`, with the alias `challenger`.

    Raises:
        StorageError: the registry refuses it.
    """
    try:
        client = MlflowClient()
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        source = f"models:/{model.model_id}"
        registered = client.create_model_version(name, source, model_id=model.model_id)
        client.set_registered_model_alias(name, v.CHALLENGER, registered.version)
    except MlflowException as error:
        raise StorageError(f"the registry refuses model {name}: {error}") from error
    return resolve(str(registered.version), name=name)
