"""The commits of a table, each read once per process: a commit never changes."""

from __future__ import annotations

from typing import Any

from deltalake import DeltaTable

_known: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}


def commits(table: DeltaTable) -> list[dict[str, Any]]:
    """The commits up to the version that is open, oldest first, with their custom metadata."""
    known = _known.setdefault((table.table_uri, str(table.metadata().id)), {})
    latest = table.version()
    unseen = latest - max(known, default=-1)
    if unseen > 0:
        known.update({commit["version"]: commit for commit in table.history(unseen)})
    return [known[version] for version in sorted(known) if version <= latest]
