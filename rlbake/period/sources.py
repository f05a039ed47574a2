"""What a DataFrame reads: the lineage of a build, and how to tell later that it has changed."""

from __future__ import annotations

import hashlib
import re
from posixpath import basename, dirname
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pyarrow import ArrowException
from pyarrow.dataset import dataset
from pyarrow.fs import FileSystem

from rlbake.application import Application
from rlbake.cadence import Window
from rlbake.tracking.dataset import Source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_PARTITION = re.compile(r"/[^/=]+=[^/]*(/.*)?$")


def sources(application: Application, frame: DataFrame, window: Window) -> list[Source]:
    """What a window's timesteps are read from: what the application's source says, else the frame's folders."""
    if application.source is None:
        return _folders(frame, window.ds)
    counted = {folder.location: folder.rows for folder in _folders(frame, window.ds)}
    return [Source(name, text, counted.get(text), window.ds) for name, text in application.source.lineage(window)]


def _folders(frame: DataFrame, window_ds: str) -> list[Source]:
    """The folders whose files a frame reads, partitions put together; none for rows made in memory.

    Rows are counted from the footers of Parquet files, all rows of the files that are read, whatever
    the frame's filters keep of them; other formats are not counted, as that would read them twice.
    """
    folders: dict[str, list[str]] = {}
    for file in frame.inputFiles():
        folders.setdefault(_PARTITION.sub("", dirname(_plain(file))), []).append(file)
    return [Source(basename(folder), folder, _rows(files), window_ds) for folder, files in sorted(folders.items())]


def fingerprint(frame: DataFrame) -> str:
    """A digest of the files that a frame reads; "" if there are none to look at.

    It changes when a file is added, removed or written again: names, sizes and times are compared
    where this machine can list the storage, else names alone.
    """
    files = sorted(frame.inputFiles())
    if not files:
        return ""
    return hashlib.sha256("\n".join(_stamped(files)).encode()).hexdigest()[:32]


def _stamped(files: list[str]) -> list[str]:
    try:
        storage, path = FileSystem.from_uri(files[0])
        root = len(unquote(files[0])) - len(path)
        found = storage.get_file_info([unquote(file)[root:] for file in files])
    except (OSError, ArrowException):  # a scheme that only Spark can read
        return files
    return [f"{file} {info.size} {info.mtime_ns}" for file, info in zip(files, found, strict=True)]


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
