"""Who learns values from logs in which nothing else was tried is held to them, or told how to be."""

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.features.profile import Profiles
from rlbake.period.narrow_logs import held_to_narrow_logs
from rlbake.training.config import nested_config, resolve
from tests.quality.reports import number


def logged(certain: int, chosen: int = 0) -> Profiles:
    """Propensities of so many decisions that were certain, and of so many made by the toss of a coin."""
    return {v.LOG_PROBABILITY: number([*[0.0] * certain, *[np.log(0.5)] * chosen])}


def changes(profiles: Profiles, agent: str, set_: str = "") -> dict[str, tuple[object, object]]:
    """What becomes of the agent's hyperparameters, before and after, where they change."""
    config = resolve(nested_config(agent=agent, set_=set_), gamma=0)
    before, after = vars(config.agent), vars(held_to_narrow_logs(config, profiles).agent)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "rlbake")
    return caplog


@pytest.mark.parametrize("agent", ["dqn", "double_dqn"])
def test_q_learning_is_held_to_what_was_done_unless_it_is_set(said: pytest.LogCaptureFixture, agent: str):
    assert changes(logged(90, 10), agent) == {"conservatism": (None, 0.01)}
    assert "90% of the decisions were certain" in said.text
    assert f"agent.conservatism=0.01 holds {agent} near" in said.text
    said.clear()
    assert changes(logged(90, 10), agent, "agent.conservatism=0") == {}
    assert changes(logged(90, 10), agent, "agent.conservatism=0.2") == {}
    assert changes(logged(90, 10), agent, "agent.constraint=0.1") == {}
    assert said.text == ""


def test_another_agent_of_values_is_told_what_to_set(said: pytest.LogCaptureFixture):
    assert changes(logged(90, 10), "rainbow") == {}
    assert "rainbow may act on it. set=agent.constraint=0.1 holds it near" in said.text
    said.clear()
    assert changes(logged(90, 10), "rainbow", "agent.constraint=0.1") == {}
    assert said.text == ""


def test_nothing_becomes_of_others(said: pytest.LogCaptureFixture):
    assert changes(logged(40, 60), "double_dqn") == {}
    assert changes(logged(100), "behavioral_cloning") == {}
    assert changes({}, "double_dqn") == {}
    assert changes({v.LOG_PROBABILITY: number([], 100)}, "double_dqn") == {}
    assert said.text == ""
