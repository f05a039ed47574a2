"""What a table holds, as three numbers that do not depend on row order or file layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
    """

    version: int
    content: ContentHash
    config_digest: str
    run_id: str


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


def from_history(history: list[dict[str, Any]]) -> dict[str, Build]:
    """The latest build of each window that a table's history (newest commit first) records."""
    builds: dict[str, Build] = {}
    for commit in reversed(history):
        if record := commit.get(_KEY):
            content = ContentHash(**record["content"])
            builds[record[v.DS]] = Build(commit["version"], content, record["config_digest"], record["run_id"])
    return builds
