"""Tuning on logs: every environment judges once, and only agents that have not seen it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from rlbake.errors import ConfigError
from rlbake.period import open_period
from rlbake.period.build import build_trajectories
from rlbake.period.dataset import pinned
from rlbake.period.period import Period
from rlbake.policies.behaviour import RandomPolicy
from rlbake.scenarios.drift import Drift
from rlbake.sweep.hopeless import always
from rlbake.sweep.offline import Logs

DRIFT = "rlbake.scenarios.drift:Drift"
SHORT = {"steps": 300, "agent": {"layers": [32]}}


@pytest.fixture(scope="module")
def period(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Period:
    """A day of drift, decided at random."""
    patch = pytest.MonkeyPatch()
    with patch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{migrated_store}")
        opened = open_period(DRIFT, str(tmp_path_factory.mktemp("tables")), "2026-01-01", 0)
        application = opened.application
        application.simulate(opened.window, RandomPolicy(application.action), 600, 0)
        build_trajectories(opened)
    return opened


def logs(period: Period, **how: object) -> Logs:
    return Logs(DRIFT, pinned(period), **{"base": SHORT, "folds": 2, **how})


def test_what_learns_is_worth_more_than_what_does_not(period: Period):
    objective = logs(period)
    learned = objective({"agent.learning_rate": 3e-3}, always)
    ignorant = objective({"agent.learning_rate": 1e-9}, always)
    assert [curve.seed for curve in learned.curves] == [0, 1]
    assert {len(curve.scores) for curve in learned.curves} == {1}
    assert learned.score > ignorant.score + 0.03
    chance = float(np.mean([objective(p, always).score for p in ({"agent.epsilon": 1.0},)]))
    assert learned.score > chance + 0.05
    assert learned.score < Drift().world().best_return  # per decision


def test_the_folds_part_the_environments(period: Period):
    objective = logs(period, folds=3)
    steps = objective._steps
    dealt = objective._dealt(steps)
    by_environment = {env: set(dealt[steps.env_id == env]) for env in np.unique(steps.env_id)[:50]}
    assert all(len(folds) == 1 for folds in by_environment.values())
    assert np.bincount(dealt).min() > len(dealt) / 4


def test_the_same_point_has_the_same_score(period: Period):
    first, second = (logs(period)({}, always) for _ in range(2))
    assert first.curves == second.curves


def test_a_hopeless_point_is_not_tried_on_every_fold(period: Period):
    found = logs(period)({}, lambda curve: False)
    assert found.stopped
    assert len(found.curves) == 1


def test_numbers_are_not_tuned_on_logs(period: Period):
    with pytest.raises(ConfigError, match="Tune on scenarios instead"):
        Logs("rlbake.scenarios.offer_price:OfferPrice", pinned(period), {}).application  # noqa: B018
