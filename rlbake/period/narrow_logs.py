"""Logs in which hardly anything but one action was ever tried, and agents that would believe in the others."""

from __future__ import annotations

import logging
from dataclasses import replace

from rlbake import vocabulary as v
from rlbake.features.profile import Profiles
from rlbake.learners.q_learning import QLearningConfig, ValueConfig
from rlbake.quality.report import share_up_to
from rlbake.quality.verdict import CERTAIN
from rlbake.training.config import TrainConfig

CONSERVATISM = 0.01
"""Of DQN and double DQN on narrow logs, where none is set."""
HELD = "train/conservatism"
"""Metric of a training that was given it."""

_logger = logging.getLogger(__name__)


def held_to_narrow_logs(config: TrainConfig, profiles: Profiles) -> TrainConfig:
    """The configuration with what holds an agent to what was done, where most decisions were certain.

    DQN and double DQN get a conservatism unless one is set; for others it only says what to set.

    Args:
        config: of the training.
        profiles: of the training window's columns; without one of the propensities nothing changes.
    """
    agent, logged = config.agent, profiles.get(v.LOG_PROBABILITY)
    if not isinstance(agent, ValueConfig) or agent.constraint or logged is None or logged.low is None:
        return config
    certain = 1 - share_up_to(logged, -1e-6)
    if certain <= CERTAIN or (isinstance(agent, QLearningConfig) and agent.conservatism is not None):
        return config
    guess = f"{certain:.0%} of the decisions were certain (propensity 1): what other actions earn is a guess."
    if isinstance(agent, QLearningConfig):
        _logger.info(
            "%s agent.conservatism=%g holds %s near what was done; set=agent.conservatism=0 does without it.",
            guess, CONSERVATISM, agent.name,
        )  # fmt: skip
        return replace(config, agent=replace(agent, conservatism=CONSERVATISM))
    _logger.warning("%s %s may act on it. set=agent.constraint=0.1 holds it near what was done.", guess, agent.name)
    return config
