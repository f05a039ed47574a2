"""Scores, by hand; and trials there and back through JSON."""

from __future__ import annotations

import pytest

from rlbake.sweep.objective import DONE, FAILED, STOPPED, Curve, Outcome, Trial, best_of, read_trial

OUTCOME = Outcome(
    (Curve("a", 0, (0.2, 0.6)), Curve("a", 1, (0.4, 1.0)), Curve("b", 0, (0.0, 0.0)), Curve("b", 1, (0.0, 0.4))),
    seconds={"all": 2.0},
    doubts=("few",),
)


def test_scores():
    assert OUTCOME.level == pytest.approx((0.6 + 1.0 + 0.0 + 0.4) / 4)
    assert OUTCOME.speed == pytest.approx((0.4 + 0.7 + 0.0 + 0.2) / 4)
    assert OUTCOME.score == pytest.approx((OUTCOME.level + OUTCOME.speed) / 2)
    assert OUTCOME.by_task == pytest.approx({"a": (0.5 + 0.85) / 2, "b": (0.0 + 0.3) / 2})
    assert OUTCOME.worst == ("b", pytest.approx(0.15))
    assert OUTCOME.by_seed == pytest.approx({0: 0.25, 1: 0.575})
    assert OUTCOME.median == pytest.approx(0.4125)
    assert OUTCOME.spread == pytest.approx(0.325)
    assert OUTCOME.learning_curve == pytest.approx([0.15, 0.5])


def test_there_and_back():
    for trial in (
        Trial(3, {"gamma": 0.1 + 0.2, "agent.layers": [64, 64]}, DONE, OUTCOME, seconds=1.5),
        Trial(4, {"gamma": 0.5}, FAILED, None, "it diverged"),
    ):
        assert read_trial(trial.to_json()) == trial


def test_the_best_one_was_finished():
    good = Outcome((Curve("a", 0, (0.9,)),))
    middling = Outcome((Curve("a", 0, (0.5,)),))
    trials = [
        Trial(0, {}, FAILED, None),
        Trial(1, {}, STOPPED, good),
        Trial(2, {}, DONE, middling),
        Trial(3, {}, DONE, middling),
    ]
    assert best_of(trials) == trials[2]
    assert best_of(trials[:2]) is None
