"""The HTTP interface of one worker process."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version as version_of
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from rlbake.application import Application, load_application
from rlbake.errors import RlbakeError
from rlbake.quiet import tensorflow as tf
from rlbake.serving import metrics
from rlbake.serving.description import described, document
from rlbake.serving.fallback import Fallback
from rlbake.serving.guard import Guard
from rlbake.serving.lookup import Lookup
from rlbake.serving.model import LiveModel, Version
from rlbake.serving.refusal import Refusal
from rlbake.serving.remember import experience_log
from rlbake.serving.service import Service
from rlbake.serving.settings import TOKEN, Settings
from rlbake.tracking.store import connect

PATHS = frozenset({"/decide", "/outcome", "/health", "/ready", "/metrics", "/version", "/docs", "/openapi.json"})

_JSON = "application/json"
_SWITCH_S = 0.0005  # a tenth of Python's own: while the log is moved, a request waits that long for each of its threads

_logger = logging.getLogger(__name__)


def create() -> FastAPI:
    """The application that uvicorn's workers run, as the settings in their environment say."""
    settings = Settings.handed_over()
    try:
        return _created(settings)
    except RlbakeError as error:
        _logger.error("This worker could not start: %s", error)
        sys.exit(1)  # its supervisor tries again


def _created(settings: Settings) -> FastAPI:
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)  # one row is no work to share; workers share the cores
    tf.config.threading.set_inter_op_parallelism_threads(1)
    application = load_application(settings.application, settings.tables)
    connect(experiment=None)
    metrics.forget_dead_processes()
    model = LiveModel(
        settings.model, application, settings.exploration, on_swap=_Swaps(), on_refusal=lambda _: metrics.REFUSALS.inc()
    )
    model.refresh()
    lookup = Lookup(settings.features, application.keys, application.observation) if settings.features else None
    log = experience_log(settings, application)
    service = Service(
        settings,
        application,
        model=model,
        fallback=Fallback(application, settings.fallback),
        lookup=lookup,
        log=log,
    )

    def refresh() -> None:
        model.refresh()
        if lookup is not None:
            lookup.refresh()
            metrics.KEYS.set(len(lookup))

    refresh()
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()  # what is here now stays: looking through it for garbage stops all requests for a third of a second

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with _Repeated(refresh, settings.refresh_s):
            yield
        service.close()
        log.close()

    return interface(settings, application, service, model, lifespan)


def interface(
    settings: Settings, application: Application, service: Service, model: LiveModel, lifespan: Any = None
) -> FastAPI:
    """The paths, and what they take and answer."""
    app = FastAPI(
        title=f"{application.name}: decisions",
        version=version_of("rlbake"),
        description=(application.__doc__ or "").strip(),
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    token = os.environ.get(TOKEN)
    app.add_middleware(Guard, token=token, paths=PATHS)
    if settings.cors:
        headers = ["Authorization", "Content-Type"]
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors, allow_methods=["*"], allow_headers=headers)

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> Response:
        return _answer(refusal.content(), refusal.status)

    @app.post("/decide", **described(service.decisions, application.action))
    async def decide(request: Request) -> Response:
        """Decides on one row, or on each of a list of them."""
        return _answer(await service.decide(await _body(request, settings.max_bytes)))

    @app.post("/outcome", **described(service.outcomes))
    async def outcome(request: Request) -> Response:
        """Takes what followed a decision, which is named by its id or found by its key and time."""
        return _answer(await service.outcome(await _body(request, settings.max_bytes)))

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process lives."""
        return {"status": "alive"}

    @app.get("/ready", responses={503: {"description": "No model is loaded, or the log cannot be written to."}})
    async def ready() -> dict[str, str]:
        """A model is loaded, and the log can be written to."""
        await service.ready()
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def exposed() -> Response:
        """For Prometheus, over all workers."""
        content, type_ = metrics.exposition()
        return Response(content, media_type=type_)

    @app.get("/version")
    async def version() -> dict[str, Any]:
        """Who decides now, in the process that answers."""
        current = model.current
        return {
            "application": application.name,
            "model": model.uri,
            "policy_version": current.policy.version if current else None,
            "model_id": current.resolved.model_id if current else None,
            "since": current.since.isoformat() if current else None,
            "rlbake": version_of("rlbake"),
        }

    app.openapi = lambda: document(app, token=bool(token))  # type: ignore[method-assign] # FastAPI's own way to extend it
    return app


class _Swaps:
    """Tells of versions that take over."""

    def __init__(self) -> None:
        self._before: str | None = None

    def __call__(self, version: Version) -> None:
        name = version.policy.version
        _logger.info("%s decides.", name)
        metrics.SWAPS.labels(name).inc()
        metrics.SINCE.labels(name).set(version.since.timestamp())
        if self._before is not None:
            metrics.SINCE.labels(self._before).set(0)
        self._before = name


class _Repeated:
    """Calls something every few seconds in a thread of its own, while the block lasts."""

    def __init__(self, what: Callable[[], None], seconds: float) -> None:
        self._what, self._seconds = what, seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refresh", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._what()


def _answer(content: Any, status: int = 200) -> Response:
    return Response(to_json(content), status, media_type=_JSON)


async def _body(request: Request, most: int) -> bytes:
    """Raises a Refusal if it is not JSON or too long, before all of it has been read."""
    type_ = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if type_ != _JSON:
        raise Refusal(415, f"content type {type_!r}: send {_JSON}.")
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise Refusal(413, f"the body is longer than {most:,} bytes: send fewer rows at once.")
            parts.append(part)
    except ClientDisconnect:
        raise Refusal(400, "the client went away before its request was complete.") from None
    return b"".join(parts)
