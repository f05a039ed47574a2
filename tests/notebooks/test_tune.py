"""The notebook runs from top to bottom, with its trials as Spark tasks."""

from __future__ import annotations

import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

NOTEBOOK = Path(__file__).parent.parent.parent / "notebooks/tune.py"


@pytest.mark.slow
def test_tune(tracking_uri: str, spark: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mpl.use("Agg")
    few = {"SCENARIOS": "level_difficulty", "PARALLELISM": "2", "TRIALS": "3", "SET": "steps=50", "CYCLES": "2"}
    for name, value in {**few, "ROWS": "2000", "HELD_OUT": "1"}.items():
        monkeypatch.setenv(f"RLBAKE_{name}", value)
    told = runpy.run_path(str(NOTEBOOK))
    assert NOTEBOOK.read_text().startswith("# Databricks notebook source\n")
    assert list(told["trials"]["status"]) == ["done"] * 3
    assert told["tuned"].held_out.pairs == 2
    assert (tmp_path / "tune_curves.png").stat().st_size > 10_000
