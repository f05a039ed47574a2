"""The policies that there are before anything is learned: chance, and today's rules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rlbake import vocabulary as v
from rlbake.errors import DataError, SpecError
from rlbake.policies.policy import Decisions
from rlbake.specs import Action, Discrete


class RandomPolicy:
    """Uniform over the allowed actions.

    Raises:
        SpecError: the action is not Discrete.
    """

    version = v.RANDOM_POLICY

    def __init__(self, action: Action) -> None:
        self._action = _discrete(action, "the random policy")

    def decide(
        self, observations: dict[str, np.ndarray], noise: np.ndarray, action_mask: np.ndarray | None = None
    ) -> Decisions:
        """With n allowed actions, noise u takes the one of rank ⌊u n⌋ at log-probability -log n.

        Raises:
            DataError: the mask has another shape than [B, A], or a row that allows nothing.
        """
        if action_mask is None:
            allowed = np.full(len(noise), len(self._action))
            action = _rank(noise, allowed)
        else:
            mask = _checked_mask(action_mask, len(noise), len(self._action))
            allowed = mask.sum(axis=1)
            action = (mask.cumsum(axis=1) > _rank(noise, allowed)[:, None]).argmax(axis=1)
        return Decisions(action.astype(np.int32), -np.log(allowed).astype(np.float32))


class RulesPolicy:
    """Today's policy, as the application's `rules` states it: deterministic, so log-probability 0.

    Args:
        rules: observations → action indices, integers [B].

    Raises:
        SpecError: the action is not Discrete.
    """

    version = v.RULES_POLICY

    def __init__(self, rules: Callable[[dict[str, np.ndarray]], np.ndarray], action: Action) -> None:
        self._rules = rules
        self._action = _discrete(action, "a rules policy")

    def decide(
        self, observations: dict[str, np.ndarray], noise: np.ndarray, action_mask: np.ndarray | None = None
    ) -> Decisions:
        """What the rules say; the noise changes nothing.

        Raises:
            SpecError: the rules return something else than one known, allowed action index per row.
            DataError: the mask has another shape than [B, A], or a row that allows nothing.
        """
        action = np.asarray(self._rules(observations))
        if action.shape != noise.shape or not np.issubdtype(action.dtype, np.integer):
            raise SpecError(
                f"rules(observations) returned {action.dtype} {list(action.shape)} for {len(noise)} observations. "
                "Return one integer action index per observation."
            )
        self._refuse(action, (action < 0) | (action >= len(self._action)), "unknown")
        if action_mask is not None:
            mask = _checked_mask(action_mask, len(noise), len(self._action))
            self._refuse(action, ~mask[np.arange(len(noise)), action], "masked")
        return Decisions(action.astype(np.int32), np.zeros(len(noise), np.float32))

    def _refuse(self, action: np.ndarray, wrong: np.ndarray, kind: str) -> None:
        if wrong.any():
            rows = np.flatnonzero(wrong)
            examples = "; ".join(f"row {i}: {action[i]}" for i in rows[:5])
            raise SpecError(
                f"rules(observations) chose {kind} actions in {len(rows):,} of {len(action):,} rows, for example "
                f"{examples}. Return indices of allowed actions, counted from 0 to {len(self._action) - 1}."
            )


def _discrete(action: Action, who: str) -> Discrete:
    if not isinstance(action, Discrete):
        raise SpecError(f"{who} needs a Discrete action, not {type(action).__name__}.")
    return action


def _rank(noise: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """⌊u n⌋, below n also where the product rounds up to it."""
    return np.minimum((noise * allowed).astype(np.int64), allowed - 1)


def _checked_mask(action_mask: np.ndarray, rows: int, actions: int) -> np.ndarray:
    mask = np.asarray(action_mask, bool)
    if mask.shape != (rows, actions):
        raise DataError(f"action mask: shape {list(mask.shape)}, expected {[rows, actions]}.")
    nothing = np.flatnonzero(~mask.any(axis=1))
    if len(nothing):
        raise DataError(
            f"action mask: {len(nothing):,} of {rows:,} rows allow no action, for example row {nothing[0]}. "
            "Allow at least one."
        )
    return mask
