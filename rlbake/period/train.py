"""Trajectories to a registered agent."""

from __future__ import annotations

import json
import logging
import tempfile
from contextlib import ExitStack
from typing import Any

from rlbake.agents.config import TrainConfig, read_config
from rlbake.agents.training import STEPS, OnMetrics, fit, profiles_of
from rlbake.cadence import duration
from rlbake.dataset.reading import read
from rlbake.dataset.transitions import Reading
from rlbake.features import identify
from rlbake.period.build import ensure_trajectories
from rlbake.period.dataset import dataset, pinned
from rlbake.period.features import FEATURES, drift_metrics, known_profiles, save_profiles
from rlbake.period.importance import log_importance
from rlbake.period.period import Period
from rlbake.period.progress import Progress
from rlbake.policies.export import export_policy
from rlbake.registry.versions import ResolvedModel, register
from rlbake.tracking.environment import packages
from rlbake.tracking.model import log_agent
from rlbake.tracking.runs import StageRun, stage_run

_logger = logging.getLogger(__name__)


def training_config(
    period: Period, agent: str | None = None, file: str | None = None, set_: str | None = None
) -> TrainConfig:
    """Defaults < the application's gamma and reward < YAML file < `set`.

    Raises:
        ConfigError: a name is unknown, or a value of the wrong type or out of range.
    """
    application = period.application
    reward = {metric: application.reward.get(metric, 0.0) for metric in application.metrics}
    return read_config(gamma=application.gamma, reward=reward, agent=agent, file=file, set_=set_)


def train(period: Period, config: TrainConfig) -> ResolvedModel:
    """Trains an agent on the training window that ends with the period's, and registers it as challenger.

    Raises:
        DataError: there are too few transitions to train on, or one is unusable.
        SpecError: the agent cannot do the application's actions.
    """
    application = period.application
    with stage_run("train", application=application.name, window=period.window.ds) as run, ExitStack() as rows:
        run.log_config({**_asked(period), **vars(config)})
        ensure_trajectories(period)
        with run.phase("read"):
            snapshot = pinned(period)
            learned = dataset(period, snapshot, "trajectories")
            run.log_input(learned, "training")
            training, holdout = rows.enter_context(
                read(snapshot, reading(period, config), holdout=config.holdout, budget=config.memory)
            )
            profiles = known_profiles(period, snapshot) or profiles_of(training, application.observation)
            run.metrics(drift_metrics(period, profiles), dataset=learned)
        _logger.info(
            "Training %s on %s transitions (%s held out) of version %d, digest %s.",
            config.agent.name, f"{len(training):,}", f"{len(holdout):,}", snapshot.version, snapshot.digest,
        )  # fmt: skip
        with run.phase("train"), Progress(config.steps) as progress:
            fitted = fit(
                training,
                holdout,
                observation=application.observation,
                action=application.action,
                config=config,
                seed=period.seed,
                on_metrics=_reported(run, progress),
                profiles=profiles,
            )
        with run.phase("importance"):
            log_importance(run, fitted, holdout if len(holdout) else training, period.seed)
        with run.phase("log_model"), tempfile.TemporaryDirectory() as folder:
            run.log_text(json.dumps(identify.to_json(fitted.preprocessing.identified), indent=2), FEATURES)
            policy = export_policy(fitted, folder)
            save_profiles(profiles, policy)
            info = log_agent(policy, application=application.name)
            model = register(info, period.model_name)
        run.metrics(fitted.metrics, int(fitted.metrics[STEPS]), model_id=info.model_id, dataset=learned)
        _logger.info("Registered %s version %s as challenger.", model.name, model.version)
        return model


def _asked(period: Period) -> dict[str, Any]:
    """What was trained for, as far as the configuration does not say it."""
    return {
        "application": period.target,
        "tables": period.application.tables,
        "seed": period.seed,
        "model_name": period.model_name,
        "packages": packages(),
    }


def reading(period: Period, config: TrainConfig) -> Reading:
    """How trajectories are read for one training: the application, as far as the configuration does not say else."""
    application = period.application
    return Reading(
        observation=application.observation,
        action=application.action,
        metrics=application.metrics,
        reward={**application.reward, **config.reward},
        gamma=config.gamma,
        n_step=config.n_step,
        gamma_period=duration(config.gamma_period) if config.gamma_period else None,
    )


def _reported(run: StageRun, progress: Progress) -> OnMetrics:
    def report(step: int, metrics: dict[str, float]) -> None:
        run.metrics(metrics, step)
        progress.at(step, metrics)

    return report
