"""A fitted agent that was never trained: export and serving care for its shape alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rlbake.features.identify import Transform
from rlbake.features.preprocessing import Preprocessing
from rlbake.learners.heads import ValueHead
from rlbake.learners.networks import dense_network
from rlbake.specs import Binary, Category, Discrete, Number
from rlbake.training.config import resolve
from rlbake.training.fitted import FittedAgent

OBSERVATION = (Number("level"), Binary("payer"), Category("country", ["US", "DE"]))
ACTION = Discrete(["wait", "offer", "gift"])


@pytest.fixture(scope="session")
def linear_agent() -> Callable[..., FittedAgent]:
    """Action values = features @ weights + bias, with features (level, payer, US, DE)."""

    def build(weights: np.ndarray | None = None, bias: np.ndarray | None = None, epsilon: float = 0.1) -> FittedAgent:
        network = dense_network((), 4, len(ACTION))
        network.set_weights([np.zeros((4, 3)) if weights is None else weights, np.zeros(3) if bias is None else bias])
        return FittedAgent(
            OBSERVATION,
            ACTION,
            resolve({"agent": {"epsilon": epsilon}}, gamma=0.9),
            Preprocessing(OBSERVATION, {"level": Transform("standard", 10.0, 2.0)}),
            ValueHead(network, epsilon),
            {"agent": [np.arange(3.0), np.float32(2)]},
            {},
        )

    return build
