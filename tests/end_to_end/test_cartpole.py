"""The canonical check, through the entry points: balance the pole after nothing but random pushes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.conftest import Enter

RECORDED = Path(__file__).parent.parent / "data/recorded_cartpole.py"


@pytest.fixture
def gate(tmp_path: Path) -> str:
    """Fresh environments are tried elsewhere."""
    (tmp_path / "gate.yaml").write_text("loads_in: process\n")
    return "gate.yaml"


@pytest.mark.slow
def test_ten_thousand_recorded_steps(enter: Enter, gate: str):
    application = {"application": f"{RECORDED}:RecordedCartPole", "date": "2026-01-01"}
    trained = enter("train", **application, set="steps=5000")
    assert trained.exit_code == 0, trained.printed
    evaluated = enter("evaluate", **application, gate=gate)
    assert evaluated.exit_code == 0, evaluated.printed
    assert evaluated.run.data.metrics["sim/mean_return"] >= 195


@pytest.mark.slow
def test_one_simulated_day(enter: Enter, gate: str):
    evaluated = enter("evaluate", seed=1, gate=gate)
    assert evaluated.exit_code == 0, evaluated.printed
    assert evaluated.run.data.metrics["sim/mean_return"] >= 195
