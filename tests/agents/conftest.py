"""Small worlds whose action values are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.dataset.transitions import Transitions
from rlbake.specs import Discrete, Number

OBSERVATION = (Number("x"),)
ACTION = Discrete(["stay", "go"])


@pytest.fixture(scope="session")
def transitions() -> Callable[..., Transitions]:
    """Rows of a world with one feature; `terminated` decides what follows."""

    def build(x: Any, action: Any, reward: Any, next_x: Any, discount: Any, mask: Any = None) -> Transitions:
        rows = len(x)
        instants = np.arange(rows).astype("datetime64[us]")
        discount = np.asarray(discount, np.float64)
        return Transitions(
            env_id=np.array([str(i) for i in range(rows)], object),
            timestamp=instants,
            next_timestamp=instants + 1,
            step_type=np.full(rows, v.MID, np.int32),
            end=np.where(discount == 0, v.TERMINATED, v.NOT_ENDED).astype(object),
            observation={"x": np.asarray(x, np.float32)},
            action=np.asarray(action, np.int32),
            log_probability=np.full(rows, np.log(0.5), np.float32),
            reward=np.asarray(reward, np.float64),
            discount=discount,
            next_observation={"x": np.asarray(next_x, np.float32)},
            next_action_mask=None if mask is None else np.asarray(mask, bool),
        )

    return build


@pytest.fixture(scope="session")
def walk(transitions) -> Callable[[float, int], Transitions]:
    """Two places, 0 and 1. Going from 0 leads to 1; going from 1 ends it with reward 1. Staying earns nothing."""

    def build(gamma: float, rows: int = 400) -> Transitions:
        x = np.arange(rows) // 2 % 2
        action = np.arange(rows) % 2
        ends = (x == 1) & (action == 1)
        return transitions(x, action, ends, np.where(action == 1, 1, x), np.where(ends, 0.0, gamma))

    return build
