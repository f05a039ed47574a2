"""What was decided for one row, and the features it was decided on as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlbake.policies.policy import Decisions
from rlbake.specs import Action, Binary, Category, Continuous, Discrete, Feature

Row = Mapping[str, Any]
"""One row of a request: raw values by column, None where one is missing."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One decision.

    Attributes:
        action: its index, one index for each set, or numbers.
        log_probability: of it, or the density of numbers; None where they have none.
        policy_version: who decided.
        fallback: whether it was not the model.
    """

    action: int | list[int] | list[float]
    log_probability: float | None
    policy_version: str
    fallback: bool = False


def columns(rows: Sequence[Row], observation: Sequence[Feature]) -> dict[str, np.ndarray]:
    """One array [B] per feature: float64, bool (float64 where it may be missing) or str; missing is NaN or ""."""
    return {feature.name: _column([row.get(feature.name) for row in rows], feature) for feature in observation}


def mask(rows: Sequence[Row], action: Action, column: str) -> np.ndarray | None:
    """bool [B, A] of Discrete actions; None where no row has a mask."""
    if not isinstance(action, Discrete) or all(row.get(column) is None for row in rows):
        return None
    everything = [True] * len(action)
    return np.array([row.get(column) or everything for row in rows], bool)


def each(decided: Decisions, policy_version: str, *, fallback: bool = False) -> list[Chosen]:
    """One `Chosen` for each of the B rows that were decided at once."""
    likely = [None if np.isnan(number) else number for number in decided.log_probability.tolist()]
    return [
        Chosen(action, log_probability, policy_version, fallback)
        for action, log_probability in zip(decided.action.tolist(), likely, strict=True)
    ]


def named(action: Action, decision: int | list[int] | list[float]) -> tuple[Any, int | list[int] | None]:
    """A decision as it is shown: its name, one name for each set or numbers, and its index where it has one."""
    if isinstance(action, Continuous):
        return decision, None
    if isinstance(action, Discrete):
        assert isinstance(decision, int)
        return action.names[decision], decision
    assert isinstance(decision, list)
    chosen = [int(index) for index in decision]
    return [names[index] for (_, names), index in zip(action.sets, chosen, strict=True)], chosen


def _column(values: list[Any], feature: Feature) -> np.ndarray:
    if isinstance(feature, Category):
        return np.array(["" if text is None else text for text in values], object)
    if isinstance(feature, Binary) and not feature.optional:
        return np.array(values, bool)
    return np.array(values, np.float64)
