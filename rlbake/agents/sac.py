"""Soft actor-critic (Haarnoja et al., 2018, https://arxiv.org/abs/1812.05905).

Target of both critics: r + discount · (min(Q₁'(s', a'), Q₂'(s', a')) - α log π(a' | s')), with a' drawn from the
actor π, and Q₁' and Q₂' the target networks. π ascends E[min(Q₁(s, a), Q₂(s, a)) - α log π(a | s)], and α, the
temperature, goes where π has its target entropy.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from rlbake.learners.bounds import Bounds
from rlbake.learners.facts import Facts
from rlbake.learners.stochastic_actor import StochasticActorCritic, StochasticConfig
from rlbake.specs import Continuous

FACTS = Facts(
    actions=(Continuous,),
    foresight=True,
    on_logs="overestimates less than DDPG, but nothing keeps it near the actions that the logs hold",
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(StochasticConfig):
    """Hyperparameters of SAC: those of StochasticConfig."""

    name: Literal["sac"] = "sac"


def learner(config: Config, *, size: int, action: Continuous, masked: bool) -> StochasticActorCritic:
    """The agent for `size` features; traced once per shape and process."""
    return _learner(config.layers, size, Bounds(action.low, action.high))


@lru_cache(maxsize=4)
def _learner(layers: tuple[int, ...], size: int, bounds: Bounds) -> StochasticActorCritic:
    return StochasticActorCritic(layers, size, bounds)
