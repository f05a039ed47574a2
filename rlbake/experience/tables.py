"""The two Delta tables of an experience log, to which batches are appended exactly once.

Every append carries its spool's id and the batch's number as a Delta application transaction, so
the table itself knows which batches it holds:
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#transaction-identifiers
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from rlbake import vocabulary as v
from rlbake.errors import SpecError, StorageError
from rlbake.experience.schema import LogSchema
from rlbake.experience.spool import Batch
from rlbake.warehouse.location import Location

TABLES = (v.DECISIONS_TABLE, v.OUTCOMES_TABLE)
COMMIT_ATTEMPTS = 50
MANY_FILES = 64  # of one hour, which are then put together

_logger = logging.getLogger(__name__)


class Tables:
    """Decisions and outcomes below one URI.

    Attributes:
        uri: of the folder that holds both; absolute.
        local: whether it is on this machine.
    """

    def __init__(self, uri: str) -> None:
        folder = Location(uri)
        self.uri, self.local = folder.uri, folder.local is not None
        self._locations = {table: Location(f"{folder.uri}/{table}") for table in TABLES}

    def prepare(self, schema: LogSchema) -> None:
        """Makes the tables where there are none, and sees that rows fit into them.

        Raises:
            SpecError: they hold a column of another type.
            StorageError: they cannot be written to.
        """
        for table, location in self._locations.items():
            location.make_writable()
            columns = schema.of(table)
            for _ in _attempts(location.uri):
                try:
                    with location.errors("create"):
                        DeltaTable.create(
                            location.uri, Schema.from_arrow(columns), mode="ignore", partition_by=[v.HOUR]
                        )
                    break
                except StorageError:
                    if not DeltaTable.is_deltatable(location.uri):  # else another process was faster
                        raise
            _refuse_other_types(location.uri, self._open(table), columns)

    def append(self, table: str, schema: LogSchema, spool: str, batch: Batch) -> None:
        """Adds a spool's batch to a table, unless it is there already.

        Raises:
            SpecError: the table holds a column of another type.
            StorageError: it cannot be written to.
        """
        location = self._locations[table]
        rows = schema.rows(table, batch.records)
        for _ in _attempts(location.uri):
            opened = self._open(table)
            if (opened.transaction_version(spool) or 0) >= batch.number:
                return
            _refuse_other_types(location.uri, opened, rows.schema)
            properties = CommitProperties(app_transactions=[Transaction(spool, batch.number)])
            with location.errors("append to"):
                try:
                    write_deltalake(opened, rows, mode="append", schema_mode="merge", commit_properties=properties)
                except CommitFailedError:  # another writer was faster
                    continue
            if batch.number % MANY_FILES == 0:
                self._compact(table)
            return

    def _open(self, table: str) -> DeltaTable:
        with self._locations[table].errors("read"):
            return DeltaTable(self._locations[table].uri)

    def _compact(self, table: str) -> None:
        """Puts the files of an hour together where there are many. Rows stay what they are."""
        opened = self._open(table)
        added = pa.table(opened.get_add_actions(flatten=True)).column(f"partition.{v.HOUR}").to_pylist()
        for hour, files in Counter(added).items():
            if files < MANY_FILES:
                continue
            try:
                opened.optimize.compact(partition_filters=[(v.HOUR, "=", hour)])
            except (OSError, DeltaError) as error:  # another process does it, or the next time will
                _logger.info("Left hour %s of %s in %d files: %s", hour, self._locations[table].uri, files, error)


def _attempts(uri: str) -> Iterator[int]:
    for attempt in range(COMMIT_ATTEMPTS):
        yield attempt
        time.sleep(random.uniform(0, 0.1))
    raise StorageError(
        f"cannot commit to the table at {uri}: other writers were faster {COMMIT_ATTEMPTS} times. It is tried again."
    )


def _refuse_other_types(uri: str, table: DeltaTable, columns: pa.Schema) -> None:
    """A column may come new, and one may be left out; none changes its type.

    Raises:
        SpecError: names the column.
    """
    held, wanted = (dict(_leaves(schema)) for schema in (pa.schema(table.schema().to_arrow()), columns))
    for name, type_ in wanted.items():
        if name in held and not _alike(held[name], type_):
            raise SpecError(
                f"the experience log at {uri} holds {name} as {held[name]}, and the application says {type_}: "
                "log to another place, or give what has changed another name."
            )


def _leaves(fields: pa.Schema | pa.StructType, prefix: str = "") -> Iterator[tuple[str, pa.DataType]]:
    for field in fields:
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field.type


def _alike(held: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether they are the same type; Arrow names the elements of a list in several ways."""
    if pa.types.is_list(held) and pa.types.is_list(wanted):
        return bool(held.value_type == wanted.value_type)
    return bool(held == wanted)
