"""What a model is worth, before anybody meets it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict

import pandas as pd

from rlbake import vocabulary as v
from rlbake.errors import NotFoundError
from rlbake.evaluation.evaluation import AGENT, LOGGED, Evaluation, Figure, Simulated
from rlbake.evaluation.page import page
from rlbake.evaluation.simulated import simulate
from rlbake.period.build import ensure_trajectories
from rlbake.period.dataset import dataset, pinned
from rlbake.period.models import challenger_of, policy_of
from rlbake.period.off_policy import off_policy
from rlbake.period.period import Period
from rlbake.period.train import train, training_config
from rlbake.registry.config import FRESH, SIMULATED, GateConfig, read_gate
from rlbake.registry.evidence import store_evaluation
from rlbake.registry.promote import champion_of
from rlbake.registry.versions import ResolvedModel, resolve
from rlbake.tracking.environment import loads
from rlbake.tracking.runs import stage_run

_logger = logging.getLogger(__name__)

EPISODES = 1000
SEED = 20_260_101  # the same episodes for every model, so that challenger and champion face the same world
REPORT, TABLE = "evaluation.html", "estimates.csv"
"""Artifacts of the run, beside the record `evaluation.json`: a page, and every estimate of every candidate."""


def evaluate(period: Period, model: str | None = None, *, rules: GateConfig | None = None) -> Evaluation:
    """Compares a model with the champion and with whoever else could decide; what comes out is the gate's evidence.

    Off-policy, on the environments that training held out, over the training window that ends with the
    period's; in the simulated world, where the application has one; and in an environment of its own,
    whether it loads.

    Args:
        model: URI; the challenger, trained first if there is none, if not given.
        rules: what the gate will ask of it; the application's if not given.

    Raises:
        NotFoundError: there is no such model.
        DataError: the trajectories are not as the application describes them.
    """
    application = period.application
    asked = rules or read_gate(application.gate)
    with stage_run("evaluate", application=application.name, window=period.window.ds) as run:
        evaluated = resolve(model) if model else _challenger(period)
        champion = champion_of(period.model_name)
        if champion is not None and champion.model_id == evaluated.model_id:
            champion = None
        run.log_config(
            {
                "model": evaluated.uri,
                "model_id": evaluated.model_id,
                "champion": champion.uri if champion else None,
                "primary": asked.primary,
                "episodes": EPISODES,
                "episodes_seed": SEED,
                "seed": period.seed,
            }
        )
        for used in filter(None, (evaluated, champion)):
            run.log_model_input(used.model_id)
        ensure_trajectories(period)
        snapshot = pinned(period)
        held = dataset(period, snapshot, "holdout")
        run.log_input(held, "evaluation")
        with run.phase("off_policy"):
            primary = None if asked.primary == SIMULATED else asked.primary
            known = off_policy(period, snapshot, evaluated, champion, primary=primary)
        with run.phase("simulate"):
            played = _simulated(period, evaluated), _simulated(period, champion)
            deployed = _simulated(period, evaluated, explore=True)
        _logger.info("Trying %s outside of this process (%s).", evaluated.policy_version, asked.loads_in)
        with run.phase("load"):
            loaded, message = loads(evaluated, fresh=asked.loads_in == FRESH)
        evaluation = Evaluation(
            model=evaluated.policy_version,
            model_id=evaluated.model_id,
            champion=champion.policy_version if champion else None,
            champion_id=champion.model_id if champion else None,
            application=application.name,
            windows=snapshot.windows,
            dataset_digest=snapshot.digest,
            gamma=application.gamma,
            loads=loaded,
            loads_in=asked.loads_in,
            loads_message=message,
            simulated=played[0],
            champion_simulated=played[1],
            deployed=deployed,
            **vars(known),
        )
        store_evaluation(run, evaluation)
        run.log_text(page(evaluation), REPORT)
        run.log_text(_table(evaluation), TABLE)
        figures = {name: value for name, value in _metrics(evaluation) if math.isfinite(value)}
        run.metrics(figures, model_id=evaluated.model_id, dataset=held)
        _tell(evaluation)
        return evaluation


def _simulated(period: Period, model: ResolvedModel | None, *, explore: bool = False) -> Simulated | None:
    """Its return, greedy or exploring, in the simulated world of the window in which it would decide.

    None if there is no such world, or no model.
    """
    application = period.application
    world = application.world_at(application.cadence.following(period.window))
    if world is None or model is None:
        return None
    played = simulate(world, policy_of(model, explore=explore), reward=application.reward, episodes=EPISODES, seed=SEED)
    return Simulated(played.mean, played.low, played.high, played.best, played.random, played.score)


def _metrics(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    """`ope/<estimator>/…` of the model, `ope/<candidate>/<estimator>/…` of the others, `ope/difference/<candidate>/…`,
    `ope/metric/<metric>/…`, and `sim/…`; only what is finite.
    """  # fmt: skip
    named: list[tuple[str, Figure]] = []
    for candidate, estimates in evaluation.estimates.items():
        shown = estimates if candidate in (AGENT, LOGGED) else {evaluation.primary: estimates[evaluation.primary]}
        named += [(_path(candidate, estimator), figure) for estimator, figure in shown.items()]
    named += [(f"ope/difference/{other}", figure) for other, figure in evaluation.differences.items()]
    named += [(f"ope/metric/{m}", figures[AGENT]) for m, figures in evaluation.metrics.items() if AGENT in figures]
    named += [(f"ope/metric/{m}/difference", figure) for m, figure in evaluation.metric_differences.items()]
    for name, figure in named:
        yield from ((f"{name}/{part}", getattr(figure, part)) for part in ("value", "low", "high"))
    for candidate, support in evaluation.support.items():
        whose = "ope" if candidate == AGENT else f"ope/{candidate}"
        yield from ((f"{whose}/{part}", getattr(support, part)) for part in ("ess", "overlap", "max_weight"))
    if evaluation.simulated is not None:
        played = evaluation.simulated
        yield from (
            (v.SIM_MEAN, played.mean),
            (v.SIM_LOW, played.low),
            (v.SIM_HIGH, played.high),
            (v.SIM_BEST, played.best),
            (v.SIM_RANDOM, played.random),
            (v.SIM_SCORE, played.score),
        )
    if evaluation.deployed is not None:
        yield v.SIM_DEPLOYED, evaluation.deployed.mean


def _table(evaluation: Evaluation) -> str:
    """Every estimate of every candidate, as CSV."""
    rows = [
        {"candidate": candidate, "estimator": estimator, **asdict(figure)}
        for candidate, estimates in evaluation.estimates.items()
        for estimator, figure in estimates.items()
    ]
    return pd.DataFrame(rows).to_csv(index=False)


def _path(candidate: str, estimator: str) -> str:
    if candidate == LOGGED:
        return "ope/logged"
    return f"ope/{estimator}" if candidate == AGENT else f"ope/{candidate}/{estimator}"


def _tell(evaluation: Evaluation) -> None:
    if evaluation.simulated is not None:
        played = evaluation.simulated
        _logger.info(
            "%s, %d simulated episodes: return %.4g, 95 %% interval [%.4g, %.4g], random %.4g, best %.4g, score %.3f.",
            evaluation.model, EPISODES, played.mean, played.low, played.high, played.random, played.best, played.score,
        )  # fmt: skip
    for candidate, estimates in evaluation.estimates.items():
        figure = estimates.get(LOGGED if candidate == LOGGED else evaluation.primary)
        if figure is not None:
            _logger.info(
                "%-18s %s by %s: %.4g, 95 %% interval [%.4g, %.4g]%s", candidate, evaluation.unit,
                "the logs" if candidate == LOGGED else evaluation.primary, figure.value, figure.low, figure.high,
                ", which the logs do not support." if _doubtful(evaluation, candidate) else ".",
            )  # fmt: skip
    for reason in evaluation.refusals:
        _logger.warning("The logs cannot tell: %s", reason)


def _doubtful(evaluation: Evaluation, candidate: str) -> bool:
    support = evaluation.support.get(candidate)
    figure = evaluation.estimates[candidate].get(evaluation.primary)
    return bool(support and support.warnings) or bool(figure and not figure.claims_coverage)


def _challenger(period: Period) -> ResolvedModel:
    try:
        return challenger_of(period)
    except NotFoundError:
        _logger.info("%s has no challenger yet. Training first.", period.model_name)
        return train(period, training_config(period))
