"""Transitions as the columns that agents learn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from rlbake.dataset.transitions import Transitions

Columns = dict[str, np.ndarray]
"""Arrays [N] by field of `loop.Rows`; and float64 weights, where rows are not all drawn alike."""


class Encoder(Protocol):
    """Raw features to vectors."""

    def apply(self, observations: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 [N, D] of columns [N]."""
        ...


def columns(transitions: Transitions, encoder: Encoder, masks: int) -> Columns:
    """What `loop.Rows` needs.

    Args:
        transitions: N rows.
        encoder: of the observations.
        masks: number of actions if some of them are masked anywhere, else 0.
    """
    rows = len(transitions)
    return {
        "features": encoder.apply(transitions.observation),
        "mask": _mask(transitions.action_mask, rows, masks),
        "action": transitions.action,
        "reward": transitions.reward.astype(np.float32),
        "discount": transitions.discount.astype(np.float32),
        "next_features": encoder.apply(transitions.next_observation),
        "next_mask": _mask(transitions.next_action_mask, rows, masks),
    }


def _mask(given: np.ndarray | None, rows: int, masks: int) -> np.ndarray:
    return np.ones((rows, masks), bool) if given is None or not masks else given
