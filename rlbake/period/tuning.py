"""What a sweep is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlbake.errors import ConfigError, nearest
from rlbake.period.build import ensure_trajectories, unbuilt
from rlbake.period.dataset import pinned
from rlbake.period.period import Period, open_period
from rlbake.scenarios import SHIPPED
from rlbake.sweep.offline import Logs, choices
from rlbake.sweep.scenarios import Scenarios
from rlbake.sweep.search import TPE, algorithm
from rlbake.sweep.space import Space, read_space
from rlbake.tracking.artifacts import local_file
from rlbake.tracking.store import connect
from rlbake.training.config import nested_config

EXPERIMENT = "tuning"


@dataclass(frozen=True)
class LogsOf:
    """The logs of an application, which may not have become trajectories yet.

    Attributes:
        period: whose training window they are of.
        base, folds, seed: as `Logs` has them.

    Raises:
        ConfigError: its actions cannot be valued from logs.
    """

    period: Period
    base: Mapping[str, Any]
    folds: int
    seed: int

    def __post_init__(self) -> None:
        choices(self.period.application)

    def built(self) -> Logs | None:
        """The objective, if what it reads is there already."""
        return None if unbuilt(self.period) else self._objective()

    def ensured(self) -> Logs:
        """The objective; what it reads is built if it is not there."""
        ensure_trajectories(self.period)
        return self._objective()

    def _objective(self) -> Logs:
        return Logs(self.period.target, pinned(self.period), self.base, self.folds, self.seed)


@dataclass(frozen=True)
class Tuning:
    """What is searched, and how.

    Attributes:
        objective: what a point is worth.
        space: what may be chosen; None: what rlbake brings for the agent.
        algorithm: one of `sweep.search.ALGORITHMS`.
        max_evals: trials in all, ≥ 1.
        parallelism: trials at a time; more than 1 makes each a Spark task.
        seed: of what is chosen at random.
        prune: stop hopeless trials early.
        patience: end after so many trials without a better one; 0: never.
        timeout_s: begin no trial later; 0: no limit.
        resume: go on with the same sweep, if one was cut short.
        price_per_hour: of a machine that makes one trial at a time, in any currency.
        held_out: seeds, never used by a trial, on which the best point is compared with the defaults; 0: it is not.
        logs: that the best points are tried on too, to see whether scenarios and logs agree; None: there are none.

    Raises:
        ConfigError: a number is out of range, or there is no such algorithm.
    """

    objective: Scenarios | LogsOf
    space: Space | None = None
    algorithm: str = TPE
    max_evals: int = 30
    parallelism: int = 1
    seed: int = 0
    prune: bool = True
    patience: int = 0
    timeout_s: float = 0.0
    resume: bool = True
    price_per_hour: float = 0.0
    held_out: int = 3
    logs: LogsOf | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_evals", 1), ("parallelism", 1), ("patience", 0), ("timeout_s", 0), ("held_out", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be at least {least}.")
        algorithm(self.algorithm)


def tuning_of(
    *,
    on: str = "scenarios",
    scenarios: str = "",
    application: str | None = None,
    tables: str = "tables",
    date: str = "latest",
    agent: str | None = None,
    config: str | None = None,
    set: str | None = None,
    space: str | None = None,
    cycles: int = 4,
    rows: int = 10_000,
    seeds: int = 2,
    folds: int = 3,
    seed: int = 0,
    **more: Any,
) -> Tuning:
    """A sweep in the words of the command line.

    Args:
        on: "scenarios" or "logs".
        scenarios: names of shipped ones, or applications with a `world()`, comma-separated.
        application: whose logs are asked, with on="logs"; else whose logs the best points are tried on, if any.
        tables: URI of the folder that holds the application's tables.
        date: last window of the logs.
        agent, config, set: what all trials share, as a training takes them.
        space: YAML file; what rlbake brings for the agent if not given.
        cycles, rows, seeds: of `Scenarios`; seeds is how many.
        folds: of `Logs`.
        seed: of every random choice.
        more: other fields of `Tuning`.

    Raises:
        ConfigError: a name or file does not exist, or a number is out of range.
        NotFoundError: there are no logs.
    """
    with local_file(config) as file:
        base = nested_config(agent=agent, file=file, set_=set)
    known = LogsOf(open_period(application, tables, date, seed), base, folds, seed) if application else None
    chosen = read_space(space) if space else None
    if folds < 2:
        raise ConfigError(f"folds = {folds}: must be at least 2.")
    if on == "logs":
        if known is None:
            raise ConfigError("on=logs needs an application whose logs are asked: application=package.module:Class.")
        return Tuning(known, chosen, seed=seed, **more)
    connect(experiment=EXPERIMENT)
    for name, value in (("cycles", cycles), ("rows", rows), ("seeds", seeds)):
        if value < 1:
            raise ConfigError(f"{name} = {value}: must be at least 1.")
    targets = tuple(_target(name.strip()) for name in scenarios.split(",") if name.strip())
    if not targets:
        raise ConfigError(f"scenarios: name at least one. Shipped are {', '.join(SHIPPED)}.")
    objective = Scenarios(targets, base, cycles, rows, tuple(range(seed, seed + seeds)))
    return Tuning(objective, chosen, seed=seed, logs=known, **more)


def _target(name: str) -> str:
    if ":" in name:
        return name
    if name not in SHIPPED:
        raise ConfigError(f"scenarios: there is no {name!r}. {nearest(name, SHIPPED)} Or package.module:Class.")
    return SHIPPED[name]
