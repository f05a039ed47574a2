"""A Delta table, partitioned by window, whose versions are the lineage of every dataset.

Spark writes Parquet files below the table's folder and the driver commits them to the Delta log
with the `deltalake` package, so that no JVM package is needed on any cluster:
https://delta-io.github.io/delta-rs/api/transaction/
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from rlbake import vocabulary as v
from rlbake.errors import NotFoundError, StorageError
from rlbake.warehouse.content import EMPTY, Build, ContentHash, digest, from_commits, to_metadata
from rlbake.warehouse.history import commits
from rlbake.warehouse.location import DataFile, Location

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

COMMIT_ATTEMPTS = 50
_PARTITION = f"partition.{v.DS}"


@dataclass(frozen=True)
class Commit:
    """What replacing a window did.

    Attributes:
        uri: of the table.
        version: that holds the window: a new one if `changed`, else the latest.
        window: its `ds`.
        rows: in the window.
        content: hash of the window's rows.
        changed: False if the window held just these rows, built with the same configuration.
    """

    uri: str
    version: int
    window: str
    rows: int
    content: ContentHash
    changed: bool


class Table:
    """A Delta table at a URI, which need not exist before the first window is written.

    Every method looks at the table afresh; `version=None` means the latest.
    """

    def __init__(self, uri: str) -> None:
        self._location = Location(uri)
        self.uri = self._location.uri

    def exists(self) -> bool:
        with self._location.errors("read"):
            return DeltaTable.is_deltatable(self.uri)

    def version(self) -> int:
        """The latest version.

        Raises:
            NotFoundError: the table does not exist; so do all methods below.
        """
        return self._open().version()

    def history(self) -> list[dict[str, Any]]:
        """The commits, newest first, with their custom metadata under "rlbake"."""
        return self._open().history()

    def windows(self, version: int | None = None) -> list[str]:
        """The `ds` of all windows that were written, empty ones included, in time order."""
        return _windows(self._open(version))

    def builds(self, windows: Iterable[str] | None = None, version: int | None = None) -> dict[str, Build]:
        """How each window came to be, in time order; of all windows, or of those asked for.

        Raises:
            NotFoundError: a window that was asked for is not there, or something else wrote it.
        """
        return self._builds(self._open(version), windows)

    def contents(self, windows: Iterable[str] | None = None, version: int | None = None) -> dict[str, ContentHash]:
        """The content hash of each window."""
        return {ds: build.content for ds, build in self.builds(windows, version).items()}

    def digest(self, windows: Iterable[str] | None = None, version: int | None = None) -> str:
        """32 hexadecimal digits: equal for equal rows, schema and build configuration."""
        table = self._open(version)
        return digest(self._builds(table, windows), table.schema().to_json())

    def read(self, spark: SparkSession, version: int | None = None, windows: Iterable[str] | None = None) -> DataFrame:
        """The rows of some windows, or of all, with their `ds` as the last column.

        Raises:
            NotFoundError: a window that was asked for is not there.
        """
        from pyspark.sql.types import StructType

        table = self._open(version)
        wanted = self._known(_windows(table), windows)
        schema = StructType.fromJson(json.loads(table.schema().to_json()))
        added = pyarrow.table(table.get_add_actions(flatten=True)).select(["path", _PARTITION]).to_pylist()
        files = [self._location.for_spark(file["path"]) for file in added if file[_PARTITION] in wanted]
        if not files:
            return spark.createDataFrame([], schema)
        return spark.read.schema(schema).option("basePath", self._location.for_spark()).parquet(*files)

    def replace_window(
        self,
        frame: DataFrame,
        window_ds: str,
        *,
        run_id: str,
        config_digest: str,
        inputs: Mapping[str, str] | None = None,
        before_commit: Callable[[], None] | None = None,
        unrepeated: Iterable[str] = (),
    ) -> Commit:
        """Makes a window hold exactly these rows, in one commit, or changes nothing at all.

        Writers of different windows both land; of two writers of the same window one lands
        after the other, whole. A window that already holds these rows under this schema and
        configuration keeps its files, and the fresh ones are removed: there is no new version
        unless it was built from other inputs, which a commit without files then records.

        Args:
            frame: the rows, without `ds`. Written as it is partitioned: no shuffle is added.
            window_ds: the window's `ds`.
            run_id: MLflow run that builds it.
            config_digest: of the configuration it is built with.
            inputs: what else it is built from, by name, for whoever asks later whether it is stale.
            before_commit: called when the files are written and the frame's observations are
                known; whatever it raises leaves the table as it was.
            unrepeated: columns of which hardly a value comes twice, which are then written faster.

        Raises:
            StorageError: the location cannot be written to.
        """
        from rlbake.warehouse import parquet

        self._location.make_writable()
        frame = frame.drop(v.DS)
        folder = f"{v.DS}={window_ds}/{uuid4().hex}"
        try:
            content = parquet.write(frame, self._location.for_spark(folder), unrepeated)
            if before_commit is not None:
                before_commit()
            files = self._location.data_files(folder)
        except BaseException:
            self._location.delete(folder)
            raise
        schema = Schema.from_json(parquet.table_schema(frame.schema, v.DS).json())
        commit = self._commit(files, schema, Build(0, content, config_digest, run_id, inputs or {}), window_ds)
        if not (commit.changed and files):
            self._location.delete(folder)
        return commit

    def _commit(self, files: list[DataFile], schema: Schema, build: Build, window: str) -> Commit:
        """Replaces the window's files in the log, onto the latest version and no other."""
        now = int(time.time() * 1000)
        actions = [
            AddAction(f.path, f.size, {v.DS: window}, now, True, json.dumps({"numRecords": f.rows})) for f in files
        ]
        for _ in range(COMMIT_ATTEMPTS):
            table = self._open() if self.exists() else None
            held = table and _held(table, schema, build, window)
            if table and held and held.inputs == build.inputs:
                return Commit(self.uri, table.version(), window, build.content.rows, build.content, changed=False)
            record = replace(held, inputs=build.inputs) if held else build
            version = self._try_commit(table, None if held else actions, schema, record, window)
            if version is not None:
                return Commit(self.uri, version, window, build.content.rows, build.content, changed=not held)
            time.sleep(random.uniform(0, 0.1))
        raise StorageError(
            f"cannot commit window {window} to the table at {self.uri}: other writers were faster "
            f"{COMMIT_ATTEMPTS} times. Run it again when fewer of them write there."
        )

    def _try_commit(
        self, table: DeltaTable | None, actions: list[AddAction] | None, schema: Schema, build: Build, window: str
    ) -> int | None:
        """The version that was committed right after the given one; None if another writer was faster.

        Without actions the window keeps its files, and only how it was built is recorded anew.
        """
        # Without retries of its own, deltalake refuses to commit onto anything but the version given.
        properties = CommitProperties(to_metadata(window, build), max_commit_retries=0)
        with self._location.errors("commit to"):
            try:
                if table is None:
                    create_table_with_add_actions(
                        self.uri,
                        schema,
                        actions or [],
                        partition_by=[v.DS],
                        configuration={"delta.enableExpiredLogCleanup": "false"},
                        commit_properties=properties,
                    )
                    return 0
                table.create_write_transaction(
                    [*(actions or [])],
                    mode="append" if actions is None else "overwrite",
                    schema=schema,
                    partition_by=[v.DS],
                    partition_filters=None if actions is None else [(v.DS, "=", window)],
                    commit_properties=properties,
                )
                return table.version() + 1
            except CommitFailedError:
                return None
            except DeltaError:
                if table is None and self.exists():
                    return None
                raise

    def _open(self, version: int | None = None) -> DeltaTable:
        with self._location.errors("read"):
            try:
                return DeltaTable(self.uri, version=version)
            except TableNotFoundError as error:
                raise NotFoundError(f"there is no table at {self.uri}: build it first.") from error
            except DeltaError as error:
                if version is None:
                    raise
                raise NotFoundError(f"the table at {self.uri} has no version {version}.") from error

    def _builds(self, table: DeltaTable, windows: Iterable[str] | None) -> dict[str, Build]:
        recorded = from_commits(commits(table))
        known = self._known(_windows(table), windows)
        foreign = [ds for ds in known if ds not in recorded]
        if foreign:
            raise NotFoundError(f"window {foreign[0]} of the table at {self.uri} was not written by rlbake.")
        return {ds: recorded[ds] for ds in known}

    def _known(self, present: list[str], wanted: Iterable[str] | None) -> list[str]:
        if wanted is None:
            return present
        wanted = sorted(set(wanted))
        missing = [ds for ds in wanted if ds not in present]
        if missing:
            held = f"it holds {present[0]} to {present[-1]}" if present else "it is empty"
            raise NotFoundError(f"the table at {self.uri} has no window {', '.join(missing)}: {held}. Build it first.")
        return wanted


def _windows(table: DeltaTable) -> list[str]:
    empty = {ds for ds, build in from_commits(commits(table)).items() if build.content == EMPTY}
    return sorted(empty | {partition[v.DS] for partition in table.partitions()})


def _held(table: DeltaTable, schema: Schema, build: Build, window: str) -> Build | None:
    """The build that the window holds, if its rows, schema and configuration are those of the given one."""
    current = from_commits(commits(table)).get(window)
    same_schema = json.loads(table.schema().to_json()) == json.loads(schema.to_json())
    if current is None or not same_schema or window not in _windows(table):
        return None
    return current if (current.content, current.config_digest) == (build.content, build.config_digest) else None
