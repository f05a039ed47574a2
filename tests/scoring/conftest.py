"""A small real policy, trained and exported as the train stage does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlbake.specs import Binary, Category, Discrete, Number

OBSERVATION = (
    Number("level", low=0),
    Number("spend"),
    Binary("payer"),
    Category("country", ["US", "DE", "JP"]),
)
ACTION = Discrete(["morning", "noon", "night"])


@pytest.fixture(scope="session")
def policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A double DQN after a few steps of training; its epsilon is the default, 0.1."""
    from rlbake.dataset.transitions import Transitions
    from rlbake.policies.export import export_policy
    from rlbake.training.config import read_config
    from rlbake.training.fit import fit

    rng, rows = np.random.default_rng(0), 256
    seen = {
        "level": rng.integers(0, 100, rows).astype(np.float32),
        "spend": (rng.normal(size=rows) / 10).astype(np.float32),
        "payer": rng.random(rows) < 0.5,
        "country": rng.choice(["US", "DE", "JP"], rows),
    }
    action = rng.integers(0, 3, rows).astype(np.int32)
    best = (seen["level"].astype(int) // 34 + seen["payer"]) % 3
    start = np.datetime64("2026-01-01", "us")
    played = Transitions(
        env_id=np.arange(rows).astype(str),
        timestamp=np.full(rows, start),
        next_timestamp=np.full(rows, np.datetime64("NaT", "us")),
        step_type=np.zeros(rows, np.int32),
        end=np.full(rows, "terminated"),
        observation=seen,
        action=action,
        log_probability=np.full(rows, -np.log(3), np.float32),
        reward=(action == best).astype(np.float64),
        discount=np.zeros(rows),
        next_observation=seen,
        next_action_mask=None,
    )
    config = read_config(gamma=0.9, set_="steps=300,batch_size=64,agent.layers=[16],agent.learning_rate=1e-2")
    fitted = fit(played, played, observation=OBSERVATION, action=ACTION, config=config, seed=0)
    return export_policy(fitted, tmp_path_factory.mktemp("policy"))
