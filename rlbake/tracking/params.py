"""A nested configuration as MLflow parameters: flat, typed, within the limits."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, MAX_PARAM_VAL_LENGTH

PREFIX = "cfg"
"""Keeps the resolved configuration apart from the raw parameters that `mlflow run` logs."""

_NOT_IN_A_KEY = re.compile(r"[^\w\-. ]")


def plain(value: Any) -> Any:
    """A configuration as JSON-ready data: dataclasses become dictionaries, tuples lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    return str(value)


def flatten(config: Mapping[str, Any], prefix: str = PREFIX) -> dict[str, str]:
    """One parameter per leaf: `{"agent": {"n": 3}}` becomes `{"cfg.agent.n": "3"}`.

    Strings stand as they are and everything else as JSON (`true`, `null`, `[100, 100]`), so
    that a parameter can be read back by type. A value beyond MLflow's limit is cut and ends
    in "…"; the whole configuration is logged as an artifact beside the parameters.
    """
    flat: dict[str, str] = {}
    for key, value in plain(config).items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, dict) and value:
            flat.update(flatten(value, name))
        else:
            flat[_NOT_IN_A_KEY.sub("_", name)[:MAX_ENTITY_KEY_LENGTH]] = _text(value)
    return flat


def _text(value: Any) -> str:
    return shortened(value if isinstance(value, str) else json.dumps(value), MAX_PARAM_VAL_LENGTH)


def shortened(text: str, limit: int) -> str:
    """The text, or its beginning and "…" where it is longer than the limit."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
