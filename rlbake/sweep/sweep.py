"""One sweep: points are tried until there are enough, time is up, or nothing gets better."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from rlbake.errors import RlbakeError
from rlbake.sweep.hopeless import MedianRule, always
from rlbake.sweep.objective import DONE, FAILED, STOPPED, GoOn, Objective, Outcome, Point, Trial, best_of
from rlbake.sweep.search import Search

INTERRUPTED = "interrupted"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """Tries a point, here or on another machine, and lets nothing that goes wrong with it end the sweep.

    Attributes:
        objective: says what it is worth.
        go_on: whether it is worth finishing.
    """

    objective: Objective
    go_on: GoOn

    def __call__(self, number: int, point: Point) -> Trial:
        began = time.perf_counter()

        def trial(status: str, outcome: Outcome | None, reason: str = "") -> Trial:
            return Trial(number, point, status, outcome, reason, time.perf_counter() - began)

        try:
            outcome = self.objective(point, self.go_on)
        except RlbakeError as error:
            return trial(FAILED, None, str(error))
        except Exception as error:  # of a library, or of the user's world: the other points may do without it
            _logger.debug("trial %d failed", number, exc_info=True)
            return trial(FAILED, None, f"{type(error).__name__}: {error}")
        return trial(STOPPED if outcome.stopped else DONE, outcome)


@dataclass
class Sweep:
    """What is asked of a sweep, beside who searches what.

    Attributes:
        prune: stop trials that are hopeless by the median rule.
        patience: end after so many trials without a better one; 0: never.
        timeout_s: begin no trial later than this many seconds after the start; 0: no limit.
        on_trial: called with every new trial, in the order in which they end.
        trials: those that are known, by number; new ones are added.
    """

    prune: bool = True
    patience: int = 0
    timeout_s: float = 0.0
    on_trial: Callable[[Trial], None] = lambda trial: None
    trials: list[Trial] = field(default_factory=list)

    def run(self, search: Search, objective: Objective) -> str | None:
        """Searches on.

        Returns:
            Why it ended before all trials were made; None if they were.
        """
        rule = MedianRule(self.trials)
        began = time.monotonic()

        def learn(trial: Trial) -> None:
            if interrupted.is_set():
                raise KeyboardInterrupt  # which a library may have made a failure of the trial
            self.trials.append(trial)
            rule.learn(trial)
            self.on_trial(trial)

        def stop() -> str | None:
            if self.timeout_s and time.monotonic() - began >= self.timeout_s:
                return f"the {self.timeout_s:g} s are over"
            if self.patience and _since_the_best(self.trials) >= self.patience:
                return f"the last {self.patience} trials were no better"
            return None

        with _interrupts() as interrupted:
            try:
                return search.run(Attempt(objective, rule if self.prune else always), self.trials[:], learn, stop)
            except KeyboardInterrupt:
                return INTERRUPTED


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Set by Ctrl-C, which raises KeyboardInterrupt as ever."""
    interrupted, before = threading.Event(), signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread()  # nowhere else can be listened
    if not here or not callable(before):  # or whoever started this process wants it to be deaf
        yield interrupted
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        before(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _since_the_best(trials: Sequence[Trial]) -> int:
    """Trials after the best one, in the order in which they ended; 0 without one."""
    best = best_of(trials)
    return 0 if best is None else len(trials) - 1 - trials.index(best)
