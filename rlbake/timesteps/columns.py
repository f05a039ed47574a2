"""The columns of a timestep: which there must be, of which type, and what they become.

What an application returns is wide and loosely typed (one column per feature and metric, actions
by name or index). What is stored is narrow: see `rlbake.vocabulary` for each column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from rlbake import vocabulary as v
from rlbake.errors import DataError, nearest
from rlbake.specs import OTHER, Action, Binary, Category, Continuous, Discrete, Feature, MultiDiscrete, Number

OPTIONAL = (v.ACTION_MASK, v.LOG_PROBABILITY, v.END, v.POLICY_VERSION, v.STEP_TYPE)


@dataclass(frozen=True)
class Specs:
    """What an application declares about its timesteps."""

    keys: tuple[str, ...]
    observation: tuple[Feature, ...]
    action: Action
    metrics: tuple[str, ...]

    def required(self) -> list[str]:
        features = [feature.name for feature in self.observation]
        return [*self.keys, v.TIMESTAMP, *features, v.ACTION, *self.metrics]

    def actions(self) -> int | None:
        """How many actions a mask allows or forbids; None where there is no mask."""
        return len(self.action) if isinstance(self.action, Discrete) else None


def require(frame: DataFrame, specs: Specs, what: str) -> None:
    """Sees that all columns are there and of a type that can be read as what they mean.

    Raises:
        DataError: names every column that is there twice, or every missing one with its nearest
            neighbour, or every wrong type.
    """
    twice = sorted({name for name in frame.columns if frame.columns.count(name) > 1})
    if twice:
        raise DataError(f"{what}: there are two columns named {', '.join(map(repr, twice))}. Keep one of each.")
    missing = [name for name in specs.required() if name not in frame.columns]
    if missing:
        hints = " ".join(f"{name!r} is missing. {nearest(name, frame.columns)}" for name in missing)
        raise DataError(f"{what}: {hints}")
    present = [name for name in OPTIONAL if name in frame.columns]
    wrong = [
        f"{name!r} is {frame.schema[name].dataType.simpleString().upper()}: {fix}"
        for name in [*specs.required(), *present]
        for accepts, fix in [_expected(name, specs)]
        if not accepts(frame.schema[name].dataType)
    ]
    if wrong:
        raise DataError(f"{what}: column {'; column '.join(wrong)}.")


def _expected(name: str, specs: Specs) -> tuple[Callable[[T.DataType], bool], str]:
    """Whether a type will do for a column, and what to say if not."""
    features = {feature.name: feature for feature in specs.observation}
    feature = features.get(name)
    if name in specs.keys:
        return _is(T.StringType, T.IntegralType, T.DateType), "a key must be a string, an integer or a date; cast it"
    if name == v.TIMESTAMP:
        zone = "it must be a TIMESTAMP, an instant: to_utc_timestamp tells which time zone a local time is in"
        return _is(T.TimestampType), zone
    if isinstance(feature, Binary):
        return _is(T.BooleanType), "a Binary feature must be boolean; compare it with a value"
    if isinstance(feature, Category):
        return _is(T.StringType), "a Category feature must be a string; cast it"
    if name == v.STEP_TYPE:
        return _is(T.IntegralType), "it must be an integer: 0 first, 1 between, 2 last"
    if isinstance(feature, Number) or name in specs.metrics or name == v.LOG_PROBABILITY:
        return _is(T.NumericType), "it must be a number; cast it"
    if name == v.ACTION:
        return _expected_action(specs.action)
    if name == v.ACTION_MASK:
        return _is_array(T.BooleanType), "it must be an array of booleans, one per action"
    return _is(T.StringType), "it must be a string"


def _expected_action(action: Action) -> tuple[Callable[[T.DataType], bool], str]:
    if isinstance(action, Discrete):
        return _is(T.StringType, T.IntegralType), "a Discrete action must be a name or an integer index"
    if isinstance(action, MultiDiscrete):
        return _is_array(T.StringType, T.IntegralType), "it must be an array of one name or index per action set"
    return _is_array(T.NumericType), "a Continuous action must be an array of numbers"


def _is(*kinds: type[T.DataType]) -> Callable[[T.DataType], bool]:
    return lambda type_: isinstance(type_, kinds)


def _is_array(*kinds: type[T.DataType]) -> Callable[[T.DataType], bool]:
    return lambda type_: isinstance(type_, T.ArrayType) and isinstance(type_.elementType, kinds)


def observation(features: Sequence[Feature]) -> Column:
    """struct<feature: float | boolean | string>."""
    return F.struct(*(feature(f).alias(f.name) for f in features))


def feature(feature: Feature) -> Column:
    """float, boolean or string: a feature as it is observed."""
    value = _column(feature.name)
    if isinstance(feature, Number):
        return value.cast("float")
    if isinstance(feature, Category) and feature.unknown == OTHER:
        return F.when(value.isNotNull() & ~value.isin(*feature.values), OTHER).otherwise(value)
    return value


def action(frame: DataFrame, spec: Action) -> Column:
    """The action as stored: int, array<int> or array<float>; NULL for one that does not exist."""
    logged = _column(v.ACTION)
    if isinstance(spec, Continuous):
        return logged.cast("array<float>")
    type_ = frame.schema[v.ACTION].dataType
    if isinstance(spec, Discrete):
        return _index(logged, type_, spec.names)
    element = type_.elementType if isinstance(type_, T.ArrayType) else type_
    indices = [_index(F.get(logged, F.lit(i)), element, names) for i, (_, names) in enumerate(spec.sets)]
    whole = F.size(logged) == len(indices)
    for index in indices:
        whole = whole & index.isNotNull()
    return F.when(whole, F.array(*indices))


def metrics(names: Sequence[str]) -> Column:
    """struct<metric: float>, NULL on a final observation, whose action is NULL."""
    values = F.struct(*(_column(name).cast("float").alias(name) for name in names))
    return F.when(_column(v.ACTION).isNotNull(), values)


def optional(frame: DataFrame, name: str, type_: str) -> Column:
    """A column that need not be logged, as its type; NULL where it is not."""
    return (_column(name) if name in frame.columns else F.lit(None)).cast(type_)


def _index(logged: Column, type_: T.DataType, names: Sequence[str]) -> Column:
    if isinstance(type_, T.StringType):
        position = F.call_function("array_position", F.array(*(F.lit(name) for name in names)), logged)
        return F.when(position > 0, (position - 1).cast("int"))
    return F.when(logged.between(0, len(names) - 1), logged.cast("int"))


def _column(name: str) -> Column:
    return F.col(f"`{name}`")
