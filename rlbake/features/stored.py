"""Profiles as rows: of the table `profiles`, which Spark writes, and of a JSON artifact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from rlbake import vocabulary as v
from rlbake.errors import NotFoundError, StorageError
from rlbake.features.profile import Profile, Profiles
from rlbake.warehouse.content import Build
from rlbake.warehouse.table import Table

COUNTED, COUNT = "value", "rows"
"""Fields of one entry of `counts`, which are a list in a row."""


def to_rows(profiles: Profiles) -> list[dict[str, Any]]:
    """One row per column, JSON-ready: its name under `vocabulary.COLUMN`, and a profile's attributes."""
    return [
        {
            v.COLUMN: name,
            **asdict(profile),
            "small": list(profile.small),
            "quantiles": list(profile.quantiles),
            "counts": [{COUNTED: value, COUNT: rows} for value, rows in profile.counts.items()],
        }
        for name, profile in profiles.items()
    ]


def from_rows(rows: Iterable[Mapping[str, Any]]) -> Profiles:
    """What `to_rows` gave."""
    return {row[v.COLUMN]: _from_row(**{k: x for k, x in row.items() if k != v.COLUMN}) for row in rows}


def _from_row(
    small: Sequence[int], quantiles: Sequence[float], counts: Sequence[Mapping[str, Any]], **rest: Any
) -> Profile:
    counted = {entry[COUNTED]: entry[COUNT] for entry in counts}
    return Profile(small=tuple(small), quantiles=tuple(quantiles), counts=counted, **rest)


def described(build: Build) -> dict[str, str]:
    """What a profile records as its inputs: the rows of a window of the trajectories."""
    content = build.content
    return {v.TRAJECTORIES_TABLE: f"{content.rows} {content.xor} {content.sum}"}


def read_profiles(tables: str, windows: Sequence[str], version: int | None = None) -> list[Profiles]:
    """The profiles of windows of the trajectories, in time order. Needs no Spark.

    Args:
        tables: URI of the folder that holds the application's tables.
        windows: `ds` of them, at least one.
        version: of the trajectories table; None: the latest.

    Raises:
        NotFoundError: a window has no profile, or only one of other rows than the version's, or of
            an application that has changed since; or there is no such window.
        StorageError: the table cannot be read.
    """
    wanted = Table(f"{tables}/{v.TRAJECTORIES_TABLE}").builds(windows, version)
    table = Table(f"{tables}/{v.PROFILES_TABLE}")
    latest = table.version()
    present = table.builds(version=latest)
    absent = [ds for ds in wanted if ds not in present]
    stale = [ds for ds in wanted if ds in present and not is_current(present[ds], wanted[ds])]
    if absent or stale:
        what = [f"{len(ds)} {why} ({', '.join(ds[:5])})" for why, ds in (("missing", absent), ("stale", stale)) if ds]
        raise NotFoundError(
            f"the table at {table.uri} does not describe {len(wanted)} windows of version {version} of the "
            f"trajectories as they are: {' and '.join(what)}. Build these windows again."
        )
    try:
        delta = DeltaTable(table.uri, version=latest).to_pyarrow_dataset()
        rows = delta.to_table(filter=pc.field(v.DS).isin(list(wanted))).to_pylist()
    except (DeltaError, OSError) as error:
        raise StorageError(f"cannot read version {latest} of the table at {table.uri}: {error}") from error
    by_window: dict[str, list[dict[str, Any]]] = {ds: [] for ds in wanted}
    for row in rows:
        by_window[row.pop(v.DS)].append(row)
    return [from_rows(by_window[ds]) for ds in wanted]


def is_current(profiled: Build, trajectories: Build) -> bool:
    """Whether a window's profile is of just the rows that the trajectories hold, under the same configuration."""
    return profiled.inputs == described(trajectories) and profiled.config_digest == trajectories.config_digest
