"""Progress of a training: a bar on a terminal, plain lines elsewhere, the first as soon as there is one."""

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
        self._told_at = float("-inf")
        self._untold = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        self._tell()

    def at(self, step: int, metrics: Mapping[str, float]) -> None:
        """Reports that `step` gradient steps are done."""
        shown = {name.removeprefix("train/"): f"{value:.4g}" for name, value in metrics.items()}
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(step - self._bar.n)
            return
        self._untold = f"step {step} of {self._total}: " + ", ".join(
            f"{k} {x}" for k, x in shown.items() if k != "steps"
        )
        if time.monotonic() - self._told_at >= LINE_EVERY_S:
            self._tell()

    def _tell(self) -> None:
        if self._untold:
            _logger.info("%s", self._untold)
        self._untold, self._told_at = "", time.monotonic()
