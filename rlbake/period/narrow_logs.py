"""Logs in which hardly anything but one action was ever tried, and agents that would believe in the others."""

from __future__ import annotations

import logging

from rlbake import vocabulary as v
from rlbake.features.profile import Profiles
from rlbake.learners.q_learning import QLearningConfig, ValueConfig
from rlbake.quality.report import share_up_to
from rlbake.quality.verdict import CERTAIN
from rlbake.training.config import TrainConfig

_logger = logging.getLogger(__name__)


def warn_of_narrow_logs(config: TrainConfig, profiles: Profiles) -> None:
    """Says so where most decisions were certain and nothing holds an agent that learns values to what was done.

    Args:
        config: of the training.
        profiles: of the training window's columns; without one of the propensities nothing is said.
    """
    agent, logged = config.agent, profiles.get(v.LOG_PROBABILITY)
    if not isinstance(agent, ValueConfig) or logged is None or logged.low is None:
        return
    certain = 1 - share_up_to(logged, -1e-6)
    conservative = isinstance(agent, QLearningConfig) and agent.conservatism > 0
    if certain <= CERTAIN or conservative or agent.constraint:
        return
    held = "agent.conservatism=0.01" if isinstance(agent, QLearningConfig) else "agent.constraint=0.1"
    _logger.warning(
        "%.0f%% of the decisions were certain (propensity 1): what other actions earn is a guess of %s, and it may act "
        "on it. set=%s holds it near what was done.",
        100 * certain, agent.name, held,
    )  # fmt: skip
