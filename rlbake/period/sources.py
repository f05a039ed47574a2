"""What a DataFrame reads: the lineage of a build."""

from __future__ import annotations

import re
from posixpath import basename, dirname
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pyarrow import ArrowException
from pyarrow.dataset import dataset
from pyarrow.fs import FileSystem

from rlbake.tracking.dataset import Source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_PARTITION = re.compile(r"/[^/=]+=[^/]*(/.*)?$")


def sources(frame: DataFrame, window_ds: str) -> list[Source]:
    """The folders whose files a frame reads, partitions put together; none for rows made in memory.

    Rows are counted from the footers of Parquet files, all rows of the files that are read, whatever
    the frame's filters keep of them; other formats are not counted, as that would read them twice.
    """
    folders: dict[str, list[str]] = {}
    for file in frame.inputFiles():
        folders.setdefault(_PARTITION.sub("", dirname(_plain(file))), []).append(file)
    return [Source(basename(folder), folder, _rows(files), window_ds) for folder, files in sorted(folders.items())]


def _plain(file: str) -> str:
    return unquote(file).removeprefix("file://")


def _rows(files: list[str]) -> int | None:
    if not all(file.endswith(".parquet") for file in files):
        return None
    try:
        storage, path = FileSystem.from_uri(files[0])
        root = len(unquote(files[0])) - len(path)
        return dataset([unquote(file)[root:] for file in files], filesystem=storage).count_rows()
    except (OSError, ArrowException):  # a scheme that only Spark can read
        return None
