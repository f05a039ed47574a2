"""Answers per second and their latency, against `mlflow models serve` of the same model; then a storm.

python -m benchmarks.serving [--seconds 8] [--clients 8] [--storm 60]

Locust sends the load, in a process of its own on the same machine: clients that each wait for an
answer and ask again, one row or 64 rows at a time, with exploration. rlbake's answers wait until
their decisions are durable; MLflow's server remembers nothing. CPU is that of the server's process
tree. The model is a double DQN over 8 numbers with 10 actions. The storm is `benchmarks.storm`'s.
"""

from __future__ import annotations

import rlbake  # before TensorFlow: it chooses Keras

# isort: split

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil
import requests
from mlflow.tracking import MlflowClient

from benchmarks.scoring import ACTION, FEATURES, KEYS, OBSERVATION, trained
from benchmarks.storm import faults, storm
from rlbake import vocabulary as v
from rlbake.policies.saved import SavedPolicy
from rlbake.registry.versions import register, resolve
from rlbake.tracking.model import log_agent
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect

ROOT = Path(__file__).parents[1]
MODEL = "main.rl.benchmark"
CHAMPION = f"models:/{MODEL}@champion"
ROWS, WORKERS = (1, 64), (1, 2)
WARM_UP_S = 4.0
BOUND = 1.0  # answers per second must be at least this many times MLflow's


class Benchmark(rlbake.Application):
    """Eight numbers, ten actions."""

    name = "benchmark"
    keys = KEYS
    cadence = rlbake.Cadence(start="2026-01-01")
    observation = OBSERVATION
    action = ACTION
    metrics = ("reward",)
    reward = {"reward": 1.0}


@contextmanager
def server(command: list[str], alive: str) -> Iterator[tuple[str, psutil.Process, Path]]:
    """A server until the block ends: its URL, its process, and what it said."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url, said = f"http://127.0.0.1:{port}", Path(f"said_{port}.txt")
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow looks for uvicorn there
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": programs}
    with said.open("w") as output:
        running = subprocess.Popen([*command, "--port", str(port)], env=environment, stdout=output, stderr=output)
    try:
        _until(lambda: requests.get(f"{url}{alive}", timeout=5).status_code == 200, running, said)
        yield url, psutil.Process(running.pid), said
    finally:
        if running.poll() is None:
            for child in psutil.Process(running.pid).children(recursive=True) if "mlflow" in command[0] else ():
                child.send_signal(signal.SIGTERM)
            running.send_signal(signal.SIGTERM)
        running.wait(60)


def ours(workers: int, log: Path) -> list[str]:
    given = {"application": "benchmarks.serving:Benchmark", "model": CHAMPION, "workers": workers, "log": log}
    options = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "entry_points.serve", *options, "--budget_ms", "0", "--refresh_s", "1"]


def theirs(workers: int) -> list[str]:
    mlflow = str(Path(sys.executable).with_name("mlflow"))
    return [mlflow, "models", "serve", "-m", CHAMPION, "--env-manager", "local", "--workers", str(workers)]


def decisions(rows: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    return [
        {KEYS[0]: f"player_{n}", **dict(zip(FEATURES, random.normal(size=len(FEATURES)).tolist(), strict=True))}
        for n in range(rows)
    ]


def bodies(rows: int) -> tuple[Any, Any]:
    """What rlbake and what MLflow are asked."""
    asked = decisions(rows)
    data = [[row[name] for name in FEATURES] for row in asked]
    invocation = {"dataframe_split": {"columns": FEATURES, "data": data}, "params": {"explore": True}}
    return asked[0] if rows == 1 else asked, invocation


def load(url: str, path: str, body: Any, server: psutil.Process, seconds: float, clients: int) -> dict[str, float]:
    """p50 and p99 in ms, requests per second, and the server's CPU in ms per request."""
    Path("body.json").write_text(json.dumps(body))
    told = {"RLBAKE_LOAD_PATH": path, "RLBAKE_LOAD_BODY": "body.json", "RLBAKE_LOAD_TIMES": "times.json"}
    locust = [sys.executable, "-m", "locust", "-f", str(ROOT / "benchmarks" / "load.py"), "--headless"]
    before = _cpu(server)
    ended = subprocess.run(
        [*locust, "-u", str(clients), "-r", str(clients), "-t", f"{seconds:g}s", "--host", url],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
    )
    times = np.array(json.loads(Path("times.json").read_text()))
    if ended.returncode or not len(times):
        raise click.ClickException(f"{path} at {url} does not answer as it should:\n{ended.stdout}{ended.stderr}")
    return {
        "p50": float(np.quantile(times, 0.5)),
        "p99": float(np.quantile(times, 0.99)),
        "rate": len(times) / seconds,
        "cpu": 1000 * (_cpu(server) - before) / len(times),
    }


def compare(seconds: float, clients: int) -> None:
    click.echo("workers  rows  server   p50 ms   p99 ms  requests/s    rows/s  CPU ms/request")
    for workers in WORKERS:
        seen: dict[tuple[str, int], dict[str, float]] = {}
        for who in ("rlbake", "mlflow"):
            command = ours(workers, Path(f"log_{workers}").absolute()) if who == "rlbake" else theirs(workers)
            path, alive = ("/decide", "/ready") if who == "rlbake" else ("/invocations", "/ping")
            with server(command, alive) as (url, process, _):
                for rows in ROWS:
                    body = bodies(rows)[who == "mlflow"]
                    load(url, path, body, process, WARM_UP_S, clients)
                    one = seen[who, rows] = load(url, path, body, process, seconds, clients)
                    click.echo(
                        f"{workers:>7}  {rows:>4}  {who:<6}  {one['p50']:7.1f}  {one['p99']:7.1f}  {one['rate']:10.0f}"
                        f"  {one['rate'] * rows:8.0f}  {one['cpu']:14.2f}"
                    )
        for rows in ROWS:
            mine, other = seen["rlbake", rows], seen["mlflow", rows]
            ratios = f"rate {mine['rate'] / other['rate']:.2f}, p50 {mine['p50'] / other['p50']:.2f}"
            click.echo(
                f"{workers} workers, {rows} rows: {ratios}, CPU {mine['cpu'] / other['cpu']:.2f} times MLflow's"
                f" (bound: rate {BOUND})"
            )


def stormed(seconds: float, clients: int, policies: dict[str, SavedPolicy]) -> None:
    log = Path("log_storm").absolute()
    with server(ours(2, log), "/ready") as (url, process, said):
        seen = storm(
            url,
            decisions(200),
            seconds=seconds,
            clients=clients,
            supervisor=process.pid,
            registry=MlflowClient(),
            name=MODEL,
            versions=("2", "1"),
            every_s=5,
        )
    found = faults(seen, log, policies)
    click.echo(f"storm of {seconds:g} s: {len(seen.answers):,} decisions by {dict(seen.by)}")
    click.echo(f"statuses: {dict(seen.statuses)}")
    click.echo(f"connections of the killed worker: {seen.broken}; what does not hold: {len(found)}")
    for line in [*found[:20], *re.findall(r"^(?:ERROR|Traceback).*", said.read_text(), re.MULTILINE)[:20]]:
        click.echo(f"  {line}")


def registered(folder: Path) -> dict[str, SavedPolicy]:
    """Versions 1 and 2 of the model, the first of them champion."""
    connect()
    exported = trained(folder / "policy")
    for _ in range(2):
        with stage_run("train", application=Benchmark.name):
            info = log_agent(exported, application=Benchmark.name)
        register(resolve(info.model_uri), MODEL)
    MlflowClient().set_registered_model_alias(MODEL, v.CHAMPION, "1")
    return {f"{MODEL}/{n}": SavedPolicy(exported, f"{MODEL}/{n}", explore=True) for n in (1, 2)}


def _cpu(root: psutil.Process) -> float:
    times = [one.cpu_times() for one in [root, *root.children(recursive=True)]]
    return sum(time.user + time.system for time in times)


def _until(condition: Any, running: subprocess.Popen[bytes], said: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and running.poll() is None:
        try:
            if condition():
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise click.ClickException(said.read_text())


@click.command()
@click.option("--seconds", default=8.0, help="Of each measurement.")
@click.option("--clients", default=8)
@click.option("--storm", "storm_s", default=60.0, help="Seconds of it; 0: none.")
def main(seconds: float, clients: int, storm_s: float) -> None:
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        policies = registered(Path(folder))
        if seconds:
            compare(seconds, clients)
        if storm_s:
            stormed(storm_s, clients, policies)


if __name__ == "__main__":
    main()
