"""Rows on their way to the tables: a SQLite file that survives its process.

A file belongs to the process that holds the lock beside it. A process that dies lets go of the
lock, and whoever takes it next moves what is left.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from rlbake.errors import StorageError
from rlbake.experience.schema import LogSchema, Record

LARGEST_BATCH = 50_000  # rows of one append
_LOCK, _ROWS = ".lock", ".sqlite"
_WAITS = 60.0  # seconds for the other connection

# https://sqlite.org/wal.html: with FULL, a transaction that was committed survives the loss of power, too.
_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
_TABLES = """
BEGIN;
CREATE TABLE log (schema TEXT NOT NULL);
CREATE TABLE rows (seq INTEGER PRIMARY KEY AUTOINCREMENT, destination TEXT NOT NULL, records INTEGER NOT NULL,
                   payload TEXT NOT NULL);
CREATE TABLE batch (destination TEXT PRIMARY KEY, number INTEGER NOT NULL, last INTEGER);
"""


@dataclass(frozen=True)
class Batch:
    """Rows that go into a table in one append.

    Attributes:
        number: 1, 2, … for each table.
        last: sequence number of the last of them.
        records: the rows.
    """

    number: int
    last: int
    records: list[Record]


class Spool:
    """The rows of one process that are not in the tables yet, on this machine's disk.

    `append` may be called in one thread while another takes batches.

    Attributes:
        id: names it, for ever.
        schema: of its rows.
    """

    schema: LogSchema

    def __init__(self, lock: int, path: Path) -> None:
        self._lock, self._path = lock, path
        self.id = path.stem
        with _told(self._path, "open"):
            self._writing, self._moving = self._connect(), self._connect()

    @classmethod
    def create(cls, folder: Path, schema: LogSchema) -> Spool:
        """An empty one in a folder, which need not exist.

        Raises:
            StorageError: the folder cannot be written to.
        """
        with _told(folder, "write to"):
            folder.mkdir(parents=True, exist_ok=True)
            lock = None
            while lock is None:
                path = folder / f"{uuid4().hex}{_ROWS}"
                lock = _locked(path.with_suffix(_LOCK), create=True)
        spool = cls(lock, path)
        with _told(path, "write to"):
            spool._writing.executescript(_TABLES)
            spool._writing.execute("INSERT INTO log VALUES (?)", (schema.to_json(),))
            spool._writing.execute("COMMIT")
        spool.schema = schema
        return spool

    @classmethod
    def adopt(cls, lock_path: Path) -> Spool | None:
        """One whose process has died, from now on this process's own; None if it lives, or left nothing.

        Args:
            lock_path: one of `locks`.

        Raises:
            StorageError: it cannot be read.
        """
        lock = _locked(lock_path, create=False)
        if lock is None:
            return None
        path = lock_path.with_suffix(_ROWS)
        if not path.exists():  # its process died before anything was promised
            _remove(lock, path)
            return None
        try:
            spool = cls(lock, path)
            with _told(path, "read"):
                begun = spool._moving.execute("SELECT 1 FROM sqlite_master WHERE name = 'log'").fetchone()
                text = spool._moving.execute("SELECT schema FROM log").fetchone() if begun else None
        except StorageError:
            os.close(lock)
            raise
        if text is None:
            spool.remove()
            return None
        spool.schema = LogSchema.from_json(text[0])
        return spool

    def append(self, parts: Sequence[tuple[str, Sequence[Record]]]) -> None:
        """Rows for tables, all of them durable when it returns, or none of them; without any it tries the disk.

        Raises:
            StorageError: the disk is full, or cannot be written to.
        """
        rows = [(destination, len(records), json.dumps(records)) for destination, records in parts]
        with _told(self._path, "write to"), _transaction(self._writing):
            self._writing.executemany("INSERT INTO rows (destination, records, payload) VALUES (?, ?, ?)", rows)
            if not rows:
                another = time.time_ns() % 2**31  # SQLite does not write the same again
                self._writing.execute(f"PRAGMA user_version = {another}")

    def latest(self) -> int:
        """Sequence number of the row that came last, of those that are not in the tables yet; 0 without any."""
        with _told(self._path, "read"):
            return int(self._moving.execute("SELECT coalesce(max(seq), 0) FROM rows").fetchone()[0])

    def batch(self, destination: str, until: int) -> Batch | None:
        """The next rows for a table: those of a batch that was taken and not `done`, or a new one; None if none wait.

        Until it is `done`, it is the same batch whenever and by whomever it is taken.

        Args:
            until: sequence number; a new batch has no later rows.
        """
        with _told(self._path, "read"), _transaction(self._moving):
            taken = self._moving.execute("SELECT number, last FROM batch WHERE destination = ?", (destination,))
            number, last = taken.fetchone() or (0, None)
            if last is None:
                last = self._cut(destination, until)
                if last is None:
                    return None
                number += 1
                self._moving.execute("INSERT OR REPLACE INTO batch VALUES (?, ?, ?)", (destination, number, last))
        with _told(self._path, "read"):  # not within the transaction, for which `append` would have to wait
            payloads = self._moving.execute(
                "SELECT payload FROM rows WHERE destination = ? AND seq <= ? ORDER BY seq", (destination, last)
            ).fetchall()
        return Batch(number, last, [record for (payload,) in payloads for record in json.loads(payload)])

    def done(self, destination: str, batch: Batch) -> None:
        """Forgets a batch that is in its table."""
        with _told(self._path, "write to"), _transaction(self._moving):
            self._moving.execute("DELETE FROM rows WHERE destination = ? AND seq <= ?", (destination, batch.last))
            self._moving.execute("UPDATE batch SET last = NULL WHERE destination = ?", (destination,))

    def waiting(self) -> int:
        """How many rows are not in the tables yet."""
        with _told(self._path, "read"):
            return int(self._moving.execute("SELECT coalesce(sum(records), 0) FROM rows").fetchone()[0])

    def close(self) -> None:
        """Lets go of it; what is left in it is for whoever takes it next."""
        self._writing.close()
        self._moving.close()
        os.close(self._lock)

    def remove(self) -> None:
        """Deletes it with all that is in it."""
        self._writing.close()
        self._moving.close()
        _remove(self._lock, self._path)

    def _cut(self, destination: str, until: int) -> int | None:
        """The last sequence number of a new batch; None if nothing waits."""
        last, total = None, 0
        for seq, records in self._moving.execute(
            "SELECT seq, records FROM rows WHERE destination = ? AND seq <= ? ORDER BY seq", (destination, until)
        ):
            total += records
            if last is not None and total > LARGEST_BATCH:
                break
            last = seq
        return last

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_WAITS, isolation_level=None, check_same_thread=False)
        connection.executescript(_PRAGMAS)
        return connection


def locks(folder: Path) -> list[Path]:
    """The lock of every spool in a folder, whoever holds it."""
    return sorted(folder.glob(f"*{_LOCK}"))


def _locked(path: Path, create: bool) -> int | None:
    """A lock that is held from now on; None if somebody else holds it, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):  # else removed while it was waited for
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _remove(lock: int, path: Path) -> None:
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        file.unlink(missing_ok=True)
    path.with_suffix(_LOCK).unlink(missing_ok=True)  # last: without it nobody would look for the others
    os.close(lock)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _told(path: Path, verb: str) -> Iterator[None]:
    """Turns whatever the disk answers into one line."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = re.sub(r"\s+", " ", str(error))[:300].rstrip(".")
        raise StorageError(
            f"cannot {verb} the spool at {path}: {reason}. See that its disk has room and may be written to."
        ) from error
