"""A run that was cut short is taken over by one process, and never while somebody trains it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import DataError, RlbakeError, StorageError
from rlbake.period.checkpoints import Checkpoints, checkpointed
from rlbake.tracking import checkpoints, trainer
from rlbake.tracking.runs import StageRun, stage_run
from rlbake.tracking.store import connect
from rlbake.tracking.trainer import Claim
from rlbake.tracking.unfinished import take_over
from rlbake.training.checkpoint import Checkpoint

DIGEST = "d" * 32


@pytest.fixture
def client(tracking_uri: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    caplog.set_level(logging.INFO, "rlbake")
    monkeypatch.setattr(trainer, "SETTLE_S", 0.2)
    monkeypatch.setattr(trainer, "BEAT_EVERY_S", 0.1)
    monkeypatch.setattr(trainer, "_WATCH_S", 0.1)
    connect("runs")
    return MlflowClient()


def moment(steps: int) -> Checkpoint:
    return Checkpoint(steps, {"network": [np.full(3, steps, np.float32)]}, {})


@contextmanager
def training() -> Iterator[StageRun]:
    with stage_run("train", application="a") as run:
        run.tag({v.TAG_TRAINING: DIGEST})
        yield run


def cut_short(client: MlflowClient, steps: int = 500) -> str:
    """The id of a run that was killed; it looks as if this process had never seen it."""
    with training() as run:
        checkpoints.save(run, moment(steps))
    client.update_run(run.run_id, "RUNNING")
    return run.run_id


def failed_with(failure: BaseException) -> str:
    """The id of a run that had a checkpoint when it failed."""
    try:
        with training() as run, checkpointed(run, None):
            checkpoints.save(run, moment(500))
            raise failure
    except type(failure):
        return run.run_id


def taken(digest: str | None = DIGEST) -> str | None:
    with take_over(digest) as cut:
        return cut.run_id if cut else None


def signed_by(client: MlflowClient, run_id: str, process: psutil.Process, machine: str | None = None) -> None:
    seen = {"claim": "c", "seen": time.time(), "pid": process.pid, "started": process.create_time()}
    client.set_tag(run_id, v.TAG_TRAINER, json.dumps({**seen, "machine": machine or trainer._machine()}))


def test_the_latest_run_that_was_cut_short_is_taken_over_and_finished(
    client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    cut_short(client)
    second = cut_short(client, 1500)
    assert taken("e" * 32) is taken(None) is None
    with (
        take_over(DIGEST) as cut,
        stage_run("train", application="a", resume=cut.run_id) as run,
        checkpointed(run, cut),
    ):
        assert (run.run_id, cut.checkpoint.steps) == (second, 1500)
        assert cut.checkpoint.variables["network"][0].tolist() == [1500] * 3
        assert client.get_run(second).info.status == "RUNNING"
        assert taken() != second  # this process has it
    assert f"Resuming run {second} from step 1,500." in caplog.text
    ended = client.get_run(second)
    assert ended.info.status == "FINISHED"
    assert not {v.TAG_CHECKPOINT, v.TAG_TRAINER} & ended.data.tags.keys()
    assert client.list_artifacts(second) == []
    assert taken() != second


def test_the_newest_checkpoint_counts_and_a_half_written_one_never(
    client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    with training() as run:
        for steps in (500, 1000, 1500):
            checkpoints.save(run, moment(steps))
    assert len(client.list_artifacts(run.run_id, "checkpoint")) == 2
    assert checkpoints.load(client.get_run(run.run_id)).steps == 1500

    folder = Path(urlsplit(client.get_run(run.run_id).info.artifact_uri).path) / "checkpoint"
    (folder / "b.npz").write_bytes(b"half")  # the next one was being written over the one before the last
    assert checkpoints.load(client.get_run(run.run_id)).steps == 1500
    (folder / "a.npz").write_bytes((folder / "a.npz").read_bytes()[:-1])
    assert checkpoints.load(client.get_run(run.run_id)) is None
    assert "is damaged" in caplog.text
    client.update_run(run.run_id, "RUNNING")
    assert taken() is None
    (folder / "a.npz").unlink()
    assert checkpoints.load(client.get_run(run.run_id)) is None


def test_a_refused_training_is_never_resumed_and_an_interrupted_one_is(client: MlflowClient) -> None:
    for failure, resumed in (
        (DataError("bad rows"), False),
        (RlbakeError("diverged"), False),
        (StorageError("the store is gone"), True),
        (KeyboardInterrupt(), True),
        (MemoryError(), True),
    ):
        run_id = failed_with(failure)
        assert client.get_run(run_id).info.status in ("FAILED", "KILLED")
        assert taken() == (run_id if resumed else None)
        checkpoints.remove(run_id)


def test_a_resumed_run_forgets_that_it_failed(client: MlflowClient) -> None:
    with pytest.raises(KeyboardInterrupt), training() as run, checkpointed(run, None):
        raise KeyboardInterrupt
    with stage_run("train", application="a", resume=run.run_id):
        pass
    ended = client.get_run(run.run_id)
    assert ended.info.status == "FINISHED"
    assert v.TAG_FAILURE not in ended.data.tags


def test_a_run_is_not_resumed_on_what_it_was_not_trained_on(client: MlflowClient) -> None:
    run_id = cut_short(client)
    with (
        take_over(DIGEST) as cut,
        pytest.raises(StorageError, match="has changed at this moment"),
        stage_run("train", application="a", resume=cut.run_id) as run,
        checkpointed(run, cut) as kept,
    ):
        kept.of("e" * 32)
    assert client.get_run(run_id).data.tags[v.TAG_TRAINING] == DIGEST
    assert taken() == run_id


def test_the_run_around_a_resumed_one_names_it(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = cut_short(client)
    with stage_run("main", application="a") as outer, stage_run("train", application="a", resume=cut) as run:
        assert run.run_id == cut
    assert client.get_run(outer.run_id).data.tags[v.TAG_RESUMED] == cut

    given = client.create_run(client.get_run(cut).info.experiment_id).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", given)
    client.update_run(cut, "RUNNING")
    with take_over(DIGEST) as found, stage_run("train", application="a", resume=found.run_id) as run:
        assert run.run_id == cut
    for run_id in (cut, given):
        assert client.get_run(run_id).info.status == "FINISHED"
        assert client.get_run(run_id).data.tags[v.TAG_STAGE] == "train"
    assert client.get_run(given).data.tags[v.TAG_RESUMED] == cut


def test_a_process_of_this_machine_is_looked_for(client: MlflowClient, caplog: pytest.LogCaptureFixture) -> None:
    run_id = cut_short(client)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    signed_by(client, run_id, psutil.Process(process.pid))
    assert taken() is None
    assert f"Run {run_id} is the same training, going on at this moment" in caplog.text
    process.kill()
    process.wait()
    assert taken() == run_id


def test_a_process_of_another_machine_is_known_by_its_signs_of_life(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = cut_short(client)
    signed_by(client, run_id, psutil.Process(), machine="elsewhere")
    done = threading.Event()

    def sign() -> None:
        while not done.wait(0.1):
            signed_by(client, run_id, psutil.Process(), machine="elsewhere")

    elsewhere = threading.Thread(target=sign)
    elsewhere.start()
    assert taken() is None
    done.set()
    elsewhere.join()
    monkeypatch.setattr(trainer, "FRESH_S", 2.0)
    last, began = trainer.trainer_of(client.get_run(run_id)), time.time()
    assert taken() == run_id
    assert last is not None
    assert time.time() > max(began, last.seen + 2.0)


def test_of_two_that_claim_a_run_at_the_same_moment_one_gets_it(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SETTLE_S", 2.0)
    run_id = cut_short(client)
    barrier = threading.Barrier(2, timeout=60)

    def claim(_: int) -> bool:
        barrier.wait()
        with Claim(run_id) as own:
            holds = own.holds()
            barrier.wait()
            return holds

    with ThreadPoolExecutor(2) as both:
        assert sorted(both.map(claim, range(2))) == [False, True]


def test_a_process_whose_run_was_taken_over_stops(client: MlflowClient) -> None:
    def until_stopped(kept: Checkpoints, run_id: str) -> None:
        kept.on_chunk(lambda: moment(1))
        signed_by(client, run_id, psutil.Process(), machine="elsewhere")
        for _ in range(600):
            time.sleep(0.05)
            kept.on_chunk(lambda: moment(2))

    stopped = pytest.raises(StorageError, match="is trained by another process")
    with training() as run, checkpointed(run, None) as kept, stopped:
        until_stopped(kept, run.run_id)
    assert json.loads(client.get_run(run.run_id).data.tags[v.TAG_TRAINER])["machine"] == "elsewhere"
