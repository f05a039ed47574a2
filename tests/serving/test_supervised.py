"""Workers that die, in a server of real processes."""

from __future__ import annotations

import os
import signal
import time

from benchmarks.storm import workers
from tests.serving.conftest import Serve


def test_a_worker_that_dies_before_it_answers_its_supervisor_is_replaced_at_once(serve: Serve) -> None:
    server = serve()
    supervisor = server.process.pid
    (worker,) = workers(supervisor)
    worker.send_signal(signal.SIGSTOP)
    time.sleep(2)  # by then its supervisor has asked whether it lives, and waits for the answer
    worker.send_signal(signal.SIGKILL)
    server.wait_for(lambda: {process.pid for process in workers(supervisor)} - {worker.pid}, seconds=10)
    server.wait_for(server.alive)
    assert server.end() == 0


def test_ctrl_c_while_workers_start_ends_without_a_traceback(serve: Serve) -> None:
    server = serve(wait=False, workers=2)
    server.wait_for(lambda: len(workers(server.process.pid)) == 2)
    time.sleep(1)  # they are importing
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.process.wait(60) == 0
    assert "Traceback" not in server.printed
