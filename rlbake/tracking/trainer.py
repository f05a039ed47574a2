"""Which process trains a run: a sign of life in a tag, so that no two processes train the same run."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType

import psutil
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import StorageError

BEAT_EVERY_S = 10.0
"""How often a process that trains gives a sign of life."""

FRESH_S = 60.0
"""A sign of life from another machine counts for so long; there, a process is only known by its signs."""

SETTLE_S = 1.0
"""How long a claim on a run that was left must stand, in case another process makes one at the same moment."""

_WATCH_S = 1.0
_SAME_START_S = 1.0  # psutil tells starts of processes to a hundredth of a second

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trainer:
    """A process that trains, or trained.

    Attributes:
        machine: host name, boot and process namespace: where process ids mean the same.
        pid: of the process.
        started: when it started, seconds since the epoch.
        claim: another one for each training.
        seen: the last sign of life, seconds since the epoch.
    """

    machine: str
    pid: int
    started: float
    claim: str
    seen: float


def trainer_of(run: Run) -> Trainer | None:
    """Who trains a run, or did when it was cut short."""
    text = run.data.tags.get(v.TAG_TRAINER)
    return Trainer(**json.loads(text)) if text else None


def is_alive(run: Run) -> bool:
    """Whether a process is training the run.

    A process of this machine is looked for. One of another machine lives if its last sign of life changes
    within `FRESH_S` of it, which is waited for; clocks may differ by less than that.
    """
    trainer = trainer_of(run)
    if trainer is None:
        return False
    if trainer.machine == _machine():
        return _runs(trainer)
    if time.time() - trainer.seen < FRESH_S:
        _logger.info("Waiting whether run %s is still being trained by %s.", run.info.run_id, trainer.machine)
    while time.time() - trainer.seen < FRESH_S:
        time.sleep(_WATCH_S)
        again = MlflowClient().get_run(run.info.run_id)
        if trainer_of(again) != trainer or again.info.status == "FINISHED":
            return True
    return False


class Claim:
    """This process trains a run, until the context ends.

    A thread gives its signs of life. Where it finds the claim of another process, made because this one seemed
    dead, the run is that one's: `check` says so.
    """

    def __init__(self, run_id: str) -> None:
        process = psutil.Process()
        self._run_id = run_id
        self._trainer = Trainer(_machine(), process.pid, process.create_time(), uuid.uuid4().hex, time.time())
        self._done = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, name="rlbake-trainer", daemon=True)

    def __enter__(self) -> Claim:
        self._sign()
        self._thread.start()
        return self

    def holds(self) -> bool:
        """Whether the run, which another process has left, was not claimed by one more at the same moment."""
        time.sleep(SETTLE_S)
        self._lost = self._lost or not self._is_ours()
        return not self._lost

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if self._lost:
            return
        try:
            MlflowClient().delete_tag(self._run_id, v.TAG_TRAINER)
        except MlflowException as gone:
            _logger.debug("the claim on run %s could not be taken back: %s", self._run_id, gone)

    def check(self) -> None:
        """
        Raises:
            StorageError: another process trains the run now.
        """
        if self._lost:
            raise StorageError(
                f"run {self._run_id} is trained by another process now, because the tracking store got no sign of "
                f"life from this one for {FRESH_S:g} s. This one stops."
            )

    def _beat(self) -> None:
        while not self._done.wait(BEAT_EVERY_S):
            try:
                if not self._is_ours():
                    self._lost = True
                    return
                self._sign()
            except MlflowException as lost:  # it may come back
                _logger.debug("no sign of life could be given for run %s: %s", self._run_id, lost)

    def _is_ours(self) -> bool:
        now = trainer_of(MlflowClient().get_run(self._run_id))
        return now is not None and now.claim == self._trainer.claim

    def _sign(self) -> None:
        self._trainer = replace(self._trainer, seen=time.time())
        tag = RunTag(v.TAG_TRAINER, json.dumps(asdict(self._trainer)))
        MlflowClient().log_batch(self._run_id, tags=[tag])  # set_tag fails where two processes make the same tag


def _runs(trainer: Trainer) -> bool:
    try:
        process = psutil.Process(trainer.pid)
        same = abs(process.create_time() - trainer.started) < _SAME_START_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _machine() -> str:
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    if boot.is_file() and namespace.is_symlink():
        parts += [boot.read_text().strip(), os.readlink(namespace)]
    return " ".join(parts)
