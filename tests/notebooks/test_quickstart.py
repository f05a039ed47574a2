"""The notebook runs from top to bottom, and its plots are there."""

from __future__ import annotations

import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

NOTEBOOK = Path(__file__).parent.parent.parent / "notebooks/quickstart.py"


@pytest.mark.slow
def test_quickstart(
    tracking_uri: str, spark: object, tmp_path: Path, model_environments: Path, monkeypatch: pytest.MonkeyPatch
):
    mpl.use("Agg")
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(model_environments))
    monkeypatch.setenv("RLBAKE_DAYS", "2")
    monkeypatch.setenv("RLBAKE_SET", "steps=1000")
    told = runpy.run_path(str(NOTEBOOK))
    assert NOTEBOOK.read_text().startswith("# Databricks notebook source\n")
    assert len(told["returns"]) == 2
    assert told["scores"].count() > 1000
    for plot in ("training", "days", "hours"):
        assert (tmp_path / f"quickstart_{plot}.png").stat().st_size > 10_000
