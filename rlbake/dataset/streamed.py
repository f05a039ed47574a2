"""Transitions of a table that does not fit in memory, in buckets on disk that do.

Environments are spread over buckets by a hash of their names, so that each bucket holds every row of
its environments: it can be sorted, get its n-step returns and be learned from on its own, and is a
random sample of the environments.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rlbake import vocabulary as v
from rlbake.dataset import columns, memory, split
from rlbake.dataset.snapshot import Snapshot
from rlbake.dataset.transitions import Reading, Transitions, assemble, in_windows, needed, open_dataset, storage_errors
from rlbake.errors import DataError
from rlbake.specs import Discrete
from rlbake.world import Observations

_MOST_BUCKETS = 128  # each is an open file with a batch of rows to write
_SPREAD = 1.25  # a bucket may be this much larger than the average
_SHARE = 0.5  # of what rows may fill: a bucket of average size while it is read
_BATCH = 65_536  # rows read at once
_BATCHES = 12  # of them, at most, that Arrow and the buckets hold at once
_SAMPLE = 10_000  # rows on which their size is measured
_BUFFER = 2**20  # bytes of a column of a file read at once


@dataclass(frozen=True)
class Streamed:
    """One side, training or holdout, of a table that does not fit in memory; N transitions.

    Attributes:
        folder: where its buckets lie, and where whoever reads it may keep what is derived from it.
        files: the buckets, Arrow IPC streams with the columns that are `needed`.
        rows: of each bucket.
        reading: how they become transitions.
        memory: bytes that whoever learns from them may use for rows.
        newest: datetime64[us], the latest timestamp; NaT if there is no row.
        masked: whether `action_mask` and `next_action_mask` are given anywhere, on either side; only of Discrete
            actions do they count.
    """

    folder: Path
    files: tuple[Path, ...]
    rows: tuple[int, ...]
    reading: Reading
    memory: int
    newest: np.datetime64
    masked: tuple[bool, bool]

    def __len__(self) -> int:
        return sum(self.rows)

    def parts(self) -> Iterator[Transitions]:
        """The transitions of one bucket after the other; each is as `load` would return it.

        Raises:
            DataError: a value is missing, or an action is unknown.
        """
        for file, rows in zip(self.files, self.rows, strict=True):
            if rows:
                yield self._masked(assemble(_table(file), self.reading))
                pa.default_memory_pool().release_unused()

    def observations(self) -> Iterator[Observations]:
        """The observations alone, bucket by bucket, in another order than those of `parts`."""
        names = {columns.at(v.OBSERVATION, f.name) for f in self.reading.observation} | {v.ENV_ID, v.TIMESTAMP}
        for file, rows in zip(self.files, self.rows, strict=True):
            if rows:
                table = _table(file).select(sorted(names))
                yield columns.features(table, v.OBSERVATION, self.reading.observation, absent=np.zeros(rows, bool))

    def _masked(self, transitions: Transitions) -> Transitions:
        """A bucket in which no mask is given allows everything, like any row without one."""
        action = self.reading.action
        if not isinstance(action, Discrete):
            return transitions
        everything: dict[str, Any] = {
            name: np.ones((len(transitions), len(action)), bool)
            for name, given in zip((v.ACTION_MASK, v.NEXT_ACTION_MASK), self.masked, strict=True)
            if given and getattr(transitions, name) is None
        }
        return replace(transitions, **everything)


def row_bytes(snapshot: Snapshot, reading: Reading) -> float:
    """Arrow bytes of one row, measured on some.

    Raises:
        DataError: there is no row, or the table lacks a feature or metric.
        StorageError: the table cannot be read.
    """
    with storage_errors(snapshot):
        for batch in _batches(snapshot, reading, _SAMPLE):
            if batch.num_rows:
                return batch.nbytes / batch.num_rows
    raise DataError(f"there is no transition in windows {snapshot.windows[0]} to {snapshot.windows[-1]}.")


def stream(
    snapshot: Snapshot, reading: Reading, *, holdout: float, limit: int, each: float, folder: Path
) -> tuple[Streamed, Streamed]:
    """Spreads a snapshot over buckets; training and holdout, by environment as `split_environments`.

    Args:
        snapshot: what to read.
        reading: how.
        holdout: share of environments to hold out, in [0, 1).
        limit: bytes that rows may take.
        each: as `row_bytes` measured it.
        folder: exists; for the buckets.

    Raises:
        ConfigError: the limit is too small.
        DataError: the table lacks a feature or metric.
        StorageError: the table cannot be read.
    """
    usable = memory.usable(limit)
    peak = memory.while_read(each, reading.observation)
    least = snapshot.rows * peak * _SPREAD / _SHARE
    buckets = math.ceil(least / usable)
    if buckets > _MOST_BUCKETS:
        raise memory.too_small(limit, least / _MOST_BUCKETS, f"{snapshot.rows:,} transitions of {peak:,.0f} bytes")
    batch = min(_BATCH, int(usable * _SHARE / (_BATCHES * each)))
    if not batch:
        raise memory.too_small(limit, _BATCHES * each / _SHARE, f"one row of {each:,.0f} bytes")
    held = math.ceil(buckets * holdout)
    spreading = _Spreading(folder, holdout, max(1, buckets - held), held)
    with storage_errors(snapshot), spreading:
        for rows in _batches(snapshot, reading, batch):
            spreading.add(rows)
    largest = max(spreading.rows)
    if largest * peak > usable:
        raise memory.too_small(limit, largest * peak, f"the {largest:,} transitions of a few environments")
    pa.default_memory_pool().release_unused()
    return spreading.sides(reading, limit)


def _batches(snapshot: Snapshot, reading: Reading, rows: int) -> Iterator[pa.RecordBatch]:
    """The columns that are `needed`, at most so many rows at a time.

    A scan of the dataset would decode whole row groups, and several ahead: two times their size and more.
    """
    dataset = open_dataset(snapshot)
    paths = needed(dataset.schema, reading)
    fields = {name: functools.reduce(_child, path[1:], dataset.schema.field(path[0])) for name, path in paths.items()}
    for fragment in dataset.get_fragments(filter=in_windows(snapshot)):
        with fragment.open() as opened, pq.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False) as file:
            for batch in file.iter_batches(rows, columns=[".".join(path) for path in paths.values()]):
                arrays = [_found(batch, path).cast(fields[name].type) for name, path in paths.items()]
                yield pa.RecordBatch.from_arrays(arrays, list(paths))


def _child(field: pa.Field, name: str) -> pa.Field:
    return field.type.field(name)


def _found(batch: pa.RecordBatch, path: tuple[str, ...]) -> pa.Array:
    """NULL where a file was written before the column was added."""
    if path[0] not in batch.schema.names:
        return pa.nulls(batch.num_rows)
    column = batch.column(path[0])
    if len(path) == 1:
        return column
    return pc.struct_field(column, path[1]) if column.type.get_field_index(path[1]) >= 0 else pa.nulls(len(column))


class _Spreading:
    """Writes batches of rows to the buckets that their environments belong to."""

    def __init__(self, folder: Path, holdout: float, training: int, held: int) -> None:
        self._holdout, self._training, self._held = holdout, training, held
        self._folder = folder
        self._files = [folder / f"{bucket:03}.arrow" for bucket in range(training + held)]
        self._writers: list[pa.ipc.RecordBatchStreamWriter] = []
        self._open = ExitStack()
        self._newest = [np.datetime64(0, "us")] * len(self._files)
        self._masked = (False, False)
        self.rows = [0] * len(self._files)

    def __enter__(self) -> _Spreading:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        if not self._writers:
            self._writers = [
                self._open.enter_context(
                    pa.ipc.new_stream(self._open.enter_context(pa.OSFile(str(f), "wb")), batch.schema)
                )
                for f in self._files
            ]
        bucket = self._buckets(batch.column(v.ENV_ID))
        order = np.argsort(bucket, kind="stable")
        ordered = batch.take(pa.array(order))
        instants = columns.instants(ordered, v.TIMESTAMP)
        starts = np.searchsorted(bucket[order], np.arange(len(self._files) + 1))
        for number, writer in enumerate(self._writers):
            rows = int(starts[number + 1] - starts[number])
            if rows:
                writer.write_batch(ordered.slice(starts[number], rows))
                self.rows[number] += rows
                self._newest[number] = max(self._newest[number], instants[starts[number] : starts[number + 1]].max())
        here, there = (batch.column(n).null_count < batch.num_rows for n in (v.ACTION_MASK, v.NEXT_ACTION_MASK))
        self._masked = self._masked[0] or here, self._masked[1] or there

    def _buckets(self, names: pa.Array) -> np.ndarray:
        encoded = names.dictionary_encode()
        hashed = split.hashes(encoded.dictionary.to_numpy(zero_copy_only=False))
        spread = hashed >> np.uint64(32)  # the other half of the hash decides who is held out
        bucket = (spread % np.uint64(self._training)).astype(np.int64)
        if self._held:
            out = split.held_out(hashed, self._holdout)
            bucket[out] = self._training + (spread[out] % np.uint64(self._held)).astype(np.int64)
        return bucket[encoded.indices.to_numpy()]

    def sides(self, reading: Reading, limit: int) -> tuple[Streamed, Streamed]:
        cut, never = self._training, np.datetime64("NaT")
        masked = self._masked if isinstance(reading.action, Discrete) else (False, False)
        training, held = (
            Streamed(
                self._folder,
                tuple(self._files[part]),
                tuple(self.rows[part]),
                reading,
                limit,
                max(self._newest[part], default=never),
                masked,
            )
            for part in (slice(cut), slice(cut, None))
        )
        return training, held


def _table(file: Path) -> pa.Table:
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_stream(source).read_all()
