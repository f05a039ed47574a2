"""Transitions of a pinned table as columns in memory, read with Arrow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
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
    v.TIME_GAP,
    v.ACTION,
    v.NEXT_ACTION,
    v.ACTION_MASK,
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
        action: int32 [N] for Discrete; the joint index, int32 [N], for MultiDiscrete; float32 [N, n] for Continuous.
        log_probability: float32 [N], of the logged action; NaN = unknown.
        reward: float64 [N], n-step, discounted to the row.
        discount: float64 [N], factor of the value of `next_observation`; 0 if the world ended before.
        next_observation: arrays [N] by feature, of the step bootstrapped from; filler where discount is 0.
        next_action_mask: bool [N, A], what is allowed there; None if everything always is.
        action_mask: bool [N, A], what the row's own decision was among; None if everything always is.
        next_action: like `action`, what was done at the step bootstrapped from; None if not known of any.
        next_action_valid: bool [N], whether there is one: not at an end. `next_action` is filler where not.
        episode: datetime64[us] [N], UTC, of the episode's first decision.
        metrics: float64 [N] by metric, of the row's own step: those that the reading keeps.
        policy_version: str [N], who decided, None = unknown; None if the reading does not keep it.
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
    action_mask: np.ndarray | None = None
    next_action: np.ndarray | None = None
    next_action_valid: np.ndarray | None = None
    episode: np.ndarray | None = None
    metrics: dict[str, np.ndarray] = field(default_factory=dict)
    policy_version: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.reward)

    def take(self, rows: np.ndarray) -> Transitions:
        """The given rows, int [M], in the given order."""
        return dataclasses.replace(
            self, **{f.name: _taken(getattr(self, f.name), rows) for f in dataclasses.fields(self)}
        )


def concatenated(first: Transitions, second: Transitions) -> Transitions:
    """The rows of both, one after the other; both are of the same reading.

    Where only one has a mask, the other allows everything.
    """
    if not len(first) or not len(second):
        return first if len(first) else second
    return Transitions(
        **{
            f.name: _joined(getattr(first, f.name), getattr(second, f.name), len(first), len(second))
            for f in dataclasses.fields(Transitions)
        }
    )


def _joined(first: Any, second: Any, rows: int, more: int) -> Any:
    if isinstance(first, dict):
        return {name: np.concatenate([first[name], second[name]]) for name in first}
    if first is None and second is None:
        return None
    if first is None:
        first = np.ones((rows, *second.shape[1:]), second.dtype)
    if second is None:
        second = np.ones((more, *first.shape[1:]), first.dtype)
    return np.concatenate([first, second])


@dataclass(frozen=True)
class Reading:
    """How rows become transitions. None of it needs a rebuild.

    Attributes:
        observation: the features.
        action: what is decided on.
        metrics: those of the application.
        reward: weight by metric; a metric without one weighs 0.
        gamma: discount per step, or per `gamma_period`; in [0, 1].
        n_step: steps of reward before bootstrapping, ≥ 1; fewer at the end of an episode or of what is loaded.
        gamma_period: a step of so long discounts by gamma, any other by gamma^(time_gap / gamma_period):
            the discount of a semi-Markov decision process (Bradtke & Duff 1994). None: every step by gamma.
        kept_metrics: metrics that the transitions hold beside the reward.
        keeps_policy: whether they hold who decided.
    """

    observation: Sequence[Feature]
    action: Action
    metrics: Sequence[str]
    reward: Mapping[str, float]
    gamma: float
    n_step: int = 1
    gamma_period: timedelta | None = None
    kept_metrics: Sequence[str] = ()
    keeps_policy: bool = False

    @property
    def needed_metrics(self) -> list[str]:
        """The metrics that must be read."""
        return list(dict.fromkeys([*self.weighed, *self.kept_metrics]))

    @property
    def weighed(self) -> list[str]:
        """The metrics that the reward counts."""
        return [metric for metric in self.metrics if self.reward.get(metric)]


def load(snapshot: Snapshot, reading: Reading) -> Transitions:
    """All of a snapshot, in memory.

    Raises:
        DataError: there is no row, the table lacks a feature or metric, a value is missing, or an
            action is unknown.
        StorageError: the table cannot be read.
    """
    with storage_errors(snapshot):
        dataset = open_dataset(snapshot)
        wanted = {name: pc.field(*path) for name, path in needed(dataset.schema, reading).items()}
        table = dataset.to_table(columns=wanted, filter=in_windows(snapshot))
    if not table.num_rows:
        raise DataError(f"there is no transition in windows {snapshot.windows[0]} to {snapshot.windows[-1]}.")
    return assemble(table, reading)


def open_dataset(snapshot: Snapshot) -> pyarrow.dataset.FileSystemDataset:
    """The files of the table at the snapshot's version."""
    return DeltaTable(snapshot.uri, version=snapshot.version).to_pyarrow_dataset()


def in_windows(snapshot: Snapshot) -> pc.Expression:
    """Picks the snapshot's rows."""
    return pc.field(v.DS).isin(list(snapshot.windows))


def needed(schema: pa.Schema, reading: Reading) -> dict[str, tuple[str, ...]]:
    """The columns to read: their names, with structs taken apart, and where they are in the table's schema.

    Raises:
        DataError: the table lacks a feature or metric.
    """
    features = [f.name for f in reading.observation]
    for struct, kind, names in ((v.OBSERVATION, "feature", features), (v.METRICS, "metric", reading.needed_metrics)):
        known = [field.name for field in schema.field(struct).type]
        for name in names:
            if name not in known:
                raise columns.missing(kind, name, known)
    nested = [(s, f) for s in (v.OBSERVATION, v.NEXT_OBSERVATION) for f in features]
    nested += [(v.METRICS, m) for m in reading.needed_metrics]
    whole = (*_COLUMNS, v.POLICY_VERSION) if reading.keeps_policy else _COLUMNS
    return {name: (name,) for name in whole} | {columns.at(*path): path for path in nested}


@contextmanager
def storage_errors(snapshot: Snapshot) -> Iterator[None]:
    """What goes wrong while the table is read, as a StorageError."""
    try:
        yield
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot read version {snapshot.version} of the table at {snapshot.uri}: {error}") from error


def assemble(table: pa.Table, reading: Reading) -> Transitions:
    """The transitions of a table with the columns that are `needed`, whose rows may be in any order.

    Every row of an environment must be in it, or n-step returns end early.

    Raises:
        DataError: a value is missing, or an action is unknown.
    """
    table = table.sort_by([(name, "ascending") for name in _IDENTITY])
    episode = columns.instants(table, v.EPISODE)
    one_step = np.zeros(table.num_rows)
    for metric in reading.weighed:
        one_step += reading.reward[metric] * columns.numbers(table, columns.at(v.METRICS, metric))
    end = columns.text(table, v.END)
    terminated = end == v.TERMINATED
    timestamp, next_timestamp = columns.instants(table, v.TIMESTAMP), columns.instants(table, v.NEXT_TIMESTAMP)
    environment = table.column(v.ENV_ID).combine_chunks().dictionary_encode().indices.to_numpy()
    successor = nstep.successors(environment, episode, timestamp, next_timestamp, end != v.NOT_ENDED)
    discount = _gamma(table, reading, terminated) * columns.numbers(table, v.DISCOUNT).astype(np.float64)
    reward, discount, last = nstep.n_step(one_step, discount, successor, reading.n_step)
    bootstrap = columns.features(table, v.NEXT_OBSERVATION, reading.observation, absent=terminated)
    next_action, valid = columns.next_actions(table, reading.action)
    next_mask = columns.masks(table, v.NEXT_ACTION_MASK, reading.action)
    if next_mask is not None:
        next_mask[terminated] = True
    return Transitions(
        env_id=columns.text(table, v.ENV_ID),
        timestamp=timestamp,
        next_timestamp=next_timestamp,
        step_type=columns.numbers(table, v.STEP_TYPE),
        end=end,
        observation=columns.features(table, v.OBSERVATION, reading.observation, absent=np.zeros(len(end), bool)),
        action=columns.actions(table, reading.action),
        log_probability=table.column(v.LOG_PROBABILITY).to_numpy().astype(np.float32),
        reward=reward,
        discount=discount,
        next_observation=_taken(bootstrap, last),
        next_action_mask=_taken(next_mask, last),
        action_mask=columns.masks(table, v.ACTION_MASK, reading.action),
        next_action=next_action[last],
        next_action_valid=valid[last],
        episode=episode,
        metrics={m: columns.numbers(table, columns.at(v.METRICS, m)).astype(np.float64) for m in reading.kept_metrics},
        policy_version=columns.text(table, v.POLICY_VERSION) if reading.keeps_policy else None,
    )


def _gamma(table: pa.Table, reading: Reading, terminated: np.ndarray) -> float | np.ndarray:
    """The discount of each row's own step."""
    if reading.gamma_period is None:
        return reading.gamma
    return reading.gamma ** (columns.gaps(table, terminated) / reading.gamma_period.total_seconds())


def _taken(column: Any, rows: np.ndarray) -> Any:
    if isinstance(column, dict):
        return {name: values[rows] for name, values in column.items()}
    return None if column is None else column[rows]
