"""Who decides when the model cannot: today's rules, one fixed action, or chance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from rlbake import vocabulary as v
from rlbake.application import Application
from rlbake.errors import ConfigError, RlbakeError, SpecError
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.serving.chosen import Chosen, Row, columns, each, mask
from rlbake.specs import Action, Continuous, MultiDiscrete
from rlbake.world import Observations

RULES, RANDOM = "rules", "random"

_logger = logging.getLogger(__name__)


class Fallback:
    """Never fails: what the mask forbids, and what the rules cannot tell, is left to chance over what is allowed.

    A certain choice has log-probability 0 (none of numbers), a drawn one that of the draw.

    Args:
        application: whose decisions they are.
        choice: `rules`, `random` or the name of an action: of several sets joined by "+", of numbers joined by
            commas. None: the rules where the application has some, else `random`.

    Attributes:
        choice: `rules`, `random` or the action's name.

    Raises:
        ConfigError: there is no such action, or the application has no rules.
    """

    def __init__(self, application: Application, choice: str | None) -> None:
        has_rules = type(application).rules is not Application.rules
        self.choice = choice or (RULES if has_rules else RANDOM)
        if self.choice == RULES and not has_rules:
            raise ConfigError(
                f"fallback {RULES!r}: {type(application).__name__} does not define rules(observations). "
                f"Name an action, or {RANDOM!r}."
            )
        self._observation, self._action = application.observation, application.action
        self._random = RandomPolicy(application.action)
        self._certain = None if self.choice == RANDOM else self._policy(application)
        self._noise = np.random.default_rng()
        self._told = False

    def decide(self, rows: Sequence[Row]) -> list[Chosen]:
        """One decision for each row."""
        allowed = mask(rows, self._action, v.ACTION_MASK)
        drawn = each(self._random.decide({}, self._noise.random(len(rows)), allowed), v.FALLBACK_POLICY, fallback=True)
        certain = self._certainly(rows)
        if certain is None:
            return drawn
        if allowed is None:
            return certain
        return [sure if may[sure.action] else chance for sure, chance, may in zip(certain, drawn, allowed, strict=True)]

    def _certainly(self, rows: Sequence[Row]) -> list[Chosen] | None:
        """What the rules or the fixed action say, whatever is allowed; None if the rules fail."""
        if self._certain is None:
            return None
        try:
            decided = self._certain.decide(columns(rows, self._observation), np.zeros(len(rows)))
        except Exception as error:  # the user's own code, and there must be an answer
            if not self._told:
                said = str(error) if isinstance(error, RlbakeError) else f"{type(error).__name__}: {error}"
                _logger.error("The rules cannot decide, so chance does until they can: %s", said)
            self._told = True
            return None
        self._told = False
        return each(decided, v.FALLBACK_POLICY, fallback=True)

    def _policy(self, application: Application) -> RulesPolicy:
        rules = application.rules if self.choice == RULES else _always(_fixed(self.choice, self._action))
        return RulesPolicy(rules, self._action)


def _always(action: np.ndarray) -> Callable[[Observations], np.ndarray]:
    def rules(observations: Observations) -> np.ndarray:
        rows = len(next(iter(observations.values())))
        return np.repeat(action[None], rows, axis=0)

    return rules


def _fixed(name: str, action: Action) -> np.ndarray:
    """The index, the indices, or the numbers that a name stands for."""
    try:
        if isinstance(action, Continuous):
            numbers = np.array([float(text) for text in name.split(",")], np.float32)
            if len(numbers) != len(action.names) or not ((action.low <= numbers) & (numbers <= action.high)).all():
                raise ValueError
            return numbers
        number = action.joint().index(name)
    except (SpecError, ValueError) as error:
        numbers_of = (
            f"numbers within their bounds, joined by commas: {', '.join(action.names)}"
            if isinstance(action, Continuous)
            else str(error)
        )
        raise ConfigError(f"fallback {name!r}: {numbers_of}, or {RULES!r}, or {RANDOM!r}.") from None
    return action.split(np.array([number]))[0] if isinstance(action, MultiDiscrete) else np.array(number, np.int32)
