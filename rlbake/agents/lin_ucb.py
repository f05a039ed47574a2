"""LinUCB (Li et al., 2010, https://arxiv.org/abs/1003.0146): linear, and explores by upper confidence bounds."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from tf_agents.bandits.agents.lin_ucb_agent import LinearUCBAgent

from rlbake.learners.facts import Facts
from rlbake.learners.linear_bandit import UNREAD_BY_SUMS, LinearConfig, LinearLearner, UpperBoundHead
from rlbake.learners.q_learning import number_of_actions
from rlbake.specs import Action, Discrete, MultiDiscrete

FACTS = Facts(
    actions=(Discrete, MultiDiscrete),
    foresight=False,
    on_logs="exact and fast; as good as rewards are linear in the features",
    unread=UNREAD_BY_SUMS,
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Config(LinearConfig):
    """Hyperparameters of LinUCB, besides those of LinearConfig.

    Attributes:
        epsilon: share of uniformly random actions when the exported policy explores, in [0, 1].
    """

    name: Literal["lin_ucb"] = "lin_ucb"
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.1


def learner(config: Config, *, size: int, action: Action, masked: bool) -> LinUCB:
    """The agent for `size` features; made once per shape and process.

    Raises:
        SpecError: the action is Continuous.
    """
    return _learner(size, number_of_actions(config.name, action))


@lru_cache(maxsize=4)
def _learner(size: int, actions: int) -> LinUCB:
    return LinUCB(LinearUCBAgent, size, actions)


class LinUCB(LinearLearner):
    """TF-Agents' LinearUCBAgent."""

    def configure(self, config: Config) -> None:
        super().configure(config)
        self._epsilon = config.epsilon

    def head(self) -> UpperBoundHead:
        return UpperBoundHead(self.model.posterior(), self.alpha, self._epsilon)
