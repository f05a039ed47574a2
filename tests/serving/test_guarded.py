"""Who may ask, and how much; what a server that does not wait for its log tells."""

from __future__ import annotations

import resource

import pytest
import requests

from rlbake.serving.settings import TOKEN
from tests.serving.conftest import Serve, Server
from tests.serving.test_decide import ROW
from tests.serving.test_swap import worker

SECRET = "a long secret"
BEARER = {"Authorization": f"Bearer {SECRET}"}
PAGE = "https://page.example"


@pytest.mark.slow
def test_a_guarded_server(serve: Serve) -> None:
    server = serve({TOKEN: SECRET}, cors=PAGE, durability="at_most_once", max_rows=2, max_bytes=1000)

    for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": SECRET}):
        for path in ("/decide", "/outcome"):
            refused = server.post(path, ROW, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        for path in ("/metrics", "/version", "/docs", "/openapi.json"):
            assert server.get(path, headers=headers).status_code == 401
    assert server.get("/health").status_code == 200
    assert server.get("/ready").status_code == 200
    assert server.post("/decide", ROW, headers=BEARER).status_code == 200
    assert server.get("/openapi.json", headers=BEARER).json()["security"] == [{"token": []}]

    assert server.post("/decide", [ROW] * 3, headers=BEARER).status_code == 422
    assert server.post("/decide", {**ROW, "car_id": "x" * 1000}, headers=BEARER).status_code == 413

    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = requests.options(f"{server.url}/decide", headers=asked, timeout=20)
    assert allowed.headers["access-control-allow-origin"] == PAGE
    stranger = requests.options(
        f"{server.url}/decide", headers={**asked, "Origin": "https://other.example"}, timeout=20
    )
    assert "access-control-allow-origin" not in stranger.headers

    resource.prlimit(worker(server).pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    assert server.post("/decide", ROW, headers=BEARER).status_code == 200
    server.wait_for(lambda: "1 answered decisions are lost" in server.printed)
    resource.prlimit(worker(server).pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    lost = server.get("/metrics", headers=BEARER).text
    assert 'rlbake_log_failures_total{durability="at_most_once"} 1.0' in lost
    assert server.end() == 0
    assert SECRET not in server.printed


def test_no_page_may_ask_unless_it_is_named(server: Server) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    preflight = requests.options(f"{server.url}/decide", headers=asked, timeout=20)
    assert preflight.status_code == 405
    assert not any(name.startswith("access-control") for name in preflight.headers)
