"""Requests that wait at the same time are decided in one call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Row = TypeVar("Row")
Result = TypeVar("Result")


class Batcher(Generic[Row, Result]):
    """Hands rows to `work` in a thread of its own, so that the event loop goes on.

    A request that finds the thread idle goes there at once; those that come meanwhile go together next.
    To be used within one event loop.

    Args:
        work: rows → one result each.
        most: rows that one call is given, unless a single request has more.
    """

    def __init__(self, work: Callable[[Sequence[Row]], Sequence[Result]], most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: deque[tuple[Sequence[Row], asyncio.Future[Sequence[Result]]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decide")
        self._busy: asyncio.Task[None] | None = None

    async def submit(self, rows: Sequence[Row]) -> Sequence[Result]:
        """One result for each row. Raises what `work` raised for the rows of this call."""
        answer: asyncio.Future[Sequence[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, answer))
        if self._busy is None:
            self._busy = asyncio.create_task(self._go_on())
        return await answer

    def close(self) -> None:
        """Lets the thread end once it is done with what it has."""
        self._thread.shutdown(wait=False)

    async def _go_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            taken = self._take()
            together = [row for rows, _ in taken for row in rows]
            try:
                results = await loop.run_in_executor(self._thread, self._work, together)
            except Exception as error:  # of `work`: each request's own to handle
                for _, answer in taken:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            start = 0
            for rows, answer in taken:
                if not answer.done():  # its request may have given up
                    answer.set_result(results[start : start + len(rows)])
                start += len(rows)
        self._busy = None

    def _take(self) -> list[tuple[Sequence[Row], asyncio.Future[Sequence[Result]]]]:
        taken: list[tuple[Sequence[Row], asyncio.Future[Sequence[Result]]]] = []
        size = 0
        while self._waiting and (not taken or size + len(self._waiting[0][0]) <= self._most):
            rows, answer = self._waiting.popleft()
            if answer.done():
                continue
            taken.append((rows, answer))
            size += len(rows)
        return taken
