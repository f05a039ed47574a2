"""Registered agents with chosen evidence, in a real registry."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.cadence import Cadence
from rlbake.evaluation.evaluation import (
    AGENT,
    CHAMPION,
    LOGGED,
    RULES,
    Evaluation,
    Figure,
    Propensities,
    Simulated,
    Support,
)
from rlbake.registry.config import read_gate
from rlbake.registry.evidence import store_evaluation
from rlbake.registry.promote import Promotion, champion_of, promote
from rlbake.registry.versions import ResolvedModel, register, resolve
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect

NAME = "main.rl.demo"
CADENCE = Cadence(start="2026-01-01")
SUPPORT = Support(
    5000, 400, ess=900.0, ess_environments=120.0, overlap=0.98, max_weight=6.0, tail=0.2, deterministic=0.0
)

Register = Callable[..., ResolvedModel]


@pytest.fixture
def registered(tracking_uri: str) -> Register:
    """Logs and registers a model, as a training does."""
    return train


def train(name: str = NAME) -> ResolvedModel:
    """Logs and registers a model without files."""
    connect()
    with stage_run("train", application="demo") as training:
        logged = mlflow.initialize_logged_model(name="agent", source_run_id=training.run_id)
        logged = mlflow.finalize_logged_model(logged.model_id, "READY")
    return register(resolve(f"models:/{logged.model_id}"), name)


def around(value: float, half: float = 0.01) -> Figure:
    return Figure(value, value - half, value + half)


def good(model: ResolvedModel, champion: ResolvedModel | None = None) -> Evaluation:
    """An evaluation that passes every rule: 0.03 ± 0.01 better than whoever it is compared with."""
    world = Simulated(mean=50.0, low=48.0, high=52.0, best=100.0, random=10.0, score=0.44)
    values = {AGENT: around(0.12), LOGGED: around(0.09), RULES: around(0.10)}
    return Evaluation(
        model=model.policy_version,
        model_id=model.model_id,
        champion=champion.policy_version if champion else None,
        champion_id=champion.model_id if champion else None,
        application="demo",
        windows=("2026-01-29", "2026-01-30"),
        dataset_digest="d" * 32,
        decisions=5000,
        environments=400,
        gamma=0.9,
        primary="sndr",
        unit="reward per decision",
        estimates={who: {"sndr": figure} for who, figure in values.items()},
        differences={LOGGED: around(0.03), RULES: around(0.02)} | ({CHAMPION: around(0.03)} if champion else {}),
        metrics={"click": values, "unsubscribe": {AGENT: around(0.002, 0.001)}},
        metric_differences={"click": around(0.03), "unsubscribe": around(0.0, 0.001)},
        support={AGENT: SUPPORT} | ({CHAMPION: SUPPORT} if champion else {}),
        propensities=Propensities("logged", 0.0, {"random": 1.0}, {"a": 1.0, "b": 1.0}, reliability=[]),
        flips=0.2 if champion else None,
        kl=0.1 if champion else None,
        drift={"x": 0.02, "y": 0.05} if champion else None,
        loads=True,
        loads_in="fresh",
        simulated=world,
        champion_simulated=replace(world, mean=49.0, low=47.0, high=51.0) if champion else None,
    )


def evaluate(model: ResolvedModel, **changes: Any) -> Evaluation:
    """Stores an evaluation of a model against today's champion, as the evaluate stage does."""
    evaluation = replace(good(model, champion_of(model.name or NAME)), **changes)
    with stage_run("evaluate", application="demo") as run:
        run.log_model_input(model.model_id)
        store_evaluation(run, evaluation)
    return evaluation


def promoted(
    model: ResolvedModel, gate: dict[str, Any] | None = None, *, newest: str = "2026-01-31", **options: Any
) -> tuple[Promotion, str]:
    """What a promotion does, and its run."""
    with stage_run("promote", application="demo") as run:
        done = promote(
            options.pop("name", NAME),
            model.uri,
            run=run,
            config=read_gate(gate),
            cadence=CADENCE,
            newest=CADENCE.window(newest),
            **options,
        )
    return done, run.run_id


def aliases(name: str = NAME) -> dict[str, str]:
    return {alias: str(number) for alias, number in MlflowClient().get_registered_model(name).aliases.items()}


def tags(version: str, name: str = NAME) -> dict[str, str]:
    return MlflowClient().get_model_version(name, version).tags


@pytest.fixture(scope="session")
def store_with_champion(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose one version is champion; copying it is quicker than promoting."""
    database = shutil.copy(migrated_store, tmp_path_factory.mktemp("champion") / "mlflow.db")
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # which the setters write to as well
            patch.setenv(name, "")
        patch.chdir(database.parent)
        mlflow.set_tracking_uri(f"sqlite:///{database}")
        mlflow.set_registry_uri(f"sqlite:///{database}")
        model = train()
        evaluate(model)
        promoted(model)
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    return database


@pytest.fixture
def champion(store_with_champion: Path, tracking_uri: str) -> ResolvedModel:
    """Version 1, the champion."""
    shutil.copy(store_with_champion, tracking_uri.removeprefix("sqlite:///"))
    connect()
    return resolve(v.CHAMPION, name=NAME)
