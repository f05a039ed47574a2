"""The agent as MLflow loads it: this file travels inside the model and runs without rlbake.

Beside it lie `policy.json` and `saved_model/`, one graph of preprocessing, action and
propensity. See MLflow's "models from code".
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd
import tensorflow as tf
from mlflow.exceptions import MlflowException
from mlflow.models import Model, set_model
from mlflow.pyfunc import PythonModel
from mlflow.utils.yaml_utils import read_yaml

ACTION_MASK = "action_mask"
REGISTERED_AS = "registered_model_meta"  # MLflow writes it when a model is loaded through the registry


class Agent:
    """Decides on rows of raw features, and says how likely each decision was."""

    def load_context(self, context: Any) -> None:
        folder = Path(context.artifacts["policy"])
        description = json.loads((folder / "policy.json").read_text())
        self._features = {feature["name"]: feature for feature in description["observation"]}
        self._action = description["action"]
        self._names = [np.array(names, object) for names in _sets(self._action)]
        self._saved = tf.saved_model.load(str(folder / "saved_model"))  # keeps the variables alive
        self._graph = self._saved.signatures["serving_default"]
        self.policy_version = _version(folder)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # MLflow reads the hints
        """Decides on the rows of a DataFrame.

        Args:
            model_input: one column per feature, optionally `action_mask` (lists of bool) of a Discrete
                action. Values of an optional feature may be missing (None or NaN), and so may its whole
                column. MLflow makes it of a list of dicts, and of one dict of values for one row.
            params: `explore` (draw from the exploring distribution instead of acting greedily),
                `temperature` (of its softmax; 0: greedy with probability 1 - ε. Of numbers the factor of
                their distribution's width; 0: as it is), `epsilon` (≥ 0 takes the place of the agent's own
                exploration, with or without `explore`: the share of actions that are drawn uniformly; -1: as
                the agent was trained to) and `floor` (least probability of every allowed action). Numbers know
                neither epsilon nor floor.

        Returns:
            One row each: `action` (its name, a list of one name for each set, or a list of numbers),
            `action_index` (int or a list of them; none of numbers), `log_probability` (of numbers the
            density; None where they have none, as greedy ones) and `policy_version`.
        """
        mask = model_input.get(ACTION_MASK)
        given = {name: model_input[name] for name in self._features if name in model_input}
        decided = self.decide(given, mask, **(params or {}))
        return pd.DataFrame({name: _cells(column) for name, column in decided.items()}, copy=False)

    def decide(
        self,
        features: Mapping[str, Any],
        action_mask: Any = None,
        explore: bool = False,
        temperature: float = 0.0,
        epsilon: float = -1.0,
        floor: float = 0.0,
    ) -> dict[str, np.ndarray]:
        """What `predict` does, without DataFrames: columns [B] in, columns [B] out, [B, n] of a vector.

        A density that there is not is NaN here.

        Raises:
            MlflowException: a row allows no action, or more than the floor can be given to; a number is not
                finite, or so large that values are not; a feature that is not optional is missing; there is a
                mask though the action is not Discrete; or the exploration is out of range, or not of numbers.
        """
        rows = max((len(column) for column in features.values()), default=0)
        columns = {
            name: _column(name, features.get(name, [None] * rows), feature) for name, feature in self._features.items()
        }
        chance = explore or epsilon >= 0 or floor > 0
        noise = np.random.default_rng().random(rows) if chance else np.zeros(rows)
        try:
            out = self._graph(
                **{name: tf.constant(column) for name, column in columns.items()},
                **self._mask(action_mask, rows),
                noise=tf.constant(noise),
                explore=tf.constant(bool(explore)),
                temperature=tf.constant(temperature, tf.float32),
                **self._shares(epsilon, floor),
            )
        except tf.errors.InvalidArgumentError as error:
            raise MlflowException.invalid_parameter_value(_reason(error)) from None
        _refuse_undecided(out)
        return {
            **self._chosen(out),
            "log_probability": out["log_probability"].numpy(),
            "policy_version": np.full(rows, self.policy_version, object),
        }

    def _chosen(self, out: Mapping[str, Any]) -> dict[str, np.ndarray]:
        if not self._names:
            return {"action": out["action"].numpy()}
        number = out["action_index"].numpy()
        if self._action["kind"] == "Discrete":
            return {"action": self._names[0][number], "action_index": number}
        indices = np.unravel_index(number, [len(names) for names in self._names])  # the first set varies slowest
        chosen = [names[index] for names, index in zip(self._names, indices, strict=True)]
        return {"action": np.stack(chosen, axis=1), "action_index": np.stack(indices, axis=1).astype(np.int32)}

    def _shares(self, epsilon: float, floor: float) -> dict[str, tf.Tensor]:
        """The graph's inputs, where it has them."""
        if self._names:
            return {"epsilon": tf.constant(epsilon, tf.float64), "floor": tf.constant(floor, tf.float64)}
        if epsilon != -1 or floor:
            raise MlflowException.invalid_parameter_value(
                "epsilon and floor are of actions to choose among; numbers are explored with the temperature."
            )
        return {}

    def _mask(self, given: Any, rows: int) -> dict[str, tf.Tensor]:
        """The graph's input, where it has one: what is allowed among all combinations."""
        kind = self._action["kind"]
        if given is not None and kind != "Discrete":
            raise MlflowException.invalid_parameter_value(f"only Discrete actions can be masked, not {kind}.")
        if not self._names:
            return {}
        actions = int(np.prod([len(names) for names in self._names]))
        allowed = np.ones((rows, actions), bool)
        for row, mask in enumerate(() if given is None else given):
            if mask is None or (isinstance(mask, float) and np.isnan(mask)):
                continue  # NULL: everything is allowed
            if len(mask) != actions:
                raise MlflowException.invalid_parameter_value(
                    f"action_mask of row {row} has {len(mask)} entries; there are {actions} actions."
                )
            allowed[row] = mask
        return {ACTION_MASK: tf.constant(allowed)}


class AgentModel(Agent, PythonModel):
    """MLflow warns of a `predict` without type hints in a subclass, and this signature has none."""


def _sets(action: Mapping[str, Any]) -> list[list[str]]:
    """The names to choose among, set by set; nothing where numbers are decided on."""
    if action["kind"] == "MultiDiscrete":
        return [names for _, names in action["sets"]]
    return [action["names"]] if action["kind"] == "Discrete" else []


def _cells(column: np.ndarray) -> Any:
    """What a DataFrame and JSON can hold: a list for a vector, None for NaN."""
    if column.ndim > 1:
        return column.tolist()
    if column.dtype.kind != "f" or not np.isnan(column).any():
        return column
    return np.array([None if math.isnan(number) else number for number in column.tolist()], object)


def _column(name: str, values: Any, feature: Mapping[str, Any]) -> np.ndarray:
    """Missing is NaN, or the empty string for a category; the graph refuses a number that must not be."""
    kind, optional = feature["kind"], feature.get("optional", False)
    if kind == "Category":
        column = np.array([text if isinstance(text, str) else "" for text in values], object)
        missing = column == ""
    else:
        given = np.asarray(values)
        column = np.asarray(pd.to_numeric(given) if given.dtype == object else given, np.float64)
        if kind == "Number":
            return column
        missing = np.isnan(column)
    if not optional and missing.any():
        row = int(missing.argmax())
        raise MlflowException.invalid_parameter_value(f"feature {name!r} of row {row} is missing.")
    return column.astype(bool) if kind == "Binary" and not optional else column


def _refuse_undecided(out: Mapping[str, Any]) -> None:
    """Where the values were not finite, the graph says index -1, or numbers that are not finite."""
    decided = out["action_index"].numpy() >= 0 if "action_index" in out else np.isfinite(out["action"].numpy()).all(1)
    if not decided.all():
        raise MlflowException.invalid_parameter_value(
            f"no finite values for row {decided.argmin()}: a number among its features is far out of range."
        )


def _reason(error: tf.errors.InvalidArgumentError) -> str:
    """The assertion's own words, without the graph's node names."""
    asserted = re.search(r"assertion failed: \[(.+?)\]", error.message)
    not_finite = re.search(r"^(.*?) : Tensor had ", error.message, re.MULTILINE)
    found = asserted or not_finite
    return found.group(1) if found else error.message


def _version(folder: Path) -> str:
    """`<registered name>/<version>` when loaded through the registry, else the logged model's id."""
    root = next(parent for parent in folder.parents if (parent / "MLmodel").is_file())
    if (root / REGISTERED_AS).is_file():
        registered = read_yaml(str(root), REGISTERED_AS)
        if registered.get("model_name"):
            return f"{registered['model_name']}/{registered['model_version']}"
    return str(Model.load(str(root)).model_id)


set_model(AgentModel())
