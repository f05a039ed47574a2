"""Building what a scenario logged, as a period does."""

import pytest

from rlbake.trajectories.build import build_window


@pytest.fixture
def built(spark):
    """Builds a simulated window into trajectories."""

    def build(scenario, window):
        return build_window(
            scenario.timesteps(spark, window),
            tables=f"{scenario.tables}/{scenario.name}",
            keys=scenario.keys,
            observation=scenario.observation,
            action=scenario.action,
            metrics=scenario.metrics,
            reward=scenario.reward,
            window=window,
            previous=scenario.cadence.previous(window),
            episode_timeout=scenario.cadence.episode_timeout,
            run_id="run",
            config_digest="config",
        )

    return build
