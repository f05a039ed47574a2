"""Trajectories to a registered agent."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

from rlbake.dataset.reading import read
from rlbake.dataset.snapshot import Snapshot
from rlbake.errors import DataError, NotFoundError
from rlbake.features import identify
from rlbake.period.build import ensure_trajectories, unbuilt
from rlbake.period.checkpoints import checkpointed
from rlbake.period.dataset import dataset, pinned
from rlbake.period.decisions import decided
from rlbake.period.features import FEATURES, drift_metrics, known_profiles, save_profiles
from rlbake.period.importance import log_importance
from rlbake.period.narrow_logs import CONSERVATISM, HELD, held_to_narrow_logs
from rlbake.period.period import Period
from rlbake.period.progress import Progress
from rlbake.period.warm_start import Parent, parent_of
from rlbake.policies.export import export_policy
from rlbake.registry.versions import ResolvedModel, register
from rlbake.tracking import source_code
from rlbake.tracking.artifacts import local_file
from rlbake.tracking.environment import packages
from rlbake.tracking.event_files import event_files
from rlbake.tracking.model import log_agent
from rlbake.tracking.params import plain
from rlbake.tracking.runs import StageRun, stage_run
from rlbake.tracking.unfinished import take_over
from rlbake.training.config import TrainConfig, nested_config, resolve_for
from rlbake.training.fit import LOSS, STEPS, OnMetrics, fit, gradient_steps, profiles_of
from rlbake.training.reading import reading

_logger = logging.getLogger(__name__)


def training_config(
    period: Period, agent: str | None = None, file: str | None = None, set_: str | None = None
) -> TrainConfig:
    """Defaults < the application's gamma and reward < YAML file < `set`.

    Args:
        agent: name; overrides the file.
        file: path, or a run's artifact such as `runs:/<run id>/best.yaml`.
        set_: such as "agent.learning_rate=1e-3,n_step=3"; overrides both.

    Raises:
        ConfigError: a name is unknown, or a value of the wrong type or out of range.
        NotFoundError: there is no such artifact.
    """
    with local_file(file) as config:
        return resolve_for(period.application, nested_config(agent=agent, file=config, set_=set_))


def train(
    period: Period, config: TrainConfig, *, warm_start: str | None = None, tensorboard: str | None = None
) -> ResolvedModel:
    """Trains an agent on the training window that ends with the period's, and registers it as challenger.

    If such a training was cut short, that one is finished, in its own run, and ends with the same weights.

    Args:
        config: of the training.
        warm_start: reference of a model to go on from, such as `models:/main.rl.cartpole@champion`.
        tensorboard: folder for event files of the run's metrics, which are artifacts of the run as well.

    Raises:
        ConfigError: the model to go on from was trained on something else.
        DataError: there are too few transitions to train on, or one is unusable.
        NotFoundError: there is no such model to go on from.
        SpecError: the agent cannot do the application's actions.
    """
    application = period.application
    parent = parent_of(period, config, warm_start)
    with (
        take_over(_known_digest(period, config, parent)) as cut,
        stage_run(
            "train", application=application.name, window=period.window.ds, resume=cut.run_id if cut else None
        ) as run,
        checkpointed(run, cut) as checkpoints,
        event_files(run, tensorboard),
        ExitStack() as rows,
    ):
        run.log_config({**_asked(period, parent), **vars(config)})
        if parent:
            run.log_model_input(parent.model.model_id)
            _logger.info("Warm start from %s.", parent.model.policy_version)
        ensure_trajectories(period)
        with run.phase("read"):
            snapshot = pinned(period)
            learned = dataset(period, snapshot, "trajectories")
            run.log_input(learned, "training")
            training, holdout = rows.enter_context(
                read(snapshot, reading(application, config), holdout=config.holdout, budget=config.memory)
            )
            training, holdout = decided(
                training, holdout, period, config, parent.model.policy_version if parent else None
            )
            profiles = known_profiles(period, snapshot) or profiles_of(training, application.observation)
            run.metrics(drift_metrics(period, profiles), dataset=learned)
        held = held_to_narrow_logs(config, profiles)
        if held != config:
            run.metrics({HELD: CONSERVATISM})
        checkpoints.of(_digest(period, config, parent, snapshot))
        _logger.info(
            "Training %s on %s transitions (%s held out) of version %d, digest %s.",
            config.agent.name, f"{len(training):,}", f"{len(holdout):,}", snapshot.version, snapshot.digest,
        )  # fmt: skip
        with run.phase("train"), Progress(_last_step(config, parent, len(training))) as progress:
            fitted = fit(
                training,
                holdout,
                observation=application.observation,
                action=application.action,
                config=held,
                seed=period.seed,
                on_metrics=_reported(run, progress),
                warm_start=parent.start if parent else None,
                profiles=profiles,
                checkpoint=cut.checkpoint if cut else None,
                on_chunk=checkpoints.on_chunk,
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


def _asked(period: Period, parent: Parent | None) -> dict[str, Any]:
    """What was trained for, as far as the configuration does not say it."""
    return {
        "application": period.target,
        "tables": period.application.tables,
        "seed": period.seed,
        "model_name": period.model_name,
        "packages": packages(),
        "warm_start": parent.recorded() if parent else None,
    }


def _digest(period: Period, config: TrainConfig, parent: Parent | None, snapshot: Snapshot) -> str:
    """Of everything that decides the weights, and where they go: 32 hex digits."""
    decisive = {
        **_asked(period, parent),
        **vars(config),
        "build": period.build_digest,
        "code": [version("rlbake"), source_code.tags().get(MLFLOW_GIT_COMMIT)],
        "data": snapshot,
    }
    return hashlib.sha256(json.dumps(plain(decisive), sort_keys=True).encode()).hexdigest()[:32]


def _known_digest(period: Period, config: TrainConfig, parent: Parent | None) -> str | None:
    """The digest, if what is trained on is there already."""
    try:
        return None if unbuilt(period) else _digest(period, config, parent, pinned(period))
    except (DataError, NotFoundError):  # which the training will say itself
        return None


def _last_step(config: TrainConfig, parent: Parent | None, rows: int) -> int:
    return gradient_steps(config, rows) + (parent.start.carried(config.agent.name) if parent else 0)


def _reported(run: StageRun, progress: Progress) -> OnMetrics:
    """Logs metrics and progress; what a resumed run has logged already is not logged again."""
    logged = run.last_step(LOSS)

    def report(step: int, metrics: dict[str, float]) -> None:
        if step > logged:
            run.metrics(metrics, step)
        progress.at(step, metrics)

    return report
