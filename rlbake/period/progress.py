"""Progress of a training: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType

from tqdm import tqdm

LINE_EVERY_S = 10.0

_logger = logging.getLogger(__name__)


class Progress:
    """Tells how far a training is; use as a context manager.

    Args:
        total: gradient steps to come.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar = tqdm(total=total, unit="step", desc="training", file=sys.stderr) if sys.stderr.isatty() else None
        self._told = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def at(self, step: int, metrics: Mapping[str, float]) -> None:
        """Reports that `step` gradient steps are done."""
        shown = {name.removeprefix("train/"): f"{value:.4g}" for name, value in metrics.items()}
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(step - self._bar.n)
        elif step == self._total or time.monotonic() - self._told >= LINE_EVERY_S:
            self._told = time.monotonic()
            _logger.info("step %d of %d: %s", step, self._total, ", ".join(f"{k} {x}" for k, x in shown.items()))
