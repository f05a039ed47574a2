"""Hyperparameters before anything goes live: on scenarios with a known best outcome, or on logs."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

from rlbake import vocabulary as v
from rlbake.agents import AGENTS
from rlbake.application import Application
from rlbake.errors import RlbakeError
from rlbake.learners.facts import refuse_unsuitable
from rlbake.period.tuned import Tuned, conclude
from rlbake.period.tuning import Tuning
from rlbake.sweep.objective import Objective, Point, Trial, best_of
from rlbake.sweep.offline import Logs
from rlbake.sweep.scenarios import Scenarios
from rlbake.sweep.search import Hyperopt, Search
from rlbake.sweep.space import Space, shipped_space
from rlbake.sweep.sweep import INTERRUPTED, Sweep
from rlbake.tracking import source_code
from rlbake.tracking.environment import packages
from rlbake.tracking.params import plain
from rlbake.tracking.runs import StageRun, stage_run
from rlbake.tracking.trainer import Claim
from rlbake.tracking.trials import log_trial, take_over_sweep
from rlbake.training.config import TrainConfig

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
    applications = _applications(tuning.objective)
    space = tuning.space or shipped_space(_config(tuning.objective, applications[0], {}).agent.name)
    refuse_impossible(tuning.objective, space)
    digest, name = _digest(tuning, space), ",".join(application.name for application in applications)
    with (
        take_over_sweep(digest if tuning.resume else None) as cut,
        stage_run("tune", application=name, resume=cut.run_id if cut else None) as run,
        nullcontext(cut.claim) if cut else Claim(run.run_id) as claim,
    ):
        run.tag({v.TAG_TUNING: digest})
        if cut is None:
            run.log_config({**_asked(tuning), "packages": packages()})
            run.log_text(json.dumps(plain(space), indent=2) + "\n", SPACE_FILE)
        sweep = Sweep(
            tuning.prune, tuning.patience, tuning.timeout_s, _told(run, claim, tuning), list(cut.trials if cut else ())
        )
        with run.phase("sweep"):
            ended = sweep.run(*_search(tuning, space))
        if ended:
            _logger.info("Ended after %d trials: %s.", len(sweep.trials), ended)
        if best_of(sweep.trials) is None and ended != INTERRUPTED:
            raise RlbakeError(_nothing_worked(sweep.trials))
        tuned = conclude(
            run,
            sorted(sweep.trials, key=lambda trial: trial.number),
            space,
            tuning.objective,
            seed=tuning.seed,
            held_out=0 if ended == INTERRUPTED else tuning.held_out,
            logs=None if ended == INTERRUPTED else tuning.logs,
            price_per_hour=tuning.price_per_hour,
        )
        if ended == INTERRUPTED:
            _logger.info("The same command goes on from here.")
            raise KeyboardInterrupt
        return tuned


def refuse_impossible(objective: Scenarios | Logs, space: Space) -> None:
    """Refuses what no training would take.

    Raises:
        ConfigError: the objective's configuration, or a value of the space.
        SpecError: an agent that cannot do an application's actions.
    """
    points: list[Point] = [{}, *({parameter.path: value} for parameter in space for value in parameter.extremes())]
    facts = {name: module.FACTS for name, module in AGENTS.items()}
    for application in _applications(objective):
        for point in points:
            config = _config(objective, application, point)
            refuse_unsuitable(config.agent.name, application.action, facts)


def _applications(objective: Scenarios | Logs) -> list[Application]:
    return [objective.application] if isinstance(objective, Logs) else objective.applications()


def _config(objective: Scenarios | Logs, application: Application, point: Point) -> TrainConfig:
    return objective.config(point) if isinstance(objective, Logs) else objective.config(application, point)


def _search(tuning: Tuning, space: Space) -> tuple[Search, Objective]:
    """Who searches, and the objective as it is where trials are made."""
    how, objective = (space, tuning.algorithm, tuning.max_evals, tuning.seed), tuning.objective
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


def _told(run: StageRun, claim: Claim, tuning: Tuning) -> Callable[[Trial], None]:
    """Logs every trial and says in a line how it went."""
    best: Trial | None = None

    def told(trial: Trial) -> None:
        claim.check()
        log_trial(run, trial)
        run.flush()
        nonlocal best
        best = best_of([trial, *([best] if best else [])])
        _logger.info(
            "Trial %d of %d %s in %.0f s: score %s; best %s.%s",
            trial.number + 1, tuning.max_evals, trial.status, trial.seconds, _score(trial), _score(best),
            f" {trial.reason}" if trial.reason else "",
        )  # fmt: skip

    return told


def _score(trial: Trial | None) -> str:
    return f"{trial.outcome.score:.3f}" if trial and trial.outcome else "-"


def _asked(tuning: Tuning) -> dict[str, Any]:
    """What was asked for; the space is an artifact of its own."""
    known = {name: value for name, value in vars(tuning).items() if name not in ("space", "objective", "logs")}
    return {"objective": type(tuning.objective).__name__.lower(), **asdict(tuning.objective), **known}


def _digest(tuning: Tuning, space: Space) -> str:
    """Of everything that decides which points are tried and what they are worth: 32 hex digits."""
    decisive = {
        "objective": [type(tuning.objective).__name__, asdict(tuning.objective)],
        "space": space,
        "search": [tuning.algorithm, tuning.seed, tuning.prune],
        "code": [version("rlbake"), source_code.tags().get(MLFLOW_GIT_COMMIT)],
    }
    return hashlib.sha256(json.dumps(plain(decisive), sort_keys=True).encode()).hexdigest()[:32]


def _nothing_worked(trials: list[Trial]) -> str:
    reasons: Mapping[str, int] = {}
    for trial in trials:
        reasons = {**reasons, trial.reason: reasons.get(trial.reason, 0) + 1}
    said = "; ".join(f"{count} times: {reason or 'stopped early'}" for reason, count in list(reasons.items())[:5])
    return f"none of {len(trials)} trials was finished. {said}"
