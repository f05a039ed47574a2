"""Killed anywhere and run again, a step leaves what an undisturbed one would have left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import mlflow
import numpy as np
import pytest
from deltalake import DeltaTable
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.registry.versions import policy_dir, resolve
from rlbake.training.fitted import read_warm_start
from rlbake.warehouse.table import Table
from tests.end_to_end.conftest import Enter
from tests.period.test_build import APPLICATION, Logs, Row, step

ROOT = Path(__file__).parent.parent.parent
TABLES = ("timesteps", "open", "trajectories")
NAME = "main.rl.message_timing"
FEW = """
from rlbake.scenarios.message_timing import MessageTiming

class Few(MessageTiming):
    units = 2000
"""
OFTEN = """
import rlbake.period.checkpoints

rlbake.period.checkpoints.EVERY_S = 0.0
"""


def start(entry_point: str, folder: Path, *arguments: str, application: str = "few.py:Few") -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    return subprocess.Popen(
        [sys.executable, "-m", f"entry_points.{entry_point}", "--application", application, *arguments],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What it printed."""
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    return printed


def kill(process: subprocess.Popen[str]) -> str:
    """SIGKILLs the whole process group, the JVM too; returns what it had printed."""
    os.killpg(process.pid, signal.SIGKILL)
    _, printed = process.communicate()
    assert process.returncode == -signal.SIGKILL, printed
    return printed


def kill_once_there(process: subprocess.Popen[str], path: Path) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.005)
    kill(process)


def use(path: Path) -> None:
    """Points MLflow at the store of a folder."""
    store = f"sqlite:///{path}/mlflow.db"
    mlflow.set_tracking_uri(store)
    mlflow.set_registry_uri(store)


def trainings(path: Path) -> list[Run]:
    use(path)
    where = f"tags.`{v.TAG_STAGE}` = 'train'"
    return mlflow.search_runs(search_all_experiments=True, filter_string=where, output_format="list")


def kill_once_kept(process: subprocess.Popen[str], path: Path, steps: int) -> str:
    """SIGKILLs a training once it has kept a checkpoint of so many steps."""
    while process.poll() is None:
        checkpoints = [json.loads(run.data.tags.get(v.TAG_CHECKPOINT, "{}")) for run in trainings(path)]
        if any(checkpoint.get("steps", 0) >= steps for checkpoint in checkpoints):
            break
        time.sleep(0.2)
    return kill(process)


def weights(path: Path) -> dict[str, list[bytes]]:
    """All variables of the only version."""
    use(path)
    (version,) = MlflowClient().search_model_versions(f"name = '{NAME}'")
    warm = read_warm_start(policy_dir(resolve(version.version, name=NAME)))
    return {part: [value.tobytes() for value in values] for part, values in warm.variables.items()}


def losses(path: Path, run: Run) -> list[tuple[int, float]]:
    use(path)
    return [(seen.step, seen.value) for seen in MlflowClient().get_metric_history(run.info.run_id, "train/loss")]


def rows(folder: Path, table: str) -> dict[str, object]:
    delta = Table(str(folder / "tables/message_timing" / table))
    stored = DeltaTable(delta.uri).to_pyarrow_table()
    return {"contents": delta.contents(), "rows": stored.num_rows, "digest": delta.digest()}


@pytest.mark.slow
def test_a_build_and_a_training_killed_halfway(enter: Enter, migrated_store: Path, tmp_path: Path):
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path
    disturbed.mkdir()
    (disturbed / "mlflow.db").write_bytes(migrated_store.read_bytes())
    (disturbed / "few.py").write_text(FEW + OFTEN)
    (undisturbed / "few.py").write_text(FEW)
    build = {"date": "2026-01-02", "start": "2026-01-01"}
    train = {"set": "steps=3000,batch_size=64,overfit=20", "tensorboard": "events"}  # ends early
    for entry_point, parameters in (("build_trajectories", build), ("train", train)):
        done = enter(entry_point, application="few.py:Few", **parameters)
        assert done.exit_code == 0, done.printed

    def started(entry_point: str, parameters: dict[str, str]) -> subprocess.Popen[str]:
        arguments = [text for name, value in parameters.items() for text in (f"--{name}", value)]
        return start(entry_point, disturbed, *arguments)

    for moment in ("timesteps/_delta_log", "open/_delta_log"):
        kill_once_there(started("build_trajectories", build), disturbed / "tables/message_timing" / moment)
    finish(started("build_trajectories", build))
    for table in TABLES:
        assert rows(disturbed, table) == rows(undisturbed, table), table

    kill_once_kept(started("train", train), disturbed, steps=200)
    resumed = kill_once_kept(started("train", train), disturbed, steps=900)
    finished = finish(started("train", train))
    for table in TABLES:
        assert rows(disturbed, table) == rows(undisturbed, table), table
    (run,), (other,) = trainings(disturbed), trainings(undisturbed)
    for printed in (resumed, finished):
        assert f"Resuming run {run.info.run_id} from step" in printed
    assert run.info.status == other.info.status == "FINISHED"
    assert run.data.metrics["train/steps"] == other.data.metrics["train/steps"] < 3000
    assert weights(disturbed) == weights(undisturbed)
    assert losses(disturbed, run) == losses(undisturbed, other)  # each step once, whoever took it
    assert len(list((disturbed / "events" / run.info.run_id).iterdir())) == 3


KILLS = 4
DAYS = ("2026-01-01", "2026-01-02")
LATE_TABLES = (*TABLES, "quarantine")

Rows = dict[tuple[str, str], int]
"""A hash of the rows, by table and window."""


def history(player: str, late: bool) -> Iterator[Row]:
    """What a player did in two days, some of it bad; and what of it arrives late."""
    for day in range(1, len(DAYS) + 1):
        for hour in (13, 23) if late else (10, 11, 12):
            yield step(
                player, f"{day} {hour}:00", x=hour, click=float(hour % 3), end="truncated" if hour == 11 else None
            )
        if player.endswith("0"):
            yield step(player, f"{day} {14 + late}:00", action="jump")


class LateLogs(Logs):
    """Logs of which some rows are there, or not yet."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        players = [f"p{n}" for n in range(200)]
        self.write(row for player in players for row in history(player, late=False))
        early = set((folder / "logs").glob("*/*"))
        self.write(row for player in players[::3] for row in history(player, late=True))
        self._late = set((folder / "logs").glob("*/*")) - early

    def complete(self, complete: bool) -> None:
        """Has the late rows arrive, or takes them away."""
        for file in self._late:
            aside = file.with_name(f"_{file.name}")  # which Spark does not read
            before, after = (aside, file) if complete else (file, aside)
            if before.exists():
                before.rename(after)

    def rows(self) -> Rows:
        """All that readers see; each window of a table is of one build, and its files are there."""
        found: Rows = {}
        for name in LATE_TABLES:
            found |= rows_by_window(name, self.table(name))
        return found

    def table(self, name: str) -> DeltaTable:
        return DeltaTable(self.folder / "tables/late_logs" / name)


def rows_by_window(name: str, delta: DeltaTable) -> Rows:
    rows: dict[str, list[str]] = {day: [] for day in DAYS}
    for row in delta.to_pyarrow_table().to_pylist():
        rows[row["ds"]].append(repr(row))
    folders = {(Path(file).parent.parent.name, Path(file).parent) for file in delta.file_uris()}
    assert len(folders) == len(DAYS), "a window has files of two builds"
    return {(name, day): hash(tuple(sorted(of))) for day, of in rows.items()}


@contextmanager
def reading(logs: LateLogs, seen: set[tuple[tuple[str, str], int]]) -> Iterator[None]:
    """Reads every version of every table as soon as it is there."""
    done, failures = Event(), []

    def read() -> None:
        versions = dict.fromkeys(LATE_TABLES, -1)
        try:
            while not done.wait(0.02):
                for name in LATE_TABLES:
                    delta = logs.table(name)
                    if delta.version() != versions[name]:
                        versions[name] = delta.version()
                        seen.update(rows_by_window(name, delta).items())
        except Exception as error:
            failures.append(error)

    reader = Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        done.set()
        reader.join()
    assert not failures


def seconds(build: subprocess.Popen[str]) -> float:
    """How long an undisturbed build takes from its first window on."""
    wait_for_stale(build)
    began = time.monotonic()
    finish(build)
    return time.monotonic() - began


def killed_after(build: subprocess.Popen[str], seconds: float) -> bool:
    """SIGKILLs a build so many seconds after it began with its first window; False if it had ended by then."""
    wait_for_stale(build)
    try:
        assert build.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        kill(build)
        return True
    return False


def wait_for_stale(build: subprocess.Popen[str]) -> None:
    assert build.stderr is not None
    printed = []
    while (line := build.stderr.readline()) and "Stale window, built again" not in line:
        printed.append(line)
    assert line, printed


@pytest.mark.slow
def test_a_build_killed_at_random_moments(spark: object, tracking_uri: str, tmp_path: Path) -> None:
    """Four times late rows come or go, and the build that takes them in is killed: then it is run again."""
    random = np.random.default_rng(0)
    logs = LateLogs(tmp_path)
    command = ("build_trajectories", tmp_path, "--date", DAYS[-1], "--tables", str(tmp_path / "tables"))
    complete = {}
    for arrived in (True, False):
        logs.complete(arrived)
        logs.build(len(DAYS), start=1)
        complete[arrived] = logs.rows()
    assert all(complete[True][of] != complete[False][of] for of in complete[True])

    arrived = True
    logs.complete(arrived)
    lasts = seconds(start(*command, application=APPLICATION))
    assert logs.rows() == complete[arrived]
    moments = [(number + random.random()) / KILLS for number in random.permutation(KILLS)]
    seen: set[tuple[tuple[str, str], int]] = set()
    with reading(logs, seen):
        for moment in moments:
            logs.complete(arrived := not arrived)
            while not killed_after(start(*command, application=APPLICATION), moment * lasts):
                lasts *= 0.8  # it was faster than the one that was measured, and has done its work
                logs.complete(arrived := not arrived)
            left = logs.rows()
            assert all(rows in (complete[True][of], complete[False][of]) for of, rows in left.items())
            logs.build(len(DAYS))
            assert logs.rows() == complete[arrived]
    assert seen == {*complete[True].items(), *complete[False].items()}
