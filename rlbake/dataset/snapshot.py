"""Pinning what is trained on: some windows of one version of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlbake.errors import DataError, NotFoundError
from rlbake.warehouse.table import Table


@dataclass(frozen=True)
class Snapshot:
    """Windows of a Delta table at a version; its rows never change.

    Attributes:
        uri: of the table.
        version: of the table.
        windows: `ds` of those windows that exist, in time order.
        digest: 32 hexadecimal digits, equal for equal content of equal schema and build.
        rows: in these windows.
    """

    uri: str
    version: int
    windows: tuple[str, ...]
    digest: str
    rows: int


def pin(table_uri: str, windows: Sequence[str]) -> Snapshot:
    """The latest version of a table, restricted to those of `windows` that it has.

    Raises:
        NotFoundError: the table does not exist, or has none of the windows.
        DataError: the windows hold no row.
    """
    table = Table(table_uri)
    version = table.version()
    present = sorted(set(windows) & set(table.windows(version)))
    if not present:
        asked = f"{min(windows)} to {max(windows)}" if windows else "no window"
        raise NotFoundError(f"the table at {table.uri} has none of the windows asked for ({asked}). Build them first.")
    rows = sum(content.rows for content in table.contents(present, version).values())
    if not rows:
        raise DataError(f"the table at {table.uri} has no row in windows {present[0]} to {present[-1]}.")
    return Snapshot(table.uri, version, tuple(present), table.digest(present, version), rows)
