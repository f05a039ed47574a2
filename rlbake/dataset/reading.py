"""Reading a pinned table for training: in memory where it fits the budget, else streamed."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlbake.dataset import memory
from rlbake.dataset.snapshot import Snapshot
from rlbake.dataset.split import split_environments
from rlbake.dataset.streamed import Streamed, row_bytes, stream
from rlbake.dataset.transitions import Reading, Transitions, load
from rlbake.errors import DataError

_logger = logging.getLogger(__name__)

Rows = Transitions | Streamed
"""What is trained on: N transitions, in memory or not."""


def read_whole(snapshot: Snapshot, reading: Reading, *, budget: int | None = None) -> Transitions:
    """All rows, in memory.

    Args:
        budget: bytes of memory for rows; None: a third of what this process may use.

    Raises:
        DataError: they do not fit; or as `read`.
        StorageError: the table cannot be read.
    """
    limit, needed = _limit_and_need(snapshot, reading, budget)
    if needed > limit:
        raise DataError(
            f"{snapshot.rows:,} transitions would take {memory.shown(needed)} of memory, of which "
            f"{memory.shown(limit)} are allowed. Choose a shorter training window, or allow more: set=memory=8GB."
        )
    return load(snapshot, reading)


def _limit_and_need(snapshot: Snapshot, reading: Reading, budget: int | None) -> tuple[int, float]:
    each = row_bytes(snapshot, reading)
    return memory.budget(budget), snapshot.rows * memory.while_read(each, reading.observation)


@contextmanager
def read(
    snapshot: Snapshot, reading: Reading, *, holdout: float, budget: int | None = None
) -> Iterator[tuple[Rows, Rows]]:
    """Training and holdout rows: the same environments held out, in memory or not.

    Rows that do not fit lie in temporary files, which are removed when the context ends.

    Args:
        snapshot: what to read.
        reading: how.
        holdout: share of environments to hold out, in [0, 1).
        budget: bytes of memory for rows; None: a third of what this process may use.

    Raises:
        ConfigError: the budget is too small to read anything.
        DataError: there is no row, the table lacks a feature or metric, a value is missing, or an
            action is unknown; the rows of a stream are looked at as they are used.
        StorageError: the table cannot be read.
    """
    limit, needed = _limit_and_need(snapshot, reading, budget)
    if needed <= limit:
        yield split_environments(load(snapshot, reading), holdout)
        return
    with tempfile.TemporaryDirectory(prefix="rlbake-") as folder:
        each = row_bytes(snapshot, reading)
        training, held = stream(snapshot, reading, holdout=holdout, limit=limit, each=each, folder=Path(folder))
        _logger.info(
            "%s transitions would take %s of memory, of which %s are allowed: they are read in %d parts from %s.",
            f"{snapshot.rows:,}", memory.shown(needed), memory.shown(limit),
            len(training.files) + len(held.files), folder,
        )  # fmt: skip
        yield training, held
