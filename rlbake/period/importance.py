"""What a trained agent's decisions rest on, as a table and a plot of its run."""

from __future__ import annotations

import functools
import logging

import numpy as np

from rlbake.dataset.reading import Rows
from rlbake.dataset.transitions import Transitions, concatenated
from rlbake.evaluation.importance import importance, plot, table
from rlbake.tracking.runs import StageRun
from rlbake.training.fitted import FittedAgent

TABLE, PLOT = "importance/importance.csv", "importance/importance.svg"

_ROWS = 4096  # from all over: a share of them is known to within 1.5 percentage points
_NAMED = 3

_logger = logging.getLogger(__name__)


def log_importance(run: StageRun, fitted: FittedAgent, rows: Rows, seed: int) -> None:
    """Logs `importance/importance.csv` and `.svg`, and says which features count most.

    Args:
        run: of the training.
        fitted: what it made.
        rows: to shuffle features among, best those that were held out.
        seed: of the shuffles.
    """
    sample = _sampled(rows)
    found = importance(fitted, sample.observation, sample.action_mask, seed=seed)
    run.log_text(table(found).to_csv(index=False), TABLE)
    run.log_text(str(plot(found)), PLOT)
    first = ", ".join(f"{one.feature} ({one.flips:.0%} of decisions)" for one in found[:_NAMED])
    _logger.info("Decisions change most when these are shuffled: %s. All: %s.", first, TABLE)


def _sampled(rows: Rows) -> Transitions:
    apart, passed, parts = -(-len(rows) // _ROWS), 0, []
    for part in [rows] if isinstance(rows, Transitions) else rows.parts():
        parts.append(part.take(np.arange(-passed % apart, len(part), apart)))
        passed += len(part)
    return functools.reduce(concatenated, parts)
