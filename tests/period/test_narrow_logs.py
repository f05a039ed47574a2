"""Who learns values from logs in which nothing else was tried is told what that means."""

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.features.profile import Profiles
from rlbake.period.narrow_logs import warn_of_narrow_logs
from rlbake.training.config import nested_config, resolve
from tests.quality.reports import number

ADVICE = {"double_dqn": "agent.conservatism=0.01", "dqn": "agent.conservatism=0.01", "rainbow": "agent.constraint=0.1"}


def logged(certain: int, chosen: int = 0) -> Profiles:
    """Propensities of so many decisions that were certain, and of so many made by the toss of a coin."""
    return {v.LOG_PROBABILITY: number([*[0.0] * certain, *[np.log(0.5)] * chosen])}


def warned(profiles: Profiles, caplog: pytest.LogCaptureFixture, agent: str, set_: str = "") -> str:
    caplog.clear()
    warn_of_narrow_logs(resolve(nested_config(agent=agent, set_=set_), gamma=0), profiles)
    return caplog.text


@pytest.mark.parametrize(("agent", "advice"), ADVICE.items())
def test_what_was_never_tried_is_a_guess(caplog: pytest.LogCaptureFixture, agent: str, advice: str):
    said = warned(logged(90, 10), caplog, agent)
    assert "90% of the decisions were certain" in said
    assert f"a guess of {agent}" in said
    assert f"set={advice} holds it near" in said
    assert warned(logged(90, 10), caplog, agent, advice) == ""  # what is advised is enough


def test_nothing_is_said_of_others(caplog: pytest.LogCaptureFixture):
    assert warned(logged(40, 60), caplog, "double_dqn") == ""
    assert warned(logged(100), caplog, "behavioral_cloning") == ""
    assert warned({}, caplog, "double_dqn") == ""
    assert warned({v.LOG_PROBABILITY: number([], 100)}, caplog, "double_dqn") == ""
