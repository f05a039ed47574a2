"""Where batches are drawn from: all rows in memory, or as many of them at a time as may be there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from rlbake.dataset import memory
from rlbake.learners.loop import CHUNK, Part, Rows
from rlbake.learners.priorities import NEVER_DRAWN, Priorities, Prioritisation
from rlbake.quiet import tensorflow as tf
from rlbake.training.columns import Columns

WEIGHT = "weight"  # of being drawn
ERROR = "error"  # that prioritises a row

_WHILE_LOADED = 2.0  # bytes that a byte of the working set takes at the peak of loading it
_WHILE_DRAWN = 2.0  # the same of a chunk's batches
_PRIORITISED = 24  # bytes of a row's error, and of what is made of it before drawing
_LONGER = 20.0  # times that an episode may outlast the average logged one
_LONGEST = 10_000  # steps of an episode, where none ends and nothing is discounted


class Segment(NamedTuple):
    """Steps that draw from the same rows.

    Attributes:
        first: steps taken before.
        steps: to take, ≥ 1.
        rows: to draw from.
        cumulative: float64 [N], cumulative weights of the rows; None if they are all drawn alike; or their
            priorities, which learning from them changes.
    """

    first: int
    steps: int
    rows: Rows
    cumulative: tf.Tensor | Priorities | None


class Replay(Protocol):
    """Rows that are drawn from, a working set at a time.

    Attributes:
        returns: the least and the greatest return that any way to act can earn, as far as the rows tell.
    """

    returns: tuple[float, float]

    def segments(self, first: int, steps: int) -> Iterator[Segment]:
        """The steps first, …, first + steps - 1, in order, with what each of them draws from."""
        ...

    def sample(self, most: int) -> Rows:
        """At most so many rows, from all over."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """What training has changed about which rows are drawn, for a checkpoint."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes back what `state` told."""
        ...

    def parts(self) -> Iterator[Part]:
        """Every row once."""
        ...


class InMemory:
    """One working set.

    Args:
        columns: the rows; they are taken out of it.
        prioritisation: how errors decide what is drawn; None: they don't.
    """

    def __init__(self, columns: Columns, prioritisation: Prioritisation | None = None) -> None:
        self.returns = possible_returns(columns["reward"], columns["discount"])
        weight = columns.get(WEIGHT)
        self._weight = None if weight is None else tf.constant(weight)
        self._cumulative = None if weight is None else tf.constant(np.cumsum(weight))
        self._priorities = None
        if prioritisation:
            errors = np.full(len(columns["reward"]), NEVER_DRAWN, np.float32)
            self._priorities = Priorities(errors, weight, prioritisation)
        self._rows = to_rows(columns.pop)

    def segments(self, first: int, steps: int) -> Iterator[Segment]:
        yield Segment(first, steps, self._rows, self._priorities or self._cumulative)

    def sample(self, most: int) -> Rows:
        apart = -(-int(self._rows.reward.shape[0]) // most)
        return Rows(*(column[::apart] for column in self._rows))

    def parts(self) -> Iterator[Part]:
        yield Part(self._rows, self._weight)

    def state(self) -> dict[str, np.ndarray]:
        return {ERROR: self._priorities.errors.numpy()} if self._priorities else {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        if self._priorities:
            self._priorities.errors = tf.constant(state[ERROR])


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
    all were in memory, up to the rounding of shares to whole steps. Errors decide what is drawn within a
    working set, not how often it is visited.

    Args:
        parts: the rows.
        folder: for the shards.
        limit: bytes that rows may take in memory, those of a chunk's batches included.
        steps: of the whole training.
        batch_size: rows per step.
        seed: of the orders.
        prioritisation: how errors decide what is drawn; None: they don't.

    Raises:
        ConfigError: the limit is too small.
    """

    def __init__(
        self,
        parts: Iterable[Columns],
        folder: Path,
        *,
        limit: int,
        steps: int,
        batch_size: int,
        seed: int,
        prioritisation: Prioritisation | None = None,
    ) -> None:
        self._folder, self._limit, self._batch_size = folder, limit, batch_size
        self._prioritisation = prioritisation
        self._random = np.random.default_rng(seed % 2**31)
        self._shards: list[_Shard] = []
        self._weighted = False
        self.returns = np.inf, -np.inf
        for columns in parts:
            self._store(columns)
        self._visits = list(self._planned(steps))
        self._loaded: tuple[tuple[_Shard, ...], Rows, tf.Tensor | Priorities | None] | None = None

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
            yield Part(
                to_rows(partial(self._joined, (shard,))),
                tf.constant(self._joined((shard,), WEIGHT)) if self._weighted else None,
            )

    def state(self) -> dict[str, np.ndarray]:
        if not self._prioritisation:
            return {}
        self._keep_errors()
        return {ERROR: self._joined(tuple(self._shards), ERROR)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        if self._prioritisation:
            self._loaded = None
            self._store_errors(self._shards, state[ERROR])

    def _store(self, columns: Columns) -> None:
        """As shards of which each fits in memory; where a part is cut, at random, so that each is like the whole."""
        rows = len(columns["reward"])
        if self._prioritisation:
            columns = columns | {ERROR: np.full(rows, NEVER_DRAWN, np.float32)}
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
        least, greatest = possible_returns(columns["reward"], columns["discount"])
        self.returns = min(self.returns[0], least), max(self.returns[1], greatest)

    def _most_rows(self, each: int) -> int:
        """Of a working set, by the bytes of a row."""
        drawn = _WHILE_DRAWN * CHUNK * self._batch_size * each
        loaded = _WHILE_LOADED * each + (_PRIORITISED if self._prioritisation else 0)
        most = int((memory.usable(self._limit) - drawn) / loaded)
        if most < self._batch_size:
            needed = drawn + loaded * self._batch_size
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

    def _load(self, shards: tuple[_Shard, ...]) -> tuple[Rows, tf.Tensor | Priorities | None]:
        if self._loaded is None or self._loaded[0] != shards:
            self._keep_errors()
            self._loaded = None  # leaves memory before the next set enters it
            rows = to_rows(lambda name: self._joined(shards, name))
            self._loaded = shards, rows, self._drawn_by(shards)
        return self._loaded[1:]

    def _drawn_by(self, shards: tuple[_Shard, ...]) -> tf.Tensor | Priorities | None:
        weight = self._joined(shards, WEIGHT) if self._weighted else None
        if self._prioritisation:
            return Priorities(self._joined(shards, ERROR), weight, self._prioritisation)
        return None if weight is None else tf.constant(np.cumsum(weight))

    def _keep_errors(self) -> None:
        """Those of the working set, in its files."""
        if self._loaded and isinstance(self._loaded[2], Priorities):
            self._store_errors(self._loaded[0], self._loaded[2].errors.numpy())

    def _store_errors(self, shards: Iterable[_Shard], errors: np.ndarray) -> None:
        start = 0
        for shard in shards:
            np.save(self._file(shard, ERROR), errors[start : start + shard.rows])
            start += shard.rows

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


def possible_returns(reward: np.ndarray, discount: np.ndarray) -> tuple[float, float]:
    """The least and the greatest return of acting forever as some of the rows did: min and max over rows of

        Rᵢ / (1 - dᵢ),    1 - dᵢ ≥ q / _LONGER,    q = the share of rows whose world ended

    No policy's return can be beyond, for R + d V ≤ V if V is the maximum. Where little is discounted, what limits
    returns is that episodes end: that they may outlast the logged ones is a guess.

    Args:
        reward: R, float [N], n-step.
        discount: d, float [N], factor of the bootstrapped value.
    """
    least = max((discount == 0).mean() / _LONGER, 1 / _LONGEST)
    returns = reward / np.maximum(1.0 - discount, least)
    return float(returns.min()), float(returns.max())
