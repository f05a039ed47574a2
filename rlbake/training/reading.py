"""How trajectories are read for one training."""

from __future__ import annotations

from rlbake.agents import AGENTS
from rlbake.application import Application
from rlbake.cadence import duration
from rlbake.dataset.transitions import Reading
from rlbake.training.config import TrainConfig


def reading(application: Application, config: TrainConfig) -> Reading:
    """As the application says, as far as the configuration does not say else."""
    return Reading(
        observation=application.observation,
        action=application.action,
        metrics=application.metrics,
        reward={**application.reward, **config.reward},
        gamma=config.gamma,
        n_step=config.n_step,
        gamma_period=duration(config.gamma_period) if config.gamma_period else None,
        keeps_policy=AGENTS[config.agent.name].FACTS.on_policy,
    )
