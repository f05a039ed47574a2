"""What a policy would have done: its distribution over the actions, checked, a slice of rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rlbake.errors import DataError
from rlbake.world import Observations

Target = Callable[[Observations, np.ndarray | None], np.ndarray]
"""Observations, arrays [B] by feature, and a mask, bool [B, A] (None: everything is allowed) → π(a|x), [B, A]."""

ROWS_AT_ONCE = 65_536

_ROUNDING = 1e-4  # of a sum of float32 probabilities


def distribution(
    target: Target, observations: Observations, mask: np.ndarray | None, *, actions: int | None = None, who: str
) -> np.ndarray:
    """π(a|x), float64 [N, A].

    Args:
        target: the policy.
        observations: arrays [N] by feature.
        mask: bool [N, A], allowed actions; None: all are.
        actions: A; None: whatever the policy has.
        who: names the policy in errors.

    Raises:
        DataError: what the policy returns is no distribution over the actions, or gives probability to
            one that is not allowed.
    """
    rows = len(next(iter(observations.values())))
    parts = []
    for start in range(0, max(rows, 1), ROWS_AT_ONCE):
        at = slice(start, start + ROWS_AT_ONCE)
        part = np.asarray(target({n: c[at] for n, c in observations.items()}, None if mask is None else mask[at]))
        expected = min(rows - start, ROWS_AT_ONCE), part.shape[-1] if actions is None else actions
        if part.shape != expected:
            raise DataError(
                f"{who} has probabilities of shape {list(part.shape)} where {list(expected)} was expected: one for "
                "each row and action."
            )
        parts.append(part.astype(np.float64))
    found = np.concatenate(parts)
    _refuse(~(np.isfinite(found) & (found >= 0)).all(axis=1), f"{who} has negative or infinite probabilities")
    _refuse(np.abs(found.sum(axis=1) - 1) > _ROUNDING, f"the probabilities of {who} do not sum to 1")
    if mask is not None:
        _refuse((found * ~mask).any(axis=1), f"{who} gives probability to actions that are not allowed")
    return found


def _refuse(wrong: Any, problem: str) -> None:
    if wrong.any():
        raise DataError(
            f"{problem} in {wrong.sum():,} of {len(wrong):,} rows, for example row {wrong.argmax()}. "
            "Such a policy cannot be compared with others."
        )
