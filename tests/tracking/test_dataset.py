"""Dataset lineage through the store and back, with and without rlbake on the reading side."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import mlflow
import pytest
from mlflow.data.spark_dataset_source import SparkDatasetSource
from mlflow.exceptions import MlflowException

from rlbake import vocabulary as v
from rlbake.tracking.dataset import (
    Source,
    TrajectoryDataset,
    read_source,
    read_trajectory_dataset,
)
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect

DIGEST = "0123456789abcdef0123456789abcdef"
DAYS = tuple(f"2026-01-{day:02d}" for day in range(1, 31))


def _dataset(version: int = 0, build_runs: tuple[str, ...] = ("b1",)) -> TrajectoryDataset:
    return TrajectoryDataset(
        "cartpole.trajectories",
        uri="/data/tables/cartpole/trajectories",
        version=version,
        windows=DAYS,
        digest=DIGEST,
        rows=30_000,
        build_runs=build_runs,
    )


@pytest.fixture(autouse=True)
def _store(tracking_uri: str) -> None:
    connect()


def test_a_trajectory_dataset_comes_back_as_it_went_in() -> None:
    builds = tuple(f"{i:032x}" for i in range(40))  # together longer than an input tag may be
    with stage_run("train", application="cartpole") as run:
        run.log_input(_dataset(build_runs=builds), "training")
    (given,) = mlflow.get_run(run.run_id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("cartpole.trajectories", DIGEST)
    assert json.loads(given.dataset.profile) == {"num_rows": 30_000}
    tags = {tag.key: tag.value for tag in given.tags}
    assert tags["mlflow.data.context"] == "training"
    assert tags["rlbake.table_version"] == "0"
    assert tags["rlbake.windows"] == "2026-01-01 to 2026-01-30 (30)"
    assert tags[v.TAG_BUILD_RUNS].endswith("…")
    read = read_trajectory_dataset(run.run_id, given)
    assert read is not None
    assert read.manifest() == _dataset(build_runs=builds).manifest()


def test_equal_content_in_another_version_is_the_same_dataset_but_keeps_its_own_version() -> None:
    runs = []
    for version in (0, 7):
        with stage_run("train", application="cartpole") as run:
            run.log_input(_dataset(version, (f"b{version}",)), "training")
        runs.append(mlflow.get_run(run.run_id))
    read = [read_trajectory_dataset(r.info.run_id, r.inputs.dataset_inputs[0]) for r in runs]
    assert [d.version for d in read if d] == [0, 7]
    assert [d.build_runs for d in read if d] == [("b0",), ("b7",)]
    assert len({r.inputs.dataset_inputs[0].dataset.digest for r in runs}) == 1


def test_a_reader_without_rlbake_sees_a_spark_source_with_the_path(tracking_uri: str) -> None:
    with stage_run("train", application="cartpole") as run:
        run.log_input(_dataset(), "training")
    code = (
        "import sys, mlflow\n"
        f"(given,) = mlflow.get_run({run.run_id!r}).inputs.dataset_inputs\n"
        "source = mlflow.data.get_source(given)\n"
        "assert not any(m.split('.')[0] == 'rlbake' for m in sys.modules)\n"
        "sys.stdout.write(f'{type(source).__name__} {source.to_dict()}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "SparkDatasetSource {'path': '/data/tables/cartpole/trajectories'}"


def test_the_stored_source_names_version_and_windows() -> None:
    source = json.loads(_dataset().to_dict()["source"])
    assert source == {"path": "/data/tables/cartpole/trajectories", "version": 0, "windows": list(DAYS)}
    assert _dataset().to_dict()["source_type"] == SparkDatasetSource._get_source_type()


def test_very_many_windows_still_fit_the_store() -> None:
    hours = tuple(f"{2020 + i // 8760}-01-01T{i % 8760:05d}" for i in range(20_000))
    wide = TrajectoryDataset("t", uri="/t", version=1, windows=hours, digest=DIGEST, rows=1)
    with stage_run("train", application="a") as run:
        run.log_input(wide, "training")
    (given,) = mlflow.get_run(run.run_id).inputs.dataset_inputs
    read = read_trajectory_dataset(run.run_id, given)
    assert read is not None
    assert read.windows == hours


def test_a_dataset_without_the_tables_digest_is_refused() -> None:
    with pytest.raises(MlflowException, match="digest"):
        TrajectoryDataset("t", uri="/t", version=0, windows=DAYS, digest="", rows=1)


def test_sources_of_a_build_come_back_with_their_row_counts() -> None:
    sources = [
        Source("decisions", "/logs/decisions", 1200, "2026-01-01"),
        Source("decisions", "/logs/decisions", 1300, "2026-01-02"),
        Source("players", "warehouse.players", None, "2026-01-01"),
    ]
    with stage_run("build_trajectories", application="a") as run:
        run.log_sources(sources)
        run.log_sources([])
    given = mlflow.get_run(run.run_id).inputs.dataset_inputs
    assert sorted((read_source(g) for g in given), key=str) == sorted(sources, key=str)
