"""A request's way: checked, completed, decided, remembered, answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

from rlbake import vocabulary as v
from rlbake.application import Application
from rlbake.errors import RlbakeError
from rlbake.experience.rows import Decision, Outcome
from rlbake.serving import metrics
from rlbake.serving.batching import Batcher
from rlbake.serving.chosen import Chosen, Row, named
from rlbake.serving.contract import Rows, decision_rows, outcome_rows
from rlbake.serving.fallback import Fallback
from rlbake.serving.lookup import Lookup
from rlbake.serving.model import LiveModel
from rlbake.serving.refusal import Complaint, Refusal
from rlbake.serving.settings import AT_LEAST_ONCE, AT_MOST_ONCE, Settings

LOG_TIMEOUT_S = 10.0
"""How long an answer waits for the experience log before it is refused."""

_BUDGET, _FAILED = "budget", "model"  # why the fallback decided

_logger = logging.getLogger(__name__)


class Log(Protocol):
    """Where decisions and outcomes are remembered: `rlbake.experience.log.Experience`."""

    def log_decisions(self, rows: Sequence[Decision]) -> Future[None]: ...

    def log_outcomes(self, rows: Sequence[Outcome]) -> Future[None]: ...


class Service:
    """Answers requests of one process. To be used within one event loop.

    Args:
        settings: the server's.
        application: whose decisions they are.
        model: decides.
        fallback: decides when the model cannot.
        lookup: of features by key, where there is one.
        log: remembers.
    """

    def __init__(
        self,
        settings: Settings,
        application: Application,
        *,
        model: LiveModel,
        fallback: Fallback,
        lookup: Lookup | None,
        log: Log,
    ) -> None:
        self._settings, self._application = settings, application
        self._model, self._fallback, self._lookup, self._log = model, fallback, lookup, log
        self._columns = [feature.name for feature in application.observation]
        self._needed = [feature.name for feature in application.observation if not feature.optional]
        shared = application.keys, application.observation, application.action
        most = settings.max_rows
        looked_up = lookup is not None
        self._whole = decision_rows(*shared, most=most, whole=True, looked_up=looked_up)
        self.decisions: Rows[dict[str, Any]] = (
            decision_rows(*shared, most=most, whole=False, looked_up=True) if looked_up else self._whole
        )
        self.outcomes = outcome_rows(application.keys, application.metrics, most=most)
        self._batcher: Batcher[Row, Chosen | None] = Batcher(self._call_model, most)
        self._second = ThreadPoolExecutor(1, thread_name_prefix="fallback")

    async def decide(self, body: bytes) -> list[dict[str, Any]] | dict[str, Any]:
        """Decides on the rows of a JSON text; a list for a list, one answer for one row.

        Raises:
            Refusal: 422 a row is not as it must be; 503 the decisions could not be made durable.
        """
        given, many = self.decisions.parse(body)
        rows = given if self._lookup is None else [self._completed(row, number) for number, row in enumerate(given)]
        chosen = await self._chosen(rows)
        now = datetime.now(UTC)
        remembered = [self._remembered(row, decision, now) for row, decision in zip(rows, chosen, strict=True)]
        await self._durable(lambda: self._log.log_decisions(remembered), len(rows))
        for version, count in Counter(decision.policy_version for decision in chosen).items():
            metrics.DECISIONS.labels(version).inc(count)
        answers = [self._answer(said.decision_id, decision) for said, decision in zip(remembered, chosen, strict=True)]
        return answers if many else answers[0]

    async def outcome(self, body: bytes) -> dict[str, int]:
        """Takes what followed decisions.

        Raises:
            Refusal: 422 a row is not as it must be; 503 the outcomes could not be made durable.
        """
        rows, _ = self.outcomes.parse(body)
        now = datetime.now(UTC)
        said = [self._outcome(row, now) for row in rows]
        await self._durable(lambda: self._log.log_outcomes(said), len(rows), wait=True)
        metrics.OUTCOMES.inc(len(rows))
        return {"outcomes": len(rows)}

    async def ready(self) -> None:
        """Raises a Refusal (503) if a model is not loaded or the log cannot be written to."""
        if self._model.current is None:
            raise Refusal(503, f"no version of {self._model.uri} is loaded; the fallback decides.")
        await self._durable(lambda: self._log.log_decisions([]), 0, wait=True)

    def close(self) -> None:
        """Lets the threads end."""
        self._batcher.close()
        self._second.shutdown(wait=False)

    def _completed(self, row: dict[str, Any], number: int) -> dict[str, Any]:
        """A row with what was not sent, as the table of features has it."""
        assert self._lookup is not None
        if all(name in row for name in self._columns):
            return row
        known = self._lookup.get(row)
        if known is None and not all(name in row for name in self._needed):
            keys = ", ".join(f"{key} {row[key]!r}" for key in self._application.keys)
            reason = f"{keys} is not in the table of features. Send all features, or a key that it has."
            raise Refusal(422, [Complaint(number, self._application.keys[0], reason)])
        return self._whole.check({**(known or {}), **row}, number)

    async def _chosen(self, rows: Sequence[Row]) -> list[Chosen]:
        budget = self._settings.budget_ms / 1000 or None
        try:
            async with asyncio.timeout(budget):
                chosen = await self._batcher.submit(rows)
        except TimeoutError:
            return await self._fall_back(rows, _BUDGET)
        except Exception:  # of the graph: whatever it is, there must be an answer
            _logger.exception("The model failed; the fallback decides.")
            return await self._fall_back(rows, _FAILED)
        failed = [row for row, decision in zip(rows, chosen, strict=True) if decision is None]
        instead = iter(await self._fall_back(failed, _FAILED)) if failed else iter(())
        return [decision or next(instead) for decision in chosen]

    async def _fall_back(self, rows: Sequence[Row], reason: str) -> list[Chosen]:
        metrics.FALLBACKS.labels(reason).inc(len(rows))
        return await asyncio.get_running_loop().run_in_executor(self._second, self._fallback.decide, rows)

    def _call_model(self, rows: Sequence[Row]) -> list[Chosen | None]:
        start = time.perf_counter()
        chosen = self._model.decide(rows)
        metrics.CALL_SECONDS.observe(time.perf_counter() - start)
        metrics.CALL_ROWS.observe(len(rows))
        return chosen

    def _remembered(self, row: Row, chosen: Chosen, now: datetime) -> Decision:
        return Decision(
            decision_id=uuid4().hex,
            timestamp=row.get(v.TIMESTAMP) or now,
            env_keys={key: row[key] for key in self._application.keys},
            observation={name: row.get(name) for name in self._columns},
            action=chosen.action,
            action_mask=row.get(v.ACTION_MASK),
            log_probability=chosen.log_probability,
            policy_version=chosen.policy_version,
            fallback=chosen.fallback,
        )

    def _outcome(self, row: Row, now: datetime) -> Outcome:
        by_key = v.DECISION_ID not in row
        return Outcome(
            timestamp=row.get(v.TIMESTAMP) or now,
            decision_id=row.get(v.DECISION_ID),
            env_keys={key: row[key] for key in self._application.keys} if by_key else None,
            metrics={metric: row[metric] for metric in self._application.metrics if metric in row},
            end=row.get(v.END),
            outcome_id=row.get(v.OUTCOME_ID),
        )

    def _answer(self, decision_id: str, decision: Chosen) -> dict[str, Any]:
        action, index = named(self._application.action, decision.action)
        return {
            v.DECISION_ID: decision_id,
            v.ACTION: action,
            v.ACTION_INDEX: index,
            v.LOG_PROBABILITY: decision.log_probability,
            v.POLICY_VERSION: decision.policy_version,
            v.FALLBACK: decision.fallback,
        }

    async def _durable(self, write: Callable[[], Future[None]], rows: int, *, wait: bool = False) -> None:
        """Writes to the log, and waits until it is durable if an answer must."""
        try:
            written = write()
            if not wait and self._settings.durability == AT_MOST_ONCE:
                written.add_done_callback(lambda done: self._tell_lost(done, rows))
                return
            async with asyncio.timeout(LOG_TIMEOUT_S):
                await asyncio.wrap_future(written)
        except (RlbakeError, TimeoutError) as error:
            metrics.LOG_FAILURES.labels(AT_LEAST_ONCE).inc(rows)
            reason = str(error) or f"no answer within {LOG_TIMEOUT_S:g} s."
            _logger.error("A request was refused, because the experience log cannot be written to: %s", reason)
            raise Refusal(503, f"the experience log cannot be written to. {reason}") from None

    def _tell_lost(self, done: Future[None], rows: int) -> None:
        """In the log's own thread."""
        error = done.exception()
        if error is not None:
            metrics.LOG_FAILURES.labels(AT_MOST_ONCE).inc(rows)
            _logger.error("%d answered decisions are lost, because the log cannot be written to: %s", rows, error)
