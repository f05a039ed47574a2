"""What the two tables of an experience log look like, and how their rows travel there.

On its way a row is a list of plain values in a fixed order, which JSON can hold; it was checked
when it became one, so that no row that a table refuses is ever kept in a spool.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.errors import DataError, SpecError, nearest
from rlbake.experience.rows import Decision, Outcome
from rlbake.specs import Action, Binary, Continuous, Discrete, Feature, Number, from_json, to_json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INSTANT = pa.timestamp("us", tz="UTC")
_ENDS = (v.TERMINATED, v.TRUNCATED)
_AT_ONCE = 1000  # rows, some milliseconds

Record = list[Any]


@dataclass(frozen=True)
class LogSchema:
    """What an application declares about its decisions and outcomes.

    Raises:
        SpecError: a key has the name of one of the tables' own columns.
    """

    keys: tuple[str, ...]
    observation: tuple[Feature, ...]
    action: Action
    metrics: tuple[str, ...]

    def __post_init__(self) -> None:
        own = {
            name for table in (v.DECISIONS_TABLE, v.OUTCOMES_TABLE) for name in self.of(table).names[len(self.keys) :]
        }
        for key in self.keys:
            if key in own:
                raise SpecError(f"key {key!r}: the experience log has a column of this name. Rename the key.")

    def to_json(self) -> str:
        """As text. `from_json` is the inverse."""
        return json.dumps(
            {
                "keys": self.keys,
                "observation": [to_json(feature) for feature in self.observation],
                "action": to_json(self.action),
                "metrics": self.metrics,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> LogSchema:
        """The schema that `to_json` wrote."""
        data = json.loads(text)
        features = tuple(from_json(feature) for feature in data["observation"])
        return cls(tuple(data["keys"]), features, from_json(data["action"]), tuple(data["metrics"]))

    def of(self, table: str) -> pa.Schema:
        """The columns of a table; `hour`, which partitions it, is the last."""
        keys = [(key, pa.string()) for key in self.keys]
        if table == v.OUTCOMES_TABLE:
            columns = [
                *keys,
                (v.TIMESTAMP, _INSTANT),
                (v.DECISION_ID, pa.string()),
                (v.OUTCOME_ID, pa.string()),
                (v.METRICS, pa.struct([(metric, pa.float64()) for metric in self.metrics])),
                (v.END, pa.string()),
            ]
        else:
            name, index = _action_types(self.action)
            columns = [
                *keys,
                (v.TIMESTAMP, _INSTANT),
                (v.OBSERVATION, pa.struct([(feature.name, _type(feature)) for feature in self.observation])),
                (v.ACTION_MASK, pa.list_(pa.bool_())),
                (v.ACTION, name),
                (v.ACTION_INDEX, index),
                (v.LOG_PROBABILITY, pa.float32()),
                (v.POLICY_VERSION, pa.string()),
                (v.DECISION_ID, pa.string()),
                (v.FALLBACK, pa.bool_()),
            ]
        return pa.schema([*columns, (v.HOUR, pa.string())])

    def decision(self, row: Decision) -> Record:
        """A decision as plain values: id, microseconds, keys, features, action, mask, log-probability, who, fallback.

        Raises:
            DataError: a value is missing, unknown or of another type.
        """
        what = f"decision {row.decision_id!r}"
        observation = row.observation
        if not observation.keys() <= {feature.name for feature in self.observation}:
            names = [feature.name for feature in self.observation]
            unknown = next(name for name in observation if name not in names)
            raise DataError(f"{what}: there is no feature {unknown!r}. {nearest(unknown, names)}")
        return [
            _text(row.decision_id, what, v.DECISION_ID),
            _micros(row.timestamp, what),
            self._keys(row.env_keys, what),
            [_feature(feature, observation.get(feature.name), what) for feature in self.observation],
            self._action(row.action, what),
            None if row.action_mask is None else [bool(allowed) for allowed in row.action_mask],
            None if row.log_probability is None else float(row.log_probability),
            _text(row.policy_version, what, v.POLICY_VERSION),
            bool(row.fallback),
        ]

    def outcome(self, row: Outcome) -> Record:
        """An outcome as plain values: microseconds, keys, decision id, outcome id, metrics, end.

        Raises:
            DataError: a value is missing, unknown or of another type.
        """
        what = f"outcome {row.outcome_id or row.decision_id or dict(row.env_keys or {})!r}"
        if (row.decision_id is None) == (row.env_keys is None):
            raise DataError(f"{what}: give {v.DECISION_ID} or the keys ({', '.join(self.keys)}), one of them.")
        for metric, value in row.metrics.items():
            if metric not in self.metrics:
                raise DataError(f"{what}: there is no metric {metric!r}. {nearest(metric, self.metrics)}")
            if not _is_finite(value):
                raise DataError(f"{what}: metric {metric!r} is {value!r}: it must be a finite number.")
        if row.end is not None and row.end not in _ENDS:
            raise DataError(f"{what}: there is no end {row.end!r}. {nearest(str(row.end), _ENDS)}")
        if not row.metrics and row.end is None:
            raise DataError(f"{what}: it says nothing. Give metrics ({', '.join(self.metrics)}), or an end.")
        return [
            _micros(row.timestamp, what),
            None if row.env_keys is None else self._keys(row.env_keys, what),
            None if row.decision_id is None else _text(row.decision_id, what, v.DECISION_ID),
            None if row.outcome_id is None else _text(row.outcome_id, what, v.OUTCOME_ID),
            [None if metric not in row.metrics else float(row.metrics[metric]) for metric in self.metrics],
            row.end,
        ]

    def rows(self, table: str, records: Sequence[Record]) -> pa.Table:
        """Records as rows of a table.

        Few at a time: while Arrow takes values out of Python objects, no other thread of this process runs, and
        requests wait.
        """
        schema = self.of(table)
        parts = (records[start : start + _AT_ONCE] for start in range(0, len(records), _AT_ONCE))
        return pa.Table.from_batches([self._part(table, part, schema) for part in parts], schema)

    def _part(self, table: str, records: Sequence[Record], schema: pa.Schema) -> pa.RecordBatch:
        columns = list(zip(*records, strict=True))
        if table == v.OUTCOMES_TABLE:
            instants, keys, decisions, outcomes, metrics, ends = columns
            values: list[Any] = [decisions, outcomes, _struct(metrics, schema.field(v.METRICS).type), ends]
        else:
            decisions, instants, keys, features, actions, masks, log_probabilities, versions, fallbacks = columns
            observations = _struct(features, schema.field(v.OBSERVATION).type)
            values = [observations, masks, *self._chosen(actions), log_probabilities, versions, decisions, fallbacks]
        unkeyed = [None] * len(self.keys)
        by_key = zip(*(unkeyed if row is None else row for row in keys), strict=True)
        time = np.array(instants, "datetime64[us]")
        hours = np.datetime_as_string(time, unit="h")
        arrays = [
            column if isinstance(column, pa.Array) else pa.array(column, field.type)
            for column, field in zip([*by_key, time, *values, hours], schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _keys(self, given: Mapping[str, object], what: str) -> list[str]:
        if given.keys() != set(self.keys) or any(value is None for value in given.values()):
            raise DataError(
                f"{what}: its keys are {dict(given)}, and must be {', '.join(self.keys)}, each with a value."
            )
        return [str(given[key]) for key in self.keys]

    def _action(self, action: Any, what: str) -> Any:
        """As it is kept: index, list of indices, or list of numbers."""
        if isinstance(self.action, Continuous):
            return [float(number) for number in action]
        sizes = [len(self.action)] if isinstance(self.action, Discrete) else list(self.action.sizes)
        indices = [int(action)] if isinstance(self.action, Discrete) else [int(index) for index in action]
        if len(indices) != len(sizes) or any(not 0 <= i < n for i, n in zip(indices, sizes, strict=True)):
            raise DataError(f"{what}: action {action!r} is unknown: there are {sizes} actions, counted from 0.")
        return indices[0] if isinstance(self.action, Discrete) else indices

    def _chosen(self, actions: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Name and index; of numbers themselves and nothing."""
        if isinstance(self.action, Continuous):
            return list(actions), [None] * len(actions)
        if isinstance(self.action, Discrete):
            names = self.action.names
            return [names[index] for index in actions], list(actions)
        sets = [names for _, names in self.action.sets]
        named = [[names[i] for names, i in zip(sets, indices, strict=True)] for indices in actions]
        return named, list(actions)


def _struct(rows: Sequence[Sequence[Any]], type_: pa.StructType) -> pa.StructArray:
    """Of one list of values for each row."""
    columns = zip(*rows, strict=True)
    fields = list(type_)
    return pa.StructArray.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)], fields=fields
    )


def _type(feature: Feature) -> pa.DataType:
    if isinstance(feature, Number):
        return pa.float64()
    return pa.bool_() if isinstance(feature, Binary) else pa.string()


def _action_types(action: Action) -> tuple[pa.DataType, pa.DataType]:
    """Of the action as it is shown, and of its index."""
    if isinstance(action, Discrete):
        return pa.string(), pa.int32()
    if isinstance(action, Continuous):
        return pa.list_(pa.float32()), pa.int32()
    return pa.list_(pa.string()), pa.list_(pa.int32())


def _micros(time: datetime, what: str) -> int:
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise DataError(f"{what}: timestamp {time!r} must be a datetime with a time zone.")
    return (time - _EPOCH) // _MICROSECOND


def _feature(feature: Feature, value: Any, what: str) -> float | bool | str | None:
    if value is None:
        return None
    if isinstance(feature, Number):
        if _is_finite(value):
            return float(value)
        raise DataError(f"{what}: feature {feature.name!r} is {value!r}: it must be a finite number, or None.")
    if isinstance(feature, Binary):
        if isinstance(value, bool | np.bool_):
            return bool(value)
        raise DataError(f"{what}: feature {feature.name!r} is {value!r}: it must be True, False or None.")
    return _text(value, what, feature.name)


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any, what: str, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise DataError(f"{what}: {name} is {value!r}: it must be a non-empty string.")
    return str(value)
