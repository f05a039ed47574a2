"""The experience log of one process: durable at once, in the tables a few seconds later, exactly once."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue

from rlbake import vocabulary as v
from rlbake.errors import ConfigError, RlbakeError, StorageError
from rlbake.experience.rows import Decision, Outcome
from rlbake.experience.schema import LogSchema, Record
from rlbake.experience.spool import Spool, locks
from rlbake.experience.tables import TABLES, Tables
from rlbake.specs import Action, Feature

SPOOL = "_spool"

_Part = tuple[str, list[Record], "Future[None]"]

_logger = logging.getLogger(__name__)


class Experience:
    """Remembers decisions and outcomes in two Delta tables, `<uri>/decisions` and `<uri>/outcomes`.

    Rows are first written to a spool on this machine's disk, those of many calls in one
    transaction, and every few seconds moved into the tables, one append each. A process that is
    killed leaves its spool behind; the next one that starts or flushes there empties it. Made in
    the process that uses it: it does not survive a fork. Its methods may be called by any thread.
    """

    def __init__(
        self,
        uri: str,
        *,
        keys: Sequence[str],
        observation: Sequence[Feature],
        action: Action,
        metrics: Sequence[str],
        spool: str | Path | None = None,
        flush_s: float = 5.0,
    ) -> None:
        """Opens the log, makes the tables where there are none, and moves what dead processes have left.

        Args:
            uri: of the folder that holds both tables: a path, or object storage.
            keys, observation, action, metrics: as the application declares them.
            spool: folder on a disk of this machine, no network share, that outlives the process; if not given,
                `_spool` beside the tables, or one in the user's home where they are in object storage.
            flush_s: seconds from one move into the tables to the next.

        Raises:
            SpecError: a key has the name of a column, or the tables hold something else by the same name.
            StorageError: the tables or the spool cannot be written to.
            ConfigError: flush_s is not positive.
        """
        if not flush_s > 0:
            raise ConfigError(f"flush_s is {flush_s}: give a positive number of seconds.")
        self._schema = LogSchema(tuple(keys), tuple(observation), action, tuple(metrics))
        self._tables = Tables(uri)
        self._tables.prepare(self._schema)
        self._folder = Path(spool) if spool is not None else _spool_of(self._tables)
        self._spool = Spool.create(self._folder, self._schema)
        self._stuck: dict[Path, str] = {}  # locks of spools that cannot be emptied, and why
        self._parts: SimpleQueue[_Part | None] = SimpleQueue()
        self._closing, self._accepting = threading.Event(), threading.Lock()
        self._one_move = threading.Lock()
        self._flush_s = flush_s
        self._writer = threading.Thread(target=self._write, name="experience-writer", daemon=True)
        self._mover = threading.Thread(target=self._keep_moving, name="experience-mover", daemon=True)
        self._writer.start()
        self._mover.start()

    @property
    def uri(self) -> str:
        """Of the folder that holds both tables."""
        return self._tables.uri

    def log_decisions(self, rows: Sequence[Decision]) -> Future[None]:
        """Remembers decisions; of none, tells whether any could be.

        Returns:
            Resolved when all of them are durable; it fails with StorageError when none of them is.

        Raises:
            DataError: a row does not fit the application; none is remembered.
            StorageError: the log is closed.
        """
        return self._put(v.DECISIONS_TABLE, [self._schema.decision(row) for row in rows])

    def log_outcomes(self, rows: Sequence[Outcome]) -> Future[None]:
        """Remembers outcomes; returns and raises as `log_decisions`."""
        return self._put(v.OUTCOMES_TABLE, [self._schema.outcome(row) for row in rows])

    def waiting(self) -> int:
        """Rows that are durable, and not in the tables yet."""
        return self._spool.waiting()

    def flush(self) -> None:
        """Moves everything that was logged before into the tables, and what dead processes have left.

        Raises:
            StorageError: the tables cannot be written to; the rows stay in the spool.
        """
        self._put(v.DECISIONS_TABLE, []).result()
        self._move()

    def close(self) -> None:
        """Moves what is left and ends. What cannot be moved waits in the spool for the next process."""
        with self._accepting:
            if self._closing.is_set():
                return
            self._closing.set()
            self._parts.put(None)
        self._writer.join()
        self._mover.join()
        try:
            self._move()
        except RlbakeError as error:
            _logger.warning("The experience log was closed with %d rows in its spool: %s", self.waiting(), error)
            self._spool.close()
        else:
            self._spool.remove()

    def _put(self, table: str, records: list[Record]) -> Future[None]:
        durable: Future[None] = Future()
        with self._accepting:
            if self._closing.is_set():
                raise StorageError(f"the experience log at {self.uri} is closed.")
            self._parts.put((table, records, durable))
        return durable

    def _write(self) -> None:
        """Makes rows durable, those of all calls that wait in one transaction."""
        while True:
            parts = [self._parts.get()]
            try:
                while parts[-1] is not None:
                    parts.append(self._parts.get_nowait())
            except Empty:
                pass
            group = [part for part in parts if part is not None]
            wanted = [durable for _, _, durable in group if durable.set_running_or_notify_cancel()]
            try:
                self._spool.append([(table, records) for table, records, _ in group if records])
            except Exception as error:
                for durable in wanted:
                    durable.set_exception(error)
            else:
                for durable in wanted:
                    durable.set_result(None)
            if parts[-1] is None:
                return

    def _keep_moving(self) -> None:
        failed = ""
        while True:
            try:
                self._move()
                failed = ""
            except Exception as error:
                if str(error) != failed:  # once, not every few seconds
                    _logger.warning("Experience stays in the spool %s for now: %s", self._folder, error)
                failed = str(error)
            if self._closing.wait(self._flush_s):
                return

    def _move(self) -> None:
        with self._one_move:
            self._empty(self._spool)
            for lock in locks(self._folder):
                self._take_over(lock)

    def _take_over(self, lock: Path) -> None:
        """Empties a spool if its process has died."""
        left = None
        try:
            left = Spool.adopt(lock)
            if left is None:
                return
            rows = left.waiting()
            self._empty(left)
        except RlbakeError as error:
            if self._stuck.get(lock) != str(error):  # once, not every few seconds
                _logger.warning("Rows that a process left in %s stay there: %s", self._folder, error)
            self._stuck[lock] = str(error)
            if left is not None:
                left.close()
        else:
            left.remove()
            _logger.info("Moved %d rows of a process that died to %s.", rows, self.uri)

    def _empty(self, spool: Spool) -> None:
        until = spool.latest()  # what comes while it is emptied is for the next time: else it would never end
        for table in TABLES:
            while (batch := spool.batch(table, until)) is not None:
                self._tables.append(table, spool.schema, spool.id, batch)
                spool.done(table, batch)


def _spool_of(tables: Tables) -> Path:
    if tables.local:
        return Path(tables.uri) / SPOOL
    name = hashlib.sha256(tables.uri.encode()).hexdigest()[:16]
    return Path.home() / ".local" / "state" / "rlbake" / "spool" / name
