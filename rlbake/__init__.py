"""Batch reinforcement learning in production: Spark, TF-Agents and MLflow."""

import importlib
import os
import sys
from typing import Any

if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true", "True"):
    raise ImportError(
        "TensorFlow was imported before rlbake and runs Keras 3, which tf-agents cannot use: "
        "import rlbake first, or set TF_USE_LEGACY_KERAS=1."
    )
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # tf-agents 0.18 speaks Keras 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up banners
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # scikit-learn's threads that wait soon leave the cores to others

from rlbake.application import Application
from rlbake.cadence import Cadence, Window
from rlbake.specs import Binary, Category, Continuous, Discrete, MultiDiscrete, Number

__all__ = [
    "Application",
    "Binary",
    "Cadence",
    "Category",
    "Continuous",
    "Discrete",
    "MultiDiscrete",
    "Number",
    "Window",
    "join_logs",
    "sources",
]


def __getattr__(name: str) -> Any:
    """`join_logs` and `sources`, on first use: importing rlbake must not import Spark."""
    if name == "join_logs":
        from rlbake.timesteps.join_logs import join_logs

        return join_logs
    if name == "sources":
        return importlib.import_module("rlbake.sources")
    raise AttributeError(f"module 'rlbake' has no attribute {name!r}")
