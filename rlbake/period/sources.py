"""What a DataFrame reads: the lineage of a build."""

from __future__ import annotations

import re
from collections.abc import Iterable
from posixpath import basename, dirname
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rlbake.tracking.dataset import Source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_PARTITION = re.compile(r"/[^/=]+=[^/]*(/.*)?$")


def sources(frame: DataFrame, window_ds: str) -> list[Source]:
    """The folders whose files a frame reads, partitions put together; none for rows made in memory.

    How many rows lie in them is not counted: that would read the data twice.
    """
    return [Source(basename(folder), folder, None, window_ds) for folder in _folders(frame.inputFiles())]


def _folders(files: Iterable[str]) -> list[str]:
    paths = (unquote(file).removeprefix("file://") for file in files)
    return sorted({_PARTITION.sub("", dirname(path)) for path in paths})
