"""The agent as an MLflow model: named raw features in, a decision and its probability out."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models.model import ModelInfo
from mlflow.models.signature import ModelSignature
from mlflow.types.schema import Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from rlbake import vocabulary as v
from rlbake.errors import StorageError
from rlbake.specs import Action, Binary, Category, Continuous, Discrete, Feature, Number, from_json, to_json

MODEL_NAME = "agent"
"""Name of the logged model within its run."""

REQUIREMENTS = ("mlflow", "tensorflow", "numpy", "pandas")
"""All that loading and predicting needs, beside Python."""

_SERVING_CODE = Path(__file__).with_name("serving_code.py")

_TYPES: dict[type, DataType] = {Number: DataType.double, Binary: DataType.boolean, Category: DataType.string}


def log_agent(policy_dir: str | Path, *, application: str) -> ModelInfo:
    """Logs an exported policy as a model of the active run.

    Args:
        policy_dir: `saved_model/` and `policy.json`, as `policies.export` writes them; whatever
            else lies there (the checkpoint) travels along.
        application: name of the application, kept in the model's metadata.

    Returns:
        MLflow's description of the model; `model_uri` (`models:/m-…`) is what to register.

    Raises:
        StorageError: the tracking store refuses the model.
    """
    observation, action = read_specs(policy_dir)
    with TemporaryDirectory() as folder:
        policy = shutil.copytree(policy_dir, Path(folder) / "policy")  # MLflow keeps the folder's name
        try:
            return mlflow.pyfunc.log_model(
                name=MODEL_NAME,
                python_model=str(_SERVING_CODE),
                artifacts={"policy": str(policy)},
                signature=signature(observation, action),
                input_example=example(observation),
                pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
                metadata={v.TAG_APPLICATION: application, "action": to_json(action)},
            )
        except MlflowException as error:
            raise StorageError(f"MLflow refuses the model: {error}") from error


def read_specs(policy_dir: str | Path) -> tuple[tuple[Feature, ...], Action]:
    """What an exported policy observes and does."""
    description: dict[str, Any] = json.loads((Path(policy_dir) / "policy.json").read_text())
    return tuple(from_json(feature) for feature in description["observation"]), from_json(description["action"])


def signature(observation: tuple[Feature, ...], action: Action) -> ModelSignature:
    """Numbers are `double` and not `float`, which would refuse CSV input and Spark's doubles.

    The column of an optional feature need not be given, and only Discrete actions can be masked. `action` is a
    name, one name for each set, or numbers, which have no index and may have no `log_probability` either.
    """
    features: list[ColSpec | TensorSpec] = [
        ColSpec(_TYPES[type(feature)], feature.name, required=not feature.optional) for feature in observation
    ]
    if isinstance(action, Discrete):
        features.append(ColSpec(Array(DataType.boolean), v.ACTION_MASK, required=False))
    outputs: list[ColSpec | TensorSpec] = [
        *_chosen(action),
        ColSpec(DataType.float, v.LOG_PROBABILITY, required=not isinstance(action, Continuous)),
        ColSpec(DataType.string, v.POLICY_VERSION),
    ]
    params = [
        ParamSpec("explore", DataType.boolean, False),
        ParamSpec("temperature", DataType.float, 0.0),
        ParamSpec("epsilon", DataType.double, -1.0),
        ParamSpec("floor", DataType.double, 0.0),
    ]
    return ModelSignature(Schema(features), Schema(outputs), ParamSchema(params))


def _chosen(action: Action) -> list[ColSpec]:
    if isinstance(action, Continuous):
        return [ColSpec(Array(DataType.float), v.ACTION)]
    if isinstance(action, Discrete):
        return [ColSpec(DataType.string, v.ACTION), ColSpec(DataType.integer, v.ACTION_INDEX)]
    return [ColSpec(Array(DataType.string), v.ACTION), ColSpec(Array(DataType.integer), v.ACTION_INDEX)]


def example(observation: tuple[Feature, ...]) -> pd.DataFrame:
    """One row that the signature accepts."""
    return pd.DataFrame({feature.name: [_typical(feature)] for feature in observation})


def _typical(feature: Feature) -> float | bool | str:
    if isinstance(feature, Number):
        return float(min(max(0.0, feature.low), feature.high))
    return False if isinstance(feature, Binary) else feature.values[0]
