"""Where batches are drawn from: all rows in memory, or as many of them at a time as may be there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from rlbake.agents.columns import Columns
from rlbake.agents.loop import CHUNK, Part, Rows
from rlbake.dataset import memory
from rlbake.quiet import tensorflow as tf

WEIGHT = "weight"  # of being drawn

_WHILE_LOADED = 2.0  # bytes that a byte of the working set takes at the peak of loading it
_WHILE_DRAWN = 2.0  # the same of a chunk's batches


class Segment(NamedTuple):
    """Steps that draw from the same rows.

    Attributes:
        first: steps taken before.
        steps: to take, ≥ 1.
        rows: to draw from.
        cumulative: float64 [N], cumulative weights of the rows; None if they are all drawn alike.
    """

    first: int
    steps: int
    rows: Rows
    cumulative: tf.Tensor | None


class Replay(Protocol):
    """Rows that are drawn from, a working set at a time.

    Attributes:
        largest_reward: magnitude, of any row.
        largest_discount: of any row.
    """

    largest_reward: float
    largest_discount: float

    def segments(self, first: int, steps: int) -> Iterator[Segment]:
        """The steps first, …, first + steps - 1, in order, with what each of them draws from."""
        ...

    def sample(self, most: int) -> Rows:
        """At most so many rows, from all over."""
        ...

    def parts(self) -> Iterator[Part]:
        """Every row once."""
        ...


class InMemory:
    """One working set, which never changes."""

    def __init__(self, columns: Columns) -> None:
        self.largest_reward, self.largest_discount = _extremes(columns)
        self._cumulative = tf.constant(np.cumsum(columns[WEIGHT])) if WEIGHT in columns else None
        self._weight = tf.constant(columns[WEIGHT]) if WEIGHT in columns else None
        self._rows = to_rows(columns.pop)

    def segments(self, first: int, steps: int) -> Iterator[Segment]:
        yield Segment(first, steps, self._rows, self._cumulative)

    def sample(self, most: int) -> Rows:
        apart = -(-int(self._rows.reward.shape[0]) // most)
        return Rows(*(column[::apart] for column in self._rows))

    def parts(self) -> Iterator[Part]:
        yield Part(self._rows, self._weight)


class _Shard(NamedTuple):
    """Rows in files on disk, one for each column."""

    number: int
    rows: int
    weight: float


class _Visit(NamedTuple):
    """A working set that is drawn from until `end` steps are taken."""

    end: int
    shards: tuple[_Shard, ...]


class OnDisk:
    """Working sets of shards, which lie on disk as .npy files.

    Training passes over the shards as often as it draws a batch's worth of every row, at least once.
    Each pass puts them in a random order, cuts that into working sets, and gives each of these a share of
    the steps in proportion to its rows (or their weights). So every row is as likely to be drawn as if
    all were in memory, up to the rounding of shares to whole steps.

    Args:
        parts: the rows.
        folder: for the shards.
        limit: bytes that rows may take in memory, those of a chunk's batches included.
        steps: of the whole training.
        batch_size: rows per step.
        seed: of the orders.

    Raises:
        ConfigError: the limit is too small.
    """

    def __init__(
        self, parts: Iterable[Columns], folder: Path, *, limit: int, steps: int, batch_size: int, seed: int
    ) -> None:
        self._folder, self._limit, self._batch_size = folder, limit, batch_size
        self._random = np.random.default_rng(seed % 2**31)
        self._shards: list[_Shard] = []
        self._weighted = False
        self.largest_reward = self.largest_discount = 0.0
        for columns in parts:
            self._store(columns)
        self._visits = list(self._planned(steps))
        self._loaded: tuple[tuple[_Shard, ...], Rows, tf.Tensor | None] | None = None

    def segments(self, first: int, steps: int) -> Iterator[Segment]:
        end = first + steps
        for visit in self._visits:
            if first < visit.end and first < end:
                until = min(visit.end, end)
                yield Segment(first, until - first, *self._load(visit.shards))
                first = until

    def sample(self, most: int) -> Rows:
        rows = sum(shard.rows for shard in self._shards)
        starts = np.cumsum([0, *(shard.rows for shard in self._shards)])
        wanted = np.arange(0, rows, -(-rows // most))

        def column(name: str) -> np.ndarray:
            parts = []
            for shard, start in zip(self._shards, starts[:-1], strict=True):
                here = wanted[(wanted >= start) & (wanted < start + shard.rows)] - start
                parts.append(np.load(self._file(shard, name), mmap_mode="r")[here])
            return np.concatenate(parts)

        return to_rows(column)

    def parts(self) -> Iterator[Part]:
        for shard in self._shards:
            rows = to_rows(partial(self._joined, (shard,)))
            yield Part(rows, tf.constant(self._joined((shard,), WEIGHT)) if self._weighted else None)

    def _store(self, columns: Columns) -> None:
        """As shards of which each fits in memory; where a part is cut, at random, so that each is like the whole."""
        rows = len(columns["reward"])
        self._most = self._most_rows(sum(column[:1].nbytes for column in columns.values()))
        pieces = -(-rows // self._most)
        order = self._random.permutation(rows) if pieces > 1 else np.arange(rows)
        self._weighted = WEIGHT in columns
        for chosen in np.array_split(order, pieces):
            weight = columns[WEIGHT][chosen].sum() if self._weighted else len(chosen)
            shard = _Shard(len(self._shards), len(chosen), float(weight))
            for name, column in columns.items():
                np.save(self._file(shard, name), column[chosen] if pieces > 1 else column)
            self._shards.append(shard)
        reward, discount = _extremes(columns)
        self.largest_reward = max(self.largest_reward, reward)
        self.largest_discount = max(self.largest_discount, discount)

    def _most_rows(self, each: int) -> int:
        """Of a working set, by the bytes of a row."""
        drawn = _WHILE_DRAWN * CHUNK * self._batch_size * each
        most = int((memory.usable(self._limit) - drawn) / (_WHILE_LOADED * each))
        if most < self._batch_size:
            needed = drawn + _WHILE_LOADED * self._batch_size * each
            raise memory.too_small(
                self._limit, needed, f"the batches of {CHUNK} steps, each {self._batch_size:,} rows,"
            )
        return most

    def _planned(self, steps: int) -> Iterator[_Visit]:
        rows, weight = sum(shard.rows for shard in self._shards), sum(shard.weight for shard in self._shards)
        passes = max(1, round(steps * self._batch_size / rows))
        taken = 0
        for number in range(passes):
            passed = number * weight
            for shards in self._cut(self._random.permutation(len(self._shards))):
                passed += sum(shard.weight for shard in shards)
                end = round(steps * passed / (passes * weight))
                if end > taken:
                    yield _Visit(end, shards)
                    taken = end

    def _cut(self, order: np.ndarray) -> Iterator[tuple[_Shard, ...]]:
        """Working sets of neighbours in an order of the shards."""
        together: list[_Shard] = []
        for shard in (self._shards[at] for at in order):
            if together and sum(s.rows for s in together) + shard.rows > self._most:
                yield tuple(together)
                together = []
            together.append(shard)
        yield tuple(together)

    def _load(self, shards: tuple[_Shard, ...]) -> tuple[Rows, tf.Tensor | None]:
        if self._loaded is None or self._loaded[0] != shards:
            self._loaded = None  # leaves memory before the next set enters it
            rows = to_rows(lambda name: self._joined(shards, name))
            cumulative = tf.constant(np.cumsum(self._joined(shards, WEIGHT))) if self._weighted else None
            self._loaded = shards, rows, cumulative
        return self._loaded[1:]

    def _joined(self, shards: tuple[_Shard, ...], name: str) -> np.ndarray:
        """One shard's file after the other: what is mapped is in memory too."""
        stored = (np.load(self._file(shard, name), mmap_mode="r") for shard in shards)
        if len(shards) == 1:
            return next(stored)
        first = np.load(self._file(shards[0], name), mmap_mode="r")
        joined, start = np.empty((sum(shard.rows for shard in shards), *first.shape[1:]), first.dtype), 0
        for column in stored:
            joined[start : start + len(column)] = column
            start += len(column)
        return joined

    def _file(self, shard: _Shard, name: str) -> Path:
        return self._folder / f"{shard.number}-{name}.npy"


def recency(timestamp: np.ndarray, newest: np.datetime64, half_life: np.timedelta64) -> np.ndarray:
    """float64 [N], weights that halve with every half-life of age.

    Only their ratios decide what is drawn, and those depend on no other row: `newest` keeps the numbers small.
    """
    return 0.5 ** np.divide(newest - timestamp, half_life)


def to_rows(column: Callable[[str], np.ndarray]) -> Rows:
    """Columns as tensors, one after the other."""
    return Rows(*(tf.constant(column(name)) for name in Rows._fields))


def _extremes(columns: Columns) -> tuple[float, float]:
    return float(np.abs(columns["reward"]).max()), float(columns["discount"].max())
