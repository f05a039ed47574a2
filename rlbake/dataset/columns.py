"""Trajectory columns from Arrow to numpy. What is missing is refused, never filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.errors import DataError, failed_check
from rlbake.specs import Action, Binary, Continuous, Discrete, Feature, Number
from rlbake.world import Observations

_FILLER: dict[type, Any] = {Number: 0.0, Binary: False}  # for a category, and where one is missing: the empty string


def at(struct: str, field: str) -> str:
    """The name of a struct's field as a column of its own."""
    return f"{struct}.{field}"


def text(table: pa.Table, column: str) -> np.ndarray:
    """object [N] of str; None where missing."""
    encoded = table.column(column).combine_chunks().dictionary_encode()
    names = np.array([*encoded.dictionary.to_pylist(), None], object)
    return names[encoded.indices.fill_null(len(names) - 1).to_numpy()]


def instants(table: pa.Table, column: str) -> np.ndarray:
    """datetime64[us] [N], UTC; NaT where missing."""
    return table.column(column).to_numpy().astype("datetime64[us]")


def numbers(table: pa.Table, column: str) -> np.ndarray:
    """The column's own dtype [N].

    Raises:
        DataError: a value is missing or not finite.
    """
    values = table.column(column)
    refuse(values.is_null().to_numpy(), f"{column} is missing", table)
    values = values.to_numpy()
    refuse(~np.isfinite(values), f"{column} is not finite", table)
    return values


def features(table: pa.Table, struct: str, observation: Sequence[Feature], absent: np.ndarray) -> Observations:
    """Arrays [N] by feature; filler, which nothing reads, in the rows that are `absent`.

    Where an optional feature is missing, a number or binary is NaN and a category the empty string.

    Raises:
        DataError: a value of another feature is missing elsewhere, or a number is not finite.
    """
    return {f.name: _feature(table, at(struct, f.name), f, absent) for f in observation}


def _feature(table: pa.Table, column: str, feature: Feature, absent: np.ndarray) -> np.ndarray:
    values = table.column(column)
    missing = values.is_null().to_numpy() & ~absent
    refuse(missing & (not feature.optional), f"{column} is missing", table)
    if not isinstance(feature, Number | Binary):
        known = text(table, column)
        known[absent | missing] = ""
        return known
    filled = values.fill_null(pa.scalar(_FILLER[type(feature)], values.type)).to_numpy()
    if isinstance(feature, Binary):
        return np.where(missing, np.nan, filled) if feature.optional else filled.astype(bool)
    filled = np.where(absent, _FILLER[Number], filled).astype(filled.dtype)
    refuse(~np.isfinite(filled), f"{column} is not finite", table)
    filled[missing] = np.nan
    return filled


def actions(table: pa.Table, action: Action) -> np.ndarray:
    """int32 [N] for Discrete; the joint index, int32 [N], for MultiDiscrete; float32 [N, n] for Continuous.

    Raises:
        DataError: an action is missing or unknown.
    """
    refuse(table.column(v.ACTION).is_null().to_numpy(), f"{v.ACTION} is missing", table)
    return _actions(table, v.ACTION, action)


def next_actions(table: pa.Table, action: Action) -> tuple[np.ndarray, np.ndarray]:
    """The actions that followed, shaped like `actions`, and bool [N]: whether there is one; zeros where not.

    Raises:
        DataError: an action is unknown.
    """
    return _actions(table, v.NEXT_ACTION, action), table.column(v.NEXT_ACTION).is_valid().to_numpy()


def _actions(table: pa.Table, name: str, action: Action) -> np.ndarray:
    column = table.column(name).combine_chunks()
    if isinstance(action, Discrete):
        index = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int32)
        refuse((index < 0) | (index >= len(action)), f"{name} is not among the {len(action)} actions", table)
        return index
    size = len(action.low) if isinstance(action, Continuous) else len(action.sets)
    refuse(column.value_lengths().fill_null(size).to_numpy() != size, f"{name} has not {size} entries", table)
    given = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    values = np.zeros((len(column), size), np.float32 if isinstance(action, Continuous) else np.int32)
    values[column.is_valid().to_numpy(zero_copy_only=False)] = given.reshape(-1, size)
    if isinstance(action, Continuous):
        return values
    sizes = np.array([len(names) for _, names in action.sets])
    wrong = ((values < 0) | (values >= sizes)).any(axis=1)
    refuse(wrong, f"{name} is not among the actions of its sets", table)
    return action.flat(values)


def masks(table: pa.Table, name: str, action: Action) -> np.ndarray | None:
    """bool [N, A]: what a column of masks allows; None if everything always is.

    Raises:
        DataError: a mask has another length than there are actions, or allows nothing.
    """
    column = table.column(name).combine_chunks()
    given = column.is_valid().to_numpy(zero_copy_only=False)
    if not isinstance(action, Discrete) or not given.any():
        return None
    lengths = column.value_lengths().fill_null(len(action)).to_numpy()
    refuse(lengths != len(action), f"{name} has not {len(action)} entries", table)
    allowed = np.ones((len(column), len(action)), bool)
    allowed[given] = column.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, len(action))
    refuse(~allowed.any(axis=1), f"{name} allows nothing", table)
    return allowed


def gaps(table: pa.Table, absent: np.ndarray) -> np.ndarray:
    """float64 [N], seconds to the next timestep; 0 in the rows that are `absent`.

    Raises:
        DataError: a gap is missing elsewhere, or negative.
    """
    column = table.column(v.TIME_GAP)
    refuse(column.is_null().to_numpy() & ~absent, f"{v.TIME_GAP} is missing", table)
    seconds = np.where(absent, 0.0, column.fill_null(0.0).to_numpy())
    refuse(~(np.isfinite(seconds) & (seconds >= 0)), f"{v.TIME_GAP} is negative or not finite", table)
    return seconds


def refuse(wrong: Any, problem: str, table: pa.Table) -> None:
    """Raises a DataError that names the first rows where `wrong`, a bool array [N], holds."""
    rows = np.flatnonzero(wrong)
    if not len(rows):
        return
    named = table.select([v.ENV_ID, v.TIMESTAMP]).take(rows[:5]).to_pylist()
    raise failed_check(
        problem,
        where="trajectories",
        count=len(rows),
        of=table.num_rows,
        examples=[f"{row[v.ENV_ID]} at {row[v.TIMESTAMP]}" for row in named],
        fix="Put `timesteps` right and build these windows again.",
    )


def missing(what: str, name: str, known: Sequence[str]) -> DataError:
    """The table was built for another application, or an older one."""
    return DataError(
        f"the trajectories have no {what} {name!r} (they have: {', '.join(known)}). "
        "They were built before it was added: build these windows again."
    )
