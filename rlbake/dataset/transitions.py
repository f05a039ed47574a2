"""Transitions of a pinned table as columns in memory, read with Arrow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from rlbake import vocabulary as v
from rlbake.dataset import columns, nstep
from rlbake.dataset.snapshot import Snapshot
from rlbake.errors import DataError, StorageError
from rlbake.specs import Action, Feature
from rlbake.world import Observations

_IDENTITY = (v.ENV_ID, v.EPISODE, v.TIMESTAMP)
_COLUMNS = (
    *_IDENTITY,
    v.NEXT_TIMESTAMP,
    v.ACTION,
    v.NEXT_ACTION_MASK,
    v.LOG_PROBABILITY,
    v.DISCOUNT,
    v.STEP_TYPE,
    v.END,
)


@dataclass(frozen=True)
class Transitions:
    """N transitions, columns of equal length, sorted by environment, episode and timestamp.

    Attributes:
        env_id: str [N].
        timestamp: datetime64[us] [N], UTC.
        next_timestamp: datetime64[us] [N], of the row's own successor; NaT if terminated.
        step_type: int32 [N], FIRST or MID.
        end: str [N], how the row's own step ended.
        observation: arrays [N] by feature.
        action: int32 [N] for Discrete, else [N, n].
        log_probability: float32 [N], of the logged action; NaN = unknown.
        reward: float64 [N], n-step, discounted to the row.
        discount: float64 [N], factor of the value of `next_observation`; 0 if the world ended before.
        next_observation: arrays [N] by feature, of the step bootstrapped from; filler where discount is 0.
        next_action_mask: bool [N, A], what is allowed there; None if everything always is.
    """

    env_id: np.ndarray
    timestamp: np.ndarray
    next_timestamp: np.ndarray
    step_type: np.ndarray
    end: np.ndarray
    observation: Observations
    action: np.ndarray
    log_probability: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    next_observation: Observations
    next_action_mask: np.ndarray | None

    def __len__(self) -> int:
        return len(self.reward)

    def take(self, rows: np.ndarray) -> Transitions:
        """The given rows, int [M], in the given order."""
        return dataclasses.replace(
            self, **{f.name: _taken(getattr(self, f.name), rows) for f in dataclasses.fields(self)}
        )


def load(
    snapshot: Snapshot,
    *,
    observation: Sequence[Feature],
    action: Action,
    metrics: Sequence[str],
    reward: Mapping[str, float],
    gamma: float,
    n_step: int = 1,
) -> Transitions:
    """Reads what training needs. Rewards are weighted here: other weights need no rebuild.

    Args:
        snapshot: what to read.
        observation: the features.
        action: what is decided on.
        metrics: those of the application.
        reward: weight by metric; a metric without one weighs 0.
        gamma: discount per step, in [0, 1].
        n_step: steps of reward before bootstrapping, ≥ 1; fewer at the end of an episode or of what is loaded.

    Raises:
        DataError: there is no row, the table lacks a feature or metric, a value is missing, or an
            action is unknown.
        StorageError: the table cannot be read.
    """
    weighed = [m for m in metrics if reward.get(m)]
    table = _read(snapshot, [f.name for f in observation], weighed)
    one_step = np.zeros(table.num_rows)
    for metric in weighed:
        one_step += reward[metric] * columns.numbers(table, columns.at(v.METRICS, metric))
    end = columns.text(table, v.END)
    timestamp, next_timestamp = columns.instants(table, v.TIMESTAMP), columns.instants(table, v.NEXT_TIMESTAMP)
    environment = table.column(v.ENV_ID).combine_chunks().dictionary_encode().indices.to_numpy()
    successor = nstep.successors(
        environment, columns.instants(table, v.EPISODE), timestamp, next_timestamp, end != v.NOT_ENDED
    )
    discount = columns.numbers(table, v.DISCOUNT)
    reward_, discount_, last = nstep.n_step(one_step, gamma * discount.astype(np.float64), successor, n_step)
    terminated = end == v.TERMINATED
    bootstrap = columns.features(table, v.NEXT_OBSERVATION, observation, absent=terminated)
    return Transitions(
        env_id=columns.text(table, v.ENV_ID),
        timestamp=timestamp,
        next_timestamp=next_timestamp,
        step_type=columns.numbers(table, v.STEP_TYPE),
        end=end,
        observation=columns.features(table, v.OBSERVATION, observation, absent=np.zeros(len(end), bool)),
        action=columns.actions(table, action),
        log_probability=table.column(v.LOG_PROBABILITY).to_numpy().astype(np.float32),
        reward=reward_,
        discount=discount_,
        next_observation={name: column[last] for name, column in bootstrap.items()},
        next_action_mask=columns.next_masks(table, action, last, terminated[last]),
    )


def _read(snapshot: Snapshot, features: Sequence[str], metrics: Sequence[str]) -> pa.Table:
    """The columns that are needed, structs taken apart, in an order that no file layout changes."""
    try:
        delta = DeltaTable(snapshot.uri, version=snapshot.version).to_pyarrow_dataset()
        for struct, kind, names in ((v.OBSERVATION, "feature", features), (v.METRICS, "metric", metrics)):
            known = [field.name for field in delta.schema.field(struct).type]
            for name in names:
                if name not in known:
                    raise columns.missing(kind, name, known)
        wanted = {name: pc.field(name) for name in _COLUMNS}
        nested = [(s, f) for s in (v.OBSERVATION, v.NEXT_OBSERVATION) for f in features]
        nested += [(v.METRICS, m) for m in metrics]
        wanted |= {columns.at(struct, field): pc.field(struct, field) for struct, field in nested}
        table = delta.to_table(columns=wanted, filter=pc.field(v.DS).isin(list(snapshot.windows)))
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read version {snapshot.version} of the table at {snapshot.uri}: {error}") from error
    if not table.num_rows:
        raise DataError(f"there is no transition in windows {snapshot.windows[0]} to {snapshot.windows[-1]}.")
    return table.sort_by([(name, "ascending") for name in _IDENTITY])


def _taken(column: Any, rows: np.ndarray) -> Any:
    if isinstance(column, dict):
        return {name: values[rows] for name, values in column.items()}
    return None if column is None else column[rows]
