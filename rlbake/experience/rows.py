"""What is remembered: decisions, and what followed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision as it was answered.

    Attributes:
        decision_id: names it; an outcome may refer to it.
        timestamp: when it was made; aware.
        env_keys: the application's keys, by name.
        observation: the features as they were used, by name; None where one was missing.
        action: index; one per set; or the numbers.
        action_mask: allowed actions; None: all.
        log_probability: of the action as it was drawn; None: unknown.
        policy_version: who decided.
        fallback: the policy could not decide, and something simpler did in its place.
    """

    decision_id: str
    timestamp: datetime
    env_keys: Mapping[str, object]
    observation: Mapping[str, object]
    action: int | Sequence[int] | Sequence[float]
    action_mask: Sequence[bool] | None
    log_probability: float | None
    policy_version: str
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """Something that followed a decision, which is named by its id, or found by keys and time.

    Attributes:
        timestamp: when it happened; aware.
        decision_id: of the decision that it followed; None: given by `env_keys`.
        env_keys: of the environment, by name: it followed the latest decision there; None: given by `decision_id`.
        metrics: what it says of the application's metrics; one that is left out is not told, which is not 0.
        end: "terminated" or "truncated" if the episode ended with it.
        outcome_id: names it: told again, it counts once. None: every telling counts.
    """

    timestamp: datetime
    decision_id: str | None
    env_keys: Mapping[str, object] | None
    metrics: Mapping[str, float]
    end: str | None = None
    outcome_id: str | None = None
