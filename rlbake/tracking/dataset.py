"""Datasets as MLflow knows them: which table, which version of it, who built it, from what.

MLflow keeps one dataset per experiment, name and digest, as first written. So whatever two
equal datasets may differ in (the table's version, the runs that built it) stands on the run's
input tags and, whole, in a manifest artifact of the run: `inputs/<name>.json`.

Sources keep MLflow's own type "spark": every reader of the store understands them, whether
rlbake is installed there or not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mlflow
from mlflow.data.dataset import Dataset
from mlflow.data.spark_dataset_source import SparkDatasetSource
from mlflow.entities import DatasetInput
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_DATASET_SOURCE_SIZE, MAX_INPUT_TAG_VALUE_SIZE

from rlbake import vocabulary as v
from rlbake.tracking.params import shortened

MANIFESTS = "inputs"
"""Artifact folder of a run that holds one JSON file per trajectory dataset it read."""


class PinnedTableSource(SparkDatasetSource):
    """A Delta table at one version. Elsewhere read as a Spark source with the same path."""

    def __init__(self, path: str, version: int, windows: Sequence[str]) -> None:
        super().__init__(path=path)
        self.path = path
        self.version = version
        self.windows = tuple(windows)

    def load(self, **kwargs: Any) -> Any:
        """The windows of the pinned version, as a Spark DataFrame."""
        from rlbake.warehouse.session import spark_session
        from rlbake.warehouse.table import Table

        return Table(self.path).read(spark_session(), version=self.version, windows=list(self.windows))

    def to_dict(self) -> dict[Any, Any]:
        whole = {"path": self.path, "version": self.version, "windows": list(self.windows)}
        if len(json.dumps(whole)) > MAX_DATASET_SOURCE_SIZE:
            whole["windows"] = span(self.windows)
        return whole


class TrajectoryDataset(Dataset):
    """Windows of a trajectory table at one Delta version.

    Attributes:
        uri: of the Delta table.
        version: of the Delta table.
        windows: the `ds` that were read, in order.
        rows: transitions in them.
        build_runs: ids of the MLflow runs that built them.
    """

    def __init__(
        self,
        name: str,
        *,
        uri: str,
        version: int,
        windows: Sequence[str],
        digest: str,
        rows: int,
        build_runs: Sequence[str] = (),
    ) -> None:
        self.uri = uri
        self.version = version
        self.windows = tuple(windows)
        self.rows = rows
        self.build_runs = tuple(dict.fromkeys(build_runs))
        super().__init__(PinnedTableSource(uri, version, windows), name, digest)

    def _compute_digest(self) -> str:
        raise MlflowException("A trajectory dataset is identified by the digest of its table; none was given.")

    @property
    def profile(self) -> dict[str, int]:
        return {"num_rows": self.rows}

    @property
    def schema(self) -> None:
        return None

    def to_dict(self) -> dict[str, str]:
        return {**super().to_dict(), "profile": json.dumps(self.profile)}

    def tags(self) -> dict[str, str]:
        """For the run's input: short forms, to search and to look at."""
        return {
            v.TAG_TABLE: shortened(self.uri, MAX_INPUT_TAG_VALUE_SIZE),
            v.TAG_TABLE_VERSION: str(self.version),
            v.TAG_WINDOWS: span(self.windows),
            v.TAG_BUILD_RUNS: shortened(",".join(self.build_runs), MAX_INPUT_TAG_VALUE_SIZE),
        }

    def manifest(self) -> dict[str, Any]:
        """Everything about the dataset, for the run's artifacts. `from_manifest` is the inverse."""
        return {
            "name": self.name,
            "uri": self.uri,
            "version": self.version,
            "windows": list(self.windows),
            "digest": self.digest,
            "rows": self.rows,
            "build_runs": list(self.build_runs),
        }

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> TrajectoryDataset:
        return cls(**manifest)


def read_trajectory_dataset(run_id: str, given: DatasetInput) -> TrajectoryDataset | None:
    """The trajectory dataset behind a run's input; None if the input is none.

    Raises:
        MlflowException: the run's manifest of it cannot be read.
    """
    if v.TAG_TABLE_VERSION not in {tag.key for tag in given.tags}:
        return None
    text = mlflow.artifacts.load_text(f"runs:/{run_id}/{manifest_file(given.dataset.name)}")
    return TrajectoryDataset.from_manifest(json.loads(text))


def manifest_file(name: str) -> str:
    """Artifact path of a dataset's manifest within its run."""
    return f"{MANIFESTS}/{name}.json"


def span(windows: Sequence[str]) -> str:
    """`2026-01-01 to 2026-01-30 (30)`, or the one window."""
    return windows[0] if len(windows) == 1 else f"{windows[0]} to {windows[-1]} ({len(windows)})" if windows else ""


@dataclass(frozen=True)
class Source:
    """What a build read: one table or set of files.

    Attributes:
        name: what it is, such as "decisions".
        location: URI of its files, a table name, or the text of a query.
        rows: read from it; None if not counted.
        window: `ds` that it was read for.
    """

    name: str
    location: str
    rows: int | None
    window: str


class SourceDataset(Dataset):
    """A `Source` as an MLflow dataset; its digest identifies the description, not the content."""

    def __init__(self, source: Source) -> None:
        self.description = source
        super().__init__(SparkDatasetSource(**{_kind(source.location): source.location}), source.name)

    def _compute_digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self.description)).encode()).hexdigest()[:32]

    @property
    def profile(self) -> dict[str, Any]:
        return {"num_rows": self.description.rows, "window": self.description.window}

    @property
    def schema(self) -> None:
        return None

    def to_dict(self) -> dict[str, str]:
        return {**super().to_dict(), "profile": json.dumps(self.profile)}


def _kind(location: str) -> str:
    """What MLflow's Spark source calls a location."""
    if re.match(r"\s*(select|with|from|values)\s", location, re.IGNORECASE):
        return "sql"
    return "path" if "/" in location or "\\" in location else "table_name"


def read_source(given: DatasetInput) -> Source | None:
    """The `Source` behind a build run's input; None if the input is none."""
    profile = json.loads(given.dataset.profile or "{}")
    if "window" not in profile:
        return None
    where = json.loads(given.dataset.source)
    location = where.get("path") or where.get("table_name") or where.get("sql") or given.dataset.source
    return Source(given.dataset.name, location, profile["num_rows"], profile["window"])
