"""The policies that there are before anything is learned: chance, and today's rules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rlbake import vocabulary as v
from rlbake.errors import DataError, SpecError
from rlbake.policies.policy import Decisions, refuse_mask
from rlbake.policies.spread import spread
from rlbake.specs import Action, Continuous, Discrete, MultiDiscrete

_INTEGERS, _NUMBERS = "iu", "iuf"  # numpy's kinds of dtype


class RandomPolicy:
    """Uniform over the allowed actions, over every combination of choices, or between the bounds."""

    version = v.RANDOM_POLICY

    def __init__(self, action: Action) -> None:
        self._action = action

    def decide(
        self, observations: dict[str, np.ndarray], noise: np.ndarray, action_mask: np.ndarray | None = None
    ) -> Decisions:
        """With n allowed actions, noise u takes the one of rank ⌊u n⌋ at log-probability -log n.

        Of several sets, each takes its own uₖ = spread(u)ₖ, at log-probability -Σ log nₖ; of real numbers, each
        is lowₖ + uₖ (highₖ - lowₖ), at log-density -Σ log(highₖ - lowₖ).

        Raises:
            DataError: the mask has another shape than [B, A], or a row that allows nothing; or there is
                one though the action is not Discrete.
        """
        if isinstance(self._action, Discrete):
            return _uniform_choice(len(self._action), noise, action_mask)
        refuse_mask(action_mask, self._action)
        if isinstance(self._action, MultiDiscrete):
            sizes = np.array(self._action.sizes)
            action = _rank(spread(noise, len(sizes)), sizes).astype(np.int32)
            return Decisions(action, np.full(len(noise), -np.log(sizes).sum(), np.float32))
        low, high = np.array(self._action.low), np.array(self._action.high)
        action = (low + spread(noise, len(low)) * (high - low)).astype(np.float32)
        return Decisions(action, np.full(len(noise), -np.log(high - low).sum(), np.float32))


class RulesPolicy:
    """Today's policy, as the application's `rules` states it: deterministic.

    So the log-probability is 0, and NaN for real numbers, where a certain one has no density.

    Args:
        rules: observations → action indices, integers [B]; of several sets integers [B, n], one column
            per set; or real numbers [B, n] within their bounds.
    """

    version = v.RULES_POLICY

    def __init__(self, rules: Callable[[dict[str, np.ndarray]], np.ndarray], action: Action) -> None:
        self._rules = rules
        self._action = action

    def decide(
        self, observations: dict[str, np.ndarray], noise: np.ndarray, action_mask: np.ndarray | None = None
    ) -> Decisions:
        """What the rules say; the noise changes nothing.

        Raises:
            SpecError: the rules return something else than one known, allowed action per row.
            DataError: the mask has another shape than [B, A], or a row that allows nothing; or there is
                one though the action is not Discrete.
        """
        chosen, rows = np.asarray(self._rules(observations)), len(noise)
        if isinstance(self._action, Discrete):
            return self._choice(chosen, rows, self._action, action_mask)
        refuse_mask(action_mask, self._action)
        if isinstance(self._action, MultiDiscrete):
            return self._choices(chosen, rows, self._action)
        return self._numbers(chosen, rows, self._action)

    def _choice(self, chosen: np.ndarray, rows: int, action: Discrete, action_mask: np.ndarray | None) -> Decisions:
        _require(chosen, _INTEGERS, (rows,), "one integer action index per observation")
        self._refuse(chosen, (chosen < 0) | (chosen >= len(action)), "unknown")
        if action_mask is not None:
            mask = _checked_mask(action_mask, rows, len(action))
            self._refuse(chosen, ~mask[np.arange(rows), chosen], "masked")
        return Decisions(chosen.astype(np.int32), np.zeros(rows, np.float32))

    def _choices(self, chosen: np.ndarray, rows: int, action: MultiDiscrete) -> Decisions:
        sets = [name for name, _ in action.sets]
        _require(chosen, _INTEGERS, (rows, len(sets)), f"one row of integer indices each: {', '.join(sets)}")
        self._refuse(chosen, (chosen < 0) | (chosen >= np.array(action.sizes)), "unknown")
        return Decisions(chosen.astype(np.int32), np.zeros(rows, np.float32))

    def _numbers(self, chosen: np.ndarray, rows: int, action: Continuous) -> Decisions:
        _require(
            chosen, _NUMBERS, (rows, len(action.names)), f"one row of real numbers each: {', '.join(action.names)}"
        )
        low, high, numbers = (np.asarray(values, np.float32) for values in (action.low, action.high, chosen))
        self._refuse(chosen, ~((numbers >= low) & (numbers <= high)), "out-of-bounds")
        return Decisions(numbers, np.full(rows, np.nan, np.float32))

    def _refuse(self, chosen: np.ndarray, wrong: np.ndarray, kind: str) -> None:
        """Raises where `wrong`, bool of the shape of `chosen`, holds."""
        if wrong.any():
            rows = np.unique(np.nonzero(wrong)[0])
            examples = "; ".join(f"row {i}: {chosen[i].tolist()}" for i in rows[:5])
            raise SpecError(
                f"rules(observations) chose {kind} actions in {len(rows):,} of {len(chosen):,} rows, for example "
                f"{examples}. Return {_possible(self._action)}."
            )


def _require(chosen: np.ndarray, kinds: str, shape: tuple[int, ...], wanted: str) -> None:
    if chosen.shape != shape or chosen.dtype.kind not in kinds:
        raise SpecError(
            f"rules(observations) returned {chosen.dtype} {list(chosen.shape)} for {shape[0]} observations. "
            f"Return {wanted}."
        )


def _possible(action: Action) -> str:
    if isinstance(action, Discrete):
        return f"indices of allowed actions, counted from 0 to {len(action) - 1}"
    if isinstance(action, MultiDiscrete):
        return "indices counted from 0: " + ", ".join(f"{name} to {len(names) - 1}" for name, names in action.sets)
    ranges = zip(action.names, action.low, action.high, strict=True)
    return "numbers within their bounds: " + ", ".join(f"{name} in [{low:g}, {high:g}]" for name, low, high in ranges)


def _uniform_choice(actions: int, noise: np.ndarray, action_mask: np.ndarray | None) -> Decisions:
    if action_mask is None:
        allowed = np.full(len(noise), actions)
        action = _rank(noise, allowed)
    else:
        mask = _checked_mask(action_mask, len(noise), actions)
        allowed = mask.sum(axis=1)
        action = (mask.cumsum(axis=1) > _rank(noise, allowed)[:, None]).argmax(axis=1)
    return Decisions(action.astype(np.int32), -np.log(allowed).astype(np.float32))


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
