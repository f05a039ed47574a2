"""A policy whose decisions can be worked out by hand, exported as a trained one is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rlbake
from rlbake.features.identify import Transform
from rlbake.features.preprocessing import Preprocessing
from rlbake.learners.heads import ValueHead
from rlbake.learners.networks import dense_network
from rlbake.policies.export import export_policy
from rlbake.training.config import resolve
from rlbake.training.fitted import FittedAgent

OBSERVATION = (
    rlbake.Number("speed"),
    rlbake.Number("load", 0, 10),
    rlbake.Binary("member"),
    rlbake.Category("country", ["DE", "US"]),
)
ACTION = rlbake.Discrete(["left", "right", "up"])

WEIGHTS = np.array(
    [
        # left, right, up
        [1.0, 0.0, 0.0],  # speed, mean 0 and variance 1
        [0.0, 1.0, 0.0],  # (load - 5) / 2
        [0.0, 0.0, 0.0],  # member
        [0.0, 0.0, 0.0],  # country is DE
        [0.0, 0.0, 1.5],  # country is US
    ],
    np.float32,
)


@pytest.fixture(scope="session")
def policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Values: left = speed, right = (load - 5) / 2, up = 1.5 in the US; ε = 0.3."""
    preprocessing = Preprocessing(
        OBSERVATION, {"speed": Transform("standard", 0.0, 1.0), "load": Transform("standard", 5.0, 2.0)}
    )
    network = dense_network((), preprocessing.size, len(ACTION))
    network.set_weights([WEIGHTS, np.zeros(len(ACTION), np.float32)])
    fitted = FittedAgent(
        observation=OBSERVATION,
        action=ACTION,
        config=resolve({"agent": {"name": "dqn", "layers": [], "epsilon": 0.3}}, gamma=0.9),
        preprocessing=preprocessing,
        head=ValueHead(network, 0.3),
        variables={"network": network.get_weights()},
        metrics={},
    )
    return export_policy(fitted, tmp_path_factory.mktemp("exported") / "policy")


def whole_environments(root: Path) -> list[Path]:
    """Those that are built; one that is being built, by another process of the tests say, has a longer name."""
    return sorted(root.glob(f"rlbake-{'[0-9a-f]' * 20}"))
