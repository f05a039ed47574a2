"""What a table holds, as three numbers that do not depend on row order or file layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rlbake import vocabulary as v

_KEY = "rlbake"  # of a commit's custom metadata


@dataclass(frozen=True)
class ContentHash:
    """A hash of a multiset of rows.

    Attributes:
        rows: how many there are.
        xor: exclusive or of their 64-bit hashes, signed.
        sum: sum of their hashes modulo 2^31; counts rows that cancel out in `xor`.
    """

    rows: int
    xor: int
    sum: int


EMPTY = ContentHash(0, 0, 0)


@dataclass(frozen=True)
class Build:
    """How a window of a table came to be, as its commit recorded it.

    Attributes:
        version: table version that committed it.
        content: hash of its rows.
        config_digest: of the configuration it was built with.
        run_id: MLflow run that built it.
        inputs: what else it was built from, by name: a window is stale once one of them has changed.
    """

    version: int
    content: ContentHash
    config_digest: str
    run_id: str
    inputs: Mapping[str, str] = field(default_factory=dict)


def digest(builds: Mapping[str, Build], schema: str) -> str:
    """32 hexadecimal digits for the content, schema and build configuration of some windows."""
    windows = {ds: [asdict(build.content), build.config_digest] for ds, build in builds.items()}
    text = json.dumps({"windows": windows, "schema": json.loads(schema)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def to_metadata(window: str, build: Build) -> dict[str, Any]:
    """A build as custom metadata of the commit that makes it."""
    record = asdict(build)
    del record["version"]
    return {_KEY: {v.DS: window, **record}}


def from_commits(commits: Iterable[Mapping[str, Any]]) -> dict[str, Build]:
    """The latest build of each window that a table's commits, oldest first, record."""
    builds: dict[str, Build] = {}
    for commit in commits:
        if record := commit.get(_KEY):
            builds[record[v.DS]] = Build(
                commit["version"],
                ContentHash(**record["content"]),
                record["config_digest"],
                record["run_id"],
                record.get("inputs", {}),
            )
    return builds
