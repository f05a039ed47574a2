"""Agents that learn from their own decisions, and one that learns from the rules, through the entry points."""

from __future__ import annotations

import pytest

from tests.end_to_end.conftest import Enter

MODEL = "main.rl.cartpole"


@pytest.mark.slow
def test_a_version_is_trained_further_from_what_it_decided(enter: Enter) -> None:
    first = enter("simulate", days=1, units=200, date="2026-01-01")
    assert first.exit_code == 0, first.printed
    quick = {"agent": "ppo", "set": "agent.epochs=5,agent.layers=[32]"}
    start = enter("train", **quick, date="2026-01-01")
    assert start.exit_code == 0, start.printed
    assert "The logs are the policy's own" in start.printed

    stale = enter("train", **quick, date="2026-01-01", warm_start=f"models:/{MODEL}/1")
    assert stale.exit_code != 0
    assert stale.failure is not None
    assert "the logs are stale" in stale.failure

    decided = enter("simulate", days=1, units=200, date="2026-01-02", policy=f"models:/{MODEL}/1")
    assert decided.exit_code == 0, decided.printed
    further = enter("train", **quick, date="2026-01-02", warm_start=f"models:/{MODEL}/1")
    assert further.exit_code == 0, further.printed
    assert f"transitions {MODEL}/1 decided on" in further.printed
    assert further.run.data.metrics["train/steps"] > start.run.data.metrics["train/steps"]


@pytest.mark.slow
def test_a_clone_of_the_rules(enter: Enter) -> None:
    """On message_timing: trained on random logs, it does what the rules would have done."""
    cloned = enter(
        "train",
        application="rlbake.scenarios.message_timing:MessageTiming",
        agent="behavioral_cloning",
        set="agent.clone=rules,steps=1500",
    )
    assert cloned.exit_code == 0, cloned.printed
    assert cloned.run.data.metrics["train/agreement"] >= 0.99
