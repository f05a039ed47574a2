"""Whose decisions an agent learns from."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rlbake import vocabulary as v
from rlbake.agents import AGENTS
from rlbake.agents.behavioral_cloning import Config as Cloning
from rlbake.application import Application, user_code
from rlbake.dataset.streamed import Streamed
from rlbake.dataset.transitions import Transitions
from rlbake.errors import ConfigError
from rlbake.period.period import Period
from rlbake.policies.behaviour import RulesPolicy
from rlbake.specs import MultiDiscrete
from rlbake.training.config import TrainConfig

Rows = Transitions | Streamed

_logger = logging.getLogger(__name__)


def on_policy(config: TrainConfig) -> bool:
    """Whether the agent learns only from decisions of the version that is trained further."""
    return AGENTS[config.agent.name].FACTS.on_policy


def decided(
    training: Rows, holdout: Rows, period: Period, config: TrainConfig, parent: str | None
) -> tuple[Rows, Rows]:
    """The same rows; or, for a clone of the rules, with what those would have done; or, for an agent that learns
    from its own decisions, without those that others made.

    Args:
        training, holdout: as they were read.
        period: whose application's rules may be asked.
        config: of the training.
        parent: the version that is trained further, as it is logged; None: training starts afresh.

    Raises:
        ConfigError: the application has no rules.
        SpecError: the rules return something else than one known, allowed action per row.
    """
    if isinstance(config.agent, Cloning) and config.agent.clone == "rules":
        return ruled(training, period.application), ruled(holdout, period.application)
    if on_policy(config):
        version = parent or v.RANDOM_POLICY
        return own(training, version), own(holdout, version)
    return training, holdout


def ruled(rows: Rows, application: Application) -> Rows:
    """The rows with the actions that the application's rules would have chosen.

    Raises:
        ConfigError: it has none, or they fail.
        SpecError: they return something else than one known, allowed action per row.
    """
    if type(application).rules is Application.rules:
        raise ConfigError(
            f"agent.clone = 'rules': {type(application).__name__} does not define rules(observations). "
            "Define them, or clone the logs: agent.clone=logs."
        )
    policy, action = RulesPolicy(application.rules, application.action), application.action

    def relabelled(part: Transitions) -> Transitions:
        if not len(part):
            return part
        with user_code("rules(observations)"):
            chosen = policy.decide(part.observation, np.zeros(len(part)), part.action_mask).action
        return replace(part, action=action.flat(chosen) if isinstance(action, MultiDiscrete) else chosen)

    return relabelled(rows) if isinstance(rows, Transitions) else _Relabelled.of(rows, relabelled)


@dataclass(frozen=True)
class _Relabelled(Streamed):
    """Streamed rows whose parts are changed as they are read."""

    change: Callable[[Transitions], Transitions]

    @classmethod
    def of(cls, rows: Streamed, change: Callable[[Transitions], Transitions]) -> _Relabelled:
        fields: dict[str, Any] = {f.name: getattr(rows, f.name) for f in dataclasses.fields(Streamed)}
        return cls(**fields, change=change)

    def parts(self) -> Iterator[Transitions]:
        return map(self.change, super().parts())


def own(rows: Rows, version: str) -> Rows:
    """The rows that a version decided on, if they say who decided on them.

    That they are its own is not taken on trust: `passes.refuse_stale` asks their propensities.

    Args:
        rows: read with who decided; streamed ones stay whole, for they cannot be learned from anyway.
        version: who, as logged.
    """
    if not isinstance(rows, Transitions) or rows.policy_version is None:
        return rows
    kept = np.flatnonzero(rows.policy_version == version)
    if not len(kept) or len(kept) == len(rows):
        return rows
    _logger.info("Of %s transitions %s decided on %s.", f"{len(rows):,}", version, f"{len(kept):,}")
    return rows.take(kept)
