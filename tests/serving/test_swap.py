"""Another version takes over while requests go on; one that may not does not."""

from __future__ import annotations

import math
import resource
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests
from deltalake import DeltaTable
from mlflow.tracking import MlflowClient

from rlbake.experience.tables import TABLES
from tests.serving.conftest import Serve, Server
from tests.serving.crossing import EPSILON, MODEL
from tests.serving.test_decide import ROW

ACTIONS = ("left", "right", "up")
GREEDY = {f"{MODEL}/1": ("forward", "left"), f"{MODEL}/2": ("backward", "up")}


def consistent(answer: dict) -> bool:
    """Whether a probability is that of the version which says it decided on `ROW`."""
    which, greedy = GREEDY[answer["policy_version"]]
    share = EPSILON[which] / len(ACTIONS)
    expected = 1 - 2 * share if answer["action"] == greedy else share
    return math.isclose(answer["log_probability"], math.log(expected), abs_tol=1e-5)


def metric(server: Server, name: str) -> float:
    lines = [line for line in server.get("/metrics").text.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def worker(server: Server) -> psutil.Process:
    (only,) = [p for p in psutil.Process(server.process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    return only


@pytest.mark.slow
def test_an_alias_that_moves_is_followed_and_every_decision_answered_is_in_the_log(serve: Serve, store: str) -> None:
    server = serve()
    registry = MlflowClient(store, store)
    answers: list[dict] = []
    stopped = False

    def ask() -> None:
        session = requests.Session()
        while not stopped:
            answer = session.post(f"{server.url}/decide", json=[ROW, ROW], timeout=20)
            assert answer.status_code == 200, answer.text
            answers.extend(answer.json())

    def decides(version: int) -> bool:
        return bool(answers) and answers[-1]["policy_version"] == f"{MODEL}/{version}"

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask) for _ in range(4)]
        try:
            server.wait_for(lambda: decides(1))
            registry.set_registered_model_alias(MODEL, "champion", "2")
            server.wait_for(lambda: decides(2))

            registry.set_registered_model_alias(MODEL, "champion", "3")
            server.wait_for(lambda: "other actions" in server.printed)
            registry.delete_registered_model_alias(MODEL, "champion")
            server.wait_for(lambda: "its aliases are" in server.printed)
            assert decides(2)

            registry.set_registered_model_alias(MODEL, "champion", "1")
            server.wait_for(lambda: decides(1))
        finally:
            stopped = True
        for one in asking:
            one.result()
    assert all(consistent(answer) for answer in answers)
    assert metric(server, "rlbake_model_swaps_total") == 3
    assert metric(server, "rlbake_model_refusals_total") == 2
    assert metric(server, 'rlbake_requests_total{path="/decide",status="200"}') == len(answers) / 2
    assert server.printed.count("other actions") == 1

    told = server.post(
        "/outcome", [{"decision_id": answers[0]["decision_id"], "arrived": 1}, {"car_id": "c1", "cost": 2}]
    )
    assert told.json() == {"outcomes": 2}

    unwritable = worker(server).pid
    before = resource.prlimit(unwritable, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    for path, body in (("/decide", ROW), ("/outcome", {"car_id": "c1", "cost": 2})):
        refused = server.post(path, body)
        assert refused.status_code == 503
        assert "the experience log cannot be written to" in refused.json()["detail"][0]["reason"]
    assert server.get("/ready").status_code == 503
    resource.prlimit(unwritable, resource.RLIMIT_FSIZE, before)
    assert server.get("/ready").status_code == 200
    answers.append(server.post("/decide", ROW).json())

    assert server.end() == 0
    decisions, outcomes = (DeltaTable(server.log / table).to_pyarrow_table() for table in TABLES)
    assert Counter(decisions["decision_id"].to_pylist()) == Counter(answer["decision_id"] for answer in answers)
    assert outcomes.num_rows == 2
    by_id = {row["decision_id"]: row for row in decisions.to_pylist()}
    for answer in answers:
        row = by_id[answer["decision_id"]]
        for column in ("action", "action_index", "log_probability", "policy_version", "fallback"):
            assert row[column] == answer[column]
        assert row["car_id"] == "c1"
        assert row["observation"] == {
            "speed": 2.0,
            "load": 5.0,
            "member": True,
            "country": "DE",
            "battery": None,
            "tyre": None,
        }
