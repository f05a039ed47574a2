"""Around every request: who may ask, how it is counted."""

from __future__ import annotations

import hmac
import time

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rlbake.serving import metrics
from rlbake.serving.refusal import Refusal

OPEN = ("/health", "/ready")
"""Paths that need no token: what probes ask."""

_NOT_ALLOWED = to_json(Refusal(401, "bring the token: Authorization: Bearer …").content())


class Guard:
    """Asks for the token, and counts requests by path and status.

    Args:
        app: what is guarded.
        token: None: nobody needs one.
        paths: that are counted by name; all others together.
    """

    def __init__(self, app: ASGIApp, token: str | None, paths: frozenset[str]) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode() if token else None
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self._allowed(scope):
                await self._app(scope, receive, counted)
            else:
                refused = Response(_NOT_ALLOWED, 401, {"WWW-Authenticate": "Bearer"}, "application/json")
                await refused(scope, receive, counted)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            metrics.REQUESTS.labels(path, status).inc()
            metrics.REQUEST_SECONDS.labels(path).observe(time.perf_counter() - start)

    def _allowed(self, scope: Scope) -> bool:
        if self._expected is None or scope["path"] in OPEN:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._expected)
