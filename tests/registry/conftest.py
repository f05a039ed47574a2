"""Registered agents with chosen evidence, in a real registry."""

from __future__ import annotations

from collections.abc import Callable

import mlflow
import pytest

from rlbake import vocabulary as v
from rlbake.registry.versions import ResolvedModel, register, resolve
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect

NAME = "main.rl.demo"

Register = Callable[..., ResolvedModel]


@pytest.fixture
def registered(tracking_uri: str) -> Register:
    """Logs and registers a model whose simulated mean is as given, with an interval of ± 10."""
    connect()

    def make(mean: float | None, *, random: float = 20.0) -> ResolvedModel:
        with stage_run("train", application="demo") as training:
            logged = mlflow.initialize_logged_model(name="agent", source_run_id=training.run_id)
            logged = mlflow.finalize_logged_model(logged.model_id, "READY")
        model = register(resolve(f"models:/{logged.model_id}"), NAME)
        if mean is not None:
            evaluate(model, mean, random=random)
        return model

    return make


def evaluate(model: ResolvedModel, mean: float, *, random: float = 20.0) -> None:
    """Logs a simulated return of a model, as the evaluate stage does."""
    with stage_run("evaluate", application="demo") as run:
        run.metrics(
            {v.SIM_MEAN: mean, v.SIM_LOW: mean - 10, v.SIM_HIGH: mean + 10, v.SIM_RANDOM: random},
            model_id=model.model_id,
        )
