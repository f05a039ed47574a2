"""Hyperparameters before anything goes live: on scenarios with a known best outcome, or on logs."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

import rlbake.training
from rlbake import vocabulary as v
from rlbake.agents import AGENTS
from rlbake.application import Application
from rlbake.errors import RlbakeError
from rlbake.learners.facts import refuse_unsuitable
from rlbake.period.tuned import Tuned, conclude
from rlbake.period.tuning import LogsOf, Tuning
from rlbake.sweep.objective import Objective, Point, Trial, best_of
from rlbake.sweep.offline import Logs
from rlbake.sweep.scenarios import Scenarios
from rlbake.sweep.search import Hyperopt, Search
from rlbake.sweep.space import Space, nested, shipped_space
from rlbake.sweep.sweep import INTERRUPTED, Sweep
from rlbake.tracking import source_code
from rlbake.tracking.environment import packages
from rlbake.tracking.params import plain
from rlbake.tracking.runs import StageRun, stage_run
from rlbake.tracking.trainer import Claim
from rlbake.tracking.trials import log_trial, take_over_sweep
from rlbake.training.config import merge, resolve_for

SPACE_FILE = "space.json"

_logger = logging.getLogger(__name__)


def tune(tuning: Tuning) -> Tuned:
    """Searches for the hyperparameters under which an agent learns best, and says how sure that is.

    Every trial is a run nested in the sweep's. A sweep that was cut short goes on where it was. On the first Ctrl-C
    the results so far are logged.

    Raises:
        ConfigError: a name is unknown, or a value out of range; or the space holds what no training would take.
        KeyboardInterrupt: it was interrupted; its results so far are logged.
        RlbakeError: every trial failed.
    """
    applications, base = _applications(tuning.objective), tuning.objective.base
    space = tuning.space or shipped_space(resolve_for(applications[0], base).agent.name)
    refuse_impossible(applications, base, space)
    with (
        take_over_sweep(_known_digest(tuning, space)) as cut,
        stage_run(
            "tune", application=",".join(a.name for a in applications), resume=cut.run_id if cut else None
        ) as run,
        nullcontext(cut.claim) if cut else Claim(run.run_id) as claim,
        _trainings_say_nothing(),
    ):
        objective = tuning.objective.ensured() if isinstance(tuning.objective, LogsOf) else tuning.objective
        logs = tuning.logs.ensured() if tuning.logs else None
        run.tag({v.TAG_TUNING: _digest(tuning, objective, space)})
        if cut is None:
            run.log_config({**_asked(tuning, objective), "packages": packages()})
            run.log_text(json.dumps(plain(space), indent=2) + "\n", SPACE_FILE)
        known = list(cut.trials) if cut else []
        told = _told(run, claim, tuning.max_evals, best_of(known))
        sweep = Sweep(tuning.prune, tuning.patience, tuning.timeout_s, told, known)
        with run.phase("sweep"):
            ended = sweep.run(*_search(tuning, objective, space))
        if ended:
            _logger.info("Ended after %d trials: %s.", len(sweep.trials), ended)
        if best_of(sweep.trials) is None and ended != INTERRUPTED:
            run.tag({v.TAG_TUNING: ""})  # once its cause is put right, the same sweep begins anew
            raise RlbakeError(_nothing_worked(sweep.trials))
        tuned = conclude(
            run,
            sorted(sweep.trials, key=lambda trial: trial.number),
            space,
            objective,
            seed=tuning.seed,
            held_out=0 if ended == INTERRUPTED else tuning.held_out,
            logs=None if ended == INTERRUPTED else logs,
            price_per_hour=tuning.price_per_hour,
        )
        if ended == INTERRUPTED:
            _logger.info("The same command goes on from here.")
            raise KeyboardInterrupt
        return tuned


def refuse_impossible(applications: Sequence[Application], base: Mapping[str, Any], space: Space) -> None:
    """Refuses what no training would take.

    Raises:
        ConfigError: the configuration that all points share, or a value of the space.
        SpecError: an agent that cannot do an application's actions.
    """
    points: list[Point] = [{}, *({parameter.path: value} for parameter in space for value in parameter.extremes())]
    facts = {name: module.FACTS for name, module in AGENTS.items()}
    for application in applications:
        for point in points:
            config = resolve_for(application, merge(base, nested(point)))
            refuse_unsuitable(config.agent.name, application.action, facts)


def _applications(objective: Scenarios | LogsOf) -> list[Application]:
    return [objective.period.application] if isinstance(objective, LogsOf) else objective.applications()


def _search(tuning: Tuning, objective: Scenarios | Logs, space: Space) -> tuple[Search, Objective]:
    """Who searches, and the objective as it is where trials are made."""
    how = (space, tuning.algorithm, tuning.max_evals, tuning.seed)
    if tuning.parallelism == 1:
        return Hyperopt(*how), objective
    from rlbake.sweep.on_spark import HyperoptOnSpark, shipped
    from rlbake.warehouse.session import spark_session

    spark = spark_session()
    if isinstance(objective, Logs):
        sent: Objective = replace(objective, target=shipped(spark, objective.target))
    else:
        sent = replace(objective, targets=tuple(shipped(spark, target) for target in objective.targets))
    return HyperoptOnSpark(spark, *how, tuning.parallelism), sent


def _told(run: StageRun, claim: Claim, max_evals: int, best: Trial | None) -> Callable[[Trial], None]:
    """Logs every trial and says in a line how it went."""

    def told(trial: Trial) -> None:
        claim.check()
        log_trial(run, trial)
        run.flush()
        nonlocal best
        best = best_of([trial, *([best] if best else [])])
        _logger.info(
            "Trial %d of %d %s in %.0f s: score %s; best %s.%s",
            trial.number + 1, max_evals, trial.status, trial.seconds, _score(trial), _score(best),
            f" {trial.reason}" if trial.reason else "",
        )  # fmt: skip

    return told


@contextmanager
def _trainings_say_nothing() -> Iterator[None]:
    """What each of hundreds of trainings remarks is of no trial in particular; warnings are let through."""
    remarks = logging.getLogger(rlbake.training.__name__)
    before = remarks.level
    remarks.setLevel(logging.WARNING)
    try:
        yield
    finally:
        remarks.setLevel(before)


def _score(trial: Trial | None) -> str:
    return f"{trial.outcome.score:.3f}" if trial and trial.outcome else "-"


def _asked(tuning: Tuning, objective: Scenarios | Logs) -> dict[str, Any]:
    """What was asked for; the space is an artifact of its own."""
    known = {name: value for name, value in vars(tuning).items() if name not in ("space", "objective", "logs")}
    return {"objective": type(objective).__name__.lower(), **asdict(objective), **known}


def _known_digest(tuning: Tuning, space: Space) -> str | None:
    """The digest, if such a sweep may be gone on with, and what it reads is there already."""
    objective = tuning.objective.built() if isinstance(tuning.objective, LogsOf) else tuning.objective
    return _digest(tuning, objective, space) if tuning.resume and objective else None


def _digest(tuning: Tuning, objective: Scenarios | Logs, space: Space) -> str:
    """Of everything that decides which points are tried and what they are worth: 32 hex digits."""
    decisive = {
        "objective": [type(objective).__name__, asdict(objective)],
        "space": space,
        "search": [tuning.algorithm, tuning.seed, tuning.prune],
        "code": [version("rlbake"), source_code.tags().get(MLFLOW_GIT_COMMIT)],
    }
    return hashlib.sha256(json.dumps(plain(decisive), sort_keys=True).encode()).hexdigest()[:32]


def _nothing_worked(trials: list[Trial]) -> str:
    reasons = Counter(trial.reason for trial in trials).most_common(5)
    said = "; ".join(f"{count} times: {reason}" for reason, count in reasons)
    return f"none of {len(trials)} trials was finished. {said}"
