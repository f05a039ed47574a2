"""A folder of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rlbake.errors import SpecError, nearest
from rlbake.sources import delta
from rlbake.sources.rows import Rows, Span
from rlbake.warehouse.location import Location

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PARQUET, CSV, JSON, DELTA = "parquet", "csv", "json", "delta"
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"  # how Spark and Hive name the folder of a NULL
FORMATS = (PARQUET, CSV, JSON, DELTA)

# A record that does not fit its schema fails, even in a column that nobody asked for.
# https://spark.apache.org/docs/latest/sql-data-sources-csv.html
_STRICT = {"mode": "FAILFAST", "timeZone": "UTC"}
_OPTIONS = {
    PARQUET: {},
    CSV: {**_STRICT, "header": "true", "enforceSchema": "false", "columnPruning": "false"},
    JSON: _STRICT,
}


@dataclass(frozen=True)
class Folder(Rows):
    """Parquet, CSV, JSON or Delta files in a folder.

    Attributes:
        path: relative to the working directory, absolute, or any URI that Spark reads.
        format: one of `FORMATS`. CSV files start with a header; JSON files hold one object per
            line. In both, a time without an offset is UTC.
        schema: Spark DDL, "player string, ts timestamp"; CSV and JSON need one, so that nothing is
            guessed, and a record that does not fit it is an error, never a NULL.
        version: of a Delta table; None: the latest. It is read without a Delta package for Spark.
    """

    path: str
    format: str = PARQUET
    schema: str | None = None
    version: int | None = None
    _versions: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format not in FORMATS:
            raise SpecError(f"{self.name}: there is no format {self.format!r}. {nearest(str(self.format), FORMATS)}")
        if self.format in (CSV, JSON) and not self.schema:
            raise SpecError(f'{self.name}: {self.format} needs a schema, such as "player string, ts timestamp".')
        if self.format == DELTA and self.schema:
            raise SpecError(f"{self.name}: a Delta table has a schema of its own: leave it out.")
        if self.format != DELTA and self.version is not None:
            raise SpecError(f"{self.name}: only a Delta table has versions.")

    @property
    def name(self) -> str:
        return f"folder {self.path}"

    def place(self, span: Span) -> str:
        """The folder's URI; a Delta table's with the version that was last read for the window."""
        uri = Location(self.path).uri
        if self.format != DELTA:
            return uri
        version = self._versions.get(span.window.ds, self.version)
        return f"{uri}@v{delta.open_table(uri, None).version() if version is None else version}"

    def stored(self, spark: SparkSession, span: Span) -> DataFrame:
        location = Location(self.path)
        if self.format == DELTA:
            table = delta.open_table(location.uri, self.version)
            self._versions[span.window.ds] = table.version()
            return delta.read(spark, location, table, self.partition, span)
        reader = spark.read.options(**_OPTIONS[self.format])
        if self.schema is not None:
            reader = reader.schema(self.schema)
        whole = reader.format(self.format).load(location.for_spark())
        files = [] if self.partition is None else [unquote(file) for file in whole.inputFiles()]  # encoded URIs
        if not files or any(f"/{self.partition}=" not in file for file in files):
            return whole
        # Fewer folders, instead of a filter alone: the frame's input files are then what the span needs.
        folders = _folders(files, str(self.partition), span)
        if not folders:
            return spark.createDataFrame([], whole.schema)
        return reader.schema(whole.schema).option("basePath", location.for_spark()).load(folders)


def _folders(files: list[str], partition: str, span: Span) -> list[str]:
    """The folders of a span's partitions."""
    folders = set()
    for file in files:
        above, found, below = file.rpartition(f"/{partition}=")
        value = below.split("/")[0]
        if span.touches(None if value == NO_VALUE else unquote(value)):
            folders.add(f"{above}{found}{value}")
    return sorted(folders)
