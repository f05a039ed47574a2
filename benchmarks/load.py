"""Load for Locust: clients that send one request after the other, as `benchmarks.serving` says in the environment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, events, task

_times: list[float] = []


class Client(FastHttpUser):
    """Waits for an answer, and asks again."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.body = Path(os.environ["RLBAKE_LOAD_BODY"]).read_bytes()

    @task
    def ask(self) -> None:
        self.client.post(os.environ["RLBAKE_LOAD_PATH"], data=self.body, headers={"Content-Type": "application/json"})


@events.request.add_listener
def answered(response_time: float, exception: Exception | None, **_: Any) -> None:
    if exception is None:
        _times.append(response_time)


@events.quitting.add_listener
def end(**_: Any) -> None:
    Path(os.environ["RLBAKE_LOAD_TIMES"]).write_text(json.dumps(_times))
