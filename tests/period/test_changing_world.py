"""A world that changes: a model is judged in the one in which it would decide."""

from __future__ import annotations

from pathlib import Path

import pytest

import rlbake
from rlbake.evaluation.simulated import simulate
from rlbake.period import open_period
from rlbake.period.evaluate import evaluate
from rlbake.period.models import policy_of
from rlbake.period.train import train, training_config
from rlbake.registry.config import read_gate
from rlbake.scenarios.drift import CHANGE, Drift


class FewReaders(Drift):
    """Trained on a single window, so that no more needs to be built."""

    cadence = rlbake.Cadence(start="2026-01-01", every="1d", training_window=1)
    units = 1_500


@pytest.mark.slow
def test_a_model_is_judged_by_the_window_that_follows(spark, tracking_uri: str, tmp_path: Path) -> None:
    last_before = FewReaders.cadence.following(FewReaders.cadence.first, CHANGE - 1)
    period = open_period(f"{__file__}:FewReaders", str(tmp_path / "tables"), last_before.ds, 0)
    model = train(period, training_config(period, set_="steps=1500"))
    before = simulate(Drift().world_at(last_before), policy_of(model), reward=Drift.reward, episodes=1_000, seed=0)
    assert before.score > 0.8
    judged = evaluate(period, model.uri, rules=read_gate({"loads_in": "process"}))
    assert judged.simulated.score < 0.1  # the same model, and logs that still speak for it
