"""Playing a shipped scenario: its logs are what a live policy would have left behind."""

from __future__ import annotations

import logging

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import ConfigError, NotFoundError
from rlbake.period.models import champion_of, policy_of
from rlbake.period.period import Period
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.policies.policy import Policy
from rlbake.registry.versions import resolve
from rlbake.scenarios.scenario import Scenario
from rlbake.tracking.runs import stage_run

_logger = logging.getLogger(__name__)


def simulate(period: Period, days: int, units: int, policy: str) -> None:
    """Plays `days` windows that end with the period's own.

    Args:
        period: of a shipped scenario.
        days: windows to play.
        units: environments per window; 0: the scenario's own number.
        policy: "random", "rules" or a model URI; models explore.

    Raises:
        ConfigError: the application is no scenario, or days reach before its first window.
        NotFoundError: there is no such model.
    """
    if not isinstance(period.application, Scenario):
        raise ConfigError(
            f"{period.application.name} has no simulated world to play: only shipped scenarios can be simulated."
        )
    cadence = period.application.cadence
    first = cadence.previous(period.window, days - 1)
    if first is None:
        raise ConfigError(f"{days} windows up to {period.window} would begin before the first, {cadence.first}.")
    _play(period, cadence.windows(first, period.window), units, behaviour(period, policy))


def simulate_missing(period: Period, windows: list[Window]) -> None:
    """Plays those windows of a scenario that have no logs yet: by its champion, else at random."""
    if not isinstance(period.application, Scenario):
        return
    played = {w.ds for w in period.application.simulated_windows()}
    missing = [w for w in windows if w.ds not in played]
    if not missing:
        return
    try:
        policy = policy_of(champion_of(period), explore=True)
    except NotFoundError:
        policy = behaviour(period, v.RANDOM_POLICY)
    _logger.info(
        "No logs yet for %s. Simulating first, decided by: %s.", ", ".join(w.ds for w in missing), policy.version
    )
    _play(period, missing, 0, policy)


def behaviour(period: Period, policy: str) -> Policy:
    """The policy named by "random", "rules" or a model URI."""
    if policy == v.RANDOM_POLICY:
        return RandomPolicy(period.application.action)
    if policy == v.RULES_POLICY:
        return RulesPolicy(period.application.rules, period.application.action)
    return policy_of(resolve(policy), explore=True)


def _play(period: Period, windows: list[Window], units: int, policy: Policy) -> None:
    scenario = period.application
    assert isinstance(scenario, Scenario)
    with stage_run("simulate", application=scenario.name, window=period.window.ds) as run:
        units = units or scenario.units
        run.log_config(
            {"windows": [w.ds for w in windows], "units": units, "policy": policy.version, "seed": period.seed}
        )
        for window in windows:
            with run.phase("simulate"):
                scenario.simulate(window, policy, units, period.seed)
        _logger.info("Simulated %d window(s) of %s with %d units each.", len(windows), scenario.name, units)
