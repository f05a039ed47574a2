"""Batch reinforcement learning in production: Spark, TF-Agents and MLflow."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # tf-agents 0.18 speaks Keras 2
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no start-up banners

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
]
