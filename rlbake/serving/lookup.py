"""Features by key, from a table that is held in memory, so that a client may send the key alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq
from deltalake import DeltaTable

from rlbake.errors import DataError, NotFoundError, RlbakeError, StorageError, failed_check, nearest
from rlbake.specs import Feature
from rlbake.warehouse.location import Location

_logger = logging.getLogger(__name__)

Key = tuple[str, ...]


@dataclass(frozen=True)
class _Held:
    state: object  # equal as long as the table is the same
    index: dict[Key, int]
    columns: dict[str, pa.Array]


class Lookup:
    """A Delta table or Parquet files of the key columns and some features, one row for each key.

    Args:
        uri: of the table, a folder of Parquet files or one such file.
        keys: the key columns, compared as text.
        observation: the application's features; those that the table has are looked up.
    """

    def __init__(self, uri: str, keys: Sequence[str], observation: Sequence[Feature]) -> None:
        self.uri = uri
        self._keys = tuple(keys)
        self._features = tuple(feature.name for feature in observation)
        self._held: _Held | None = None
        self._told = ""

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._held.index) if self._held else 0

    def get(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """The features of a row's key that are known, those that are NULL left out; None: the key is unknown."""
        held = self._held
        number = held.index.get(tuple(row[key] for key in self._keys)) if held else None
        if held is None or number is None:
            return None
        found = {name: column[number].as_py() for name, column in held.columns.items()}
        return {name: value for name, value in found.items() if value is not None}

    def read(self) -> bool:
        """Reads the table if it has changed; tells whether it had.

        Raises:
            NotFoundError: there is no table, or it lacks a key column or every feature.
            DataError: a key is NULL or has several rows.
            StorageError: it cannot be read.
        """
        location = Location(self.uri)
        with location.errors("read"):
            if DeltaTable.is_deltatable(location.uri):
                table = DeltaTable(location.uri)
                state: object = table.version()
                if self._held is None or self._held.state != state:
                    names = [field.name for field in table.schema().fields]
                    self._hold(state, table.to_pyarrow_table(columns=self._wanted(names)))
                    return True
                return False
            return self._read_parquet(location)

    def refresh(self) -> bool:
        """As `read`, but what cannot be read is said once, and what was held before stays."""
        try:
            changed = self.read()
        except RlbakeError as error:
            if str(error) != self._told:
                _logger.error("The table of features stays as it was: %s", error)
            self._told = str(error)
            return False
        self._told = ""
        return changed

    def _read_parquet(self, location: Location) -> bool:
        files, path = pyarrow.fs.FileSystem.from_uri(location.for_spark())
        info = files.get_file_info(path)
        found = [info] if info.is_file else files.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
        parts = sorted((part.path, part.size, part.mtime_ns) for part in found if part.path.endswith(".parquet"))
        if not parts:
            raise NotFoundError(f"features: there is neither a Delta table nor a Parquet file at {self.uri}.")
        if self._held is not None and self._held.state == parts:
            return False
        try:
            names = pq.read_schema(parts[0][0], filesystem=files).names
            tables = [pq.read_table(part, columns=self._wanted(names), filesystem=files) for part, _, _ in parts]
            self._hold(parts, pa.concat_tables(tables))
        except pa.ArrowInvalid as error:
            raise StorageError(f"features: {self.uri} cannot be read: {str(error).splitlines()[0]}") from error
        return True

    def _wanted(self, names: Sequence[str]) -> list[str]:
        for key in self._keys:
            if key not in names:
                raise NotFoundError(f"features: {self.uri} has no column {key!r}. {nearest(key, names)}")
        features = [name for name in self._features if name in names]
        if not features:
            raise NotFoundError(f"features: {self.uri} has none of {', '.join(self._features)}.")
        return [*self._keys, *features]

    def _hold(self, state: object, table: pa.Table) -> None:
        keys = [table[key].cast(pa.string()).to_pylist() for key in self._keys]
        index = dict(zip(zip(*keys, strict=True), range(table.num_rows), strict=True))
        if any(table[key].null_count for key in self._keys):
            raise DataError(f"features: {self.uri} has rows whose key is NULL. Drop them.")
        if len(index) < table.num_rows:
            counted = pc.value_counts(pc.binary_join_element_wise(*(pa.array(key) for key in keys), "|"))
            repeated = counted.filter(pc.greater(counted.field("counts"), 1)).to_pylist()
            raise failed_check(
                "features: the same key more than once",
                where=self.uri,
                count=sum(found["counts"] for found in repeated),
                of=table.num_rows,
                examples=[f"{found['values']}: {found['counts']} rows" for found in repeated[:5]],
                fix="Keep one row of each.",
            )
        columns = {name: table[name].combine_chunks() for name in table.column_names if name not in self._keys}
        self._held = _Held(state, index, columns)
