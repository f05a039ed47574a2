"""A folder that holds one table: on this machine, or in object storage."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import pyarrow.fs
import pyarrow.parquet
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler

from rlbake.errors import StorageError


@dataclass(frozen=True)
class DataFile:
    """One Parquet file: path relative to the table, bytes and rows."""

    path: str
    size: int
    rows: int


class Location:
    """Lists, measures and deletes a table's files through the storage that Delta commits use.

    Attributes:
        uri: absolute; a plain path if local.
        local: the folder, if it is on this machine.
    """

    def __init__(self, uri: str) -> None:
        remote = re.match(r"(?!file:)[a-zA-Z][a-zA-Z0-9+.-]+:/", uri)
        self.local = None if remote else Path(uri.removeprefix("file://")).absolute()
        self.uri = uri.rstrip("/") if self.local is None else str(self.local)

    def for_spark(self, path: str = "") -> str:
        """The folder, or a path inside it, as Spark must be given it whatever its default file system."""
        root = self.uri if self.local is None else f"file://{self.local}"
        return f"{root}/{path}" if path else root

    def make_writable(self) -> None:
        """Creates the folder and sees that a file can be written into it.

        Raises:
            StorageError: it cannot.
        """
        probe = f"_probe-{uuid4().hex}"
        with self.errors("write to"):
            if self.local is not None:
                self.local.mkdir(parents=True, exist_ok=True)
            with self._files.open_output_stream(probe, buffer_size=1024) as stream:
                stream.write(b"rlbake")
            self._files.delete_file(probe)

    def data_files(self, folder: str) -> list[DataFile]:
        """The non-empty Parquet files below a folder; only their footers are read."""
        with self.errors("read"):
            found = self._files.get_file_info(pyarrow.fs.FileSelector(folder, recursive=True))
            parquet = [file for file in found if file.path.endswith(".parquet")]
            counted = [DataFile(file.path, file.size, self._rows(file.path)) for file in parquet]
        return sorted((file for file in counted if file.rows), key=lambda file: file.path)

    def delete(self, folder: str) -> None:
        """Deletes a folder inside the table with all it holds."""
        with self.errors("delete from"):
            if self.local is None:
                self._files.delete_dir(folder)  # object storage keeps no empty folders
            else:
                shutil.rmtree(self.local / folder, ignore_errors=True)

    def _rows(self, path: str) -> int:
        with self._files.open_input_file(path) as file:
            return pyarrow.parquet.read_metadata(file).num_rows

    @cached_property
    def _files(self) -> pyarrow.fs.FileSystem:
        return pyarrow.fs.PyFileSystem(DeltaStorageHandler(self.uri))

    @contextmanager
    def errors(self, verb: str) -> Iterator[None]:
        """Turns whatever the storage answers into one line."""
        try:
            yield
        except (OSError, DeltaError) as error:
            reason = " ".join(re.sub(r"\x1b\[[0-9;]*m|↳", "", str(error)).split())[:300].rstrip(".")
            raise StorageError(
                f"cannot {verb} the table at {self.uri}: {reason}. Check that the place exists, that this "
                "user may write there and, for object storage, that its credentials are set."
            ) from error
