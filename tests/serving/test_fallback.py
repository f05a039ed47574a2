"""Who decides when the model cannot."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

import rlbake
from rlbake.errors import ConfigError
from rlbake.serving.fallback import Fallback
from tests.serving.crossing import BrokenRules, Crossing, NoRules

LIGHT: dict[str, Any] = {"speed": 2.0, "load": 1.0, "member": True, "country": "DE"}  # the rules say left
HEAVY = {**LIGHT, "load": 9.0}  # and right
NOT_LEFT = [False, True, True]


def test_the_rules_are_certain_and_what_they_may_not_do_is_left_to_chance() -> None:
    fallback = Fallback(Crossing(), None)
    assert fallback.choice == "rules"
    light, heavy = fallback.decide([LIGHT, HEAVY])
    assert (light.action, light.log_probability, light.policy_version, light.fallback) == (0, 0.0, "fallback", True)
    assert (heavy.action, heavy.log_probability) == (1, 0.0)
    masked = fallback.decide([{**LIGHT, "action_mask": NOT_LEFT}, {**HEAVY, "action_mask": NOT_LEFT}] * 500)
    drawn = masked[::2]
    assert {one.log_probability for one in masked[1::2]} == {0.0}
    assert [one.log_probability for one in drawn] == pytest.approx([math.log(0.5)] * 500)
    seen = Counter(one.action for one in drawn)
    assert set(seen) == {1, 2}
    assert seen[1] / 500 == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 500))


def test_without_rules_chance_decides_and_with_broken_ones_too() -> None:
    assert Fallback(NoRules(), None).choice == "random"
    for application in (NoRules(), BrokenRules()):
        decided = Fallback(application, None).decide([LIGHT] * 100)
        assert [one.log_probability for one in decided] == pytest.approx([math.log(1 / 3)] * 100)
        assert {one.action for one in decided} == {0, 1, 2}


def test_a_fixed_action_is_named() -> None:
    assert [one.action for one in Fallback(Crossing(), "up").decide([LIGHT, HEAVY])] == [2, 2]

    class Several(Crossing):
        action = rlbake.MultiDiscrete({"way": ["left", "right"], "speed": ["slow", "fast"]})
        rules = rlbake.Application.rules

    class Numbers(Crossing):
        action = rlbake.Continuous([0.0, -1.0], [1.0, 1.0], ["throttle", "wheel"])
        rules = rlbake.Application.rules

    assert Fallback(Several(), "right+slow").decide([LIGHT])[0].action == [1, 0]
    (chosen,) = Fallback(Numbers(), "0.5,-0.25").decide([LIGHT])
    assert (chosen.action, chosen.log_probability) == ([0.5, -0.25], None)
    (drawn,) = Fallback(Numbers(), None).decide([LIGHT])
    assert drawn.log_probability == pytest.approx(-math.log(2))


@pytest.mark.parametrize(
    ("application", "choice", "said"),
    [(Crossing, "upp", "Did you mean 'up'?"), (NoRules, "rules", "does not define rules"), (NoRules, "", None)],
)
def test_a_fallback_that_there_is_not_is_refused(application: type, choice: str, said: str | None) -> None:
    if said is None:
        assert Fallback(application(), choice).choice == "random"
        return
    with pytest.raises(ConfigError, match=said):
        Fallback(application(), choice)
