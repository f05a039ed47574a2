"""Searching: the same points again, none twice, and an end in time."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence

import pytest

from rlbake.errors import ConfigError, RlbakeError
from rlbake.sweep.hopeless import FEWEST, MedianRule, always
from rlbake.sweep.objective import DONE, FAILED, STOPPED, Curve, GoOn, Outcome, Point, Trial, best_of, read_trial
from rlbake.sweep.search import Hyperopt, algorithm
from rlbake.sweep.space import Parameter
from rlbake.sweep.sweep import INTERRUPTED, Sweep

SPACE = (
    Parameter("rate", "loguniform", 1e-5, 1e-1),
    Parameter("gamma", "uniform", 0.0, 1.0),
    Parameter("n", "integer", 1, 5),
    Parameter("m", "log_integer", 2, 500),
    Parameter("layers", "choice", values=([64], [128, 64], "none")),
)


def bowl(point: Point, go_on: GoOn) -> Outcome:
    """Best at gamma 0.3 and n 2; whatever else is chosen is all the same."""
    return Outcome((Curve("bowl", 0, (-((point["gamma"] - 0.3) ** 2) - abs(point["n"] - 2),)),))


def searched(objective: Callable, evals: int, known: Sequence[Trial] = (), seed: int = 3, **how: object) -> list[Trial]:
    sweep = Sweep(trials=list(known), **how)
    sweep.run(Hyperopt(SPACE, "tpe", evals, seed), objective)
    return sweep.trials


def test_points_are_of_the_space():
    for trial in searched(bowl, 30):
        assert 1e-5 <= trial.point["rate"] <= 1e-1
        assert 0 <= trial.point["gamma"] <= 1
        assert trial.point["n"] in range(1, 6)
        assert isinstance(trial.point["m"], int)
        assert 2 <= trial.point["m"] <= 500
        assert trial.point["layers"] in ([64], [128, 64], "none")


def test_it_finds_what_matters():
    best = best_of(searched(bowl, 60))
    assert best is not None
    assert best.point["n"] == 2
    assert best.point["gamma"] == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("cut", [0, 1, 19, 26, 40])
def test_a_search_that_goes_on_proposes_what_it_would_have_proposed(cut: int):
    whole = searched(bowl, 40)
    first = [read_trial(trial.to_json()) for trial in searched(bowl, cut)]
    assert [trial.point for trial in searched(bowl, 40, first)] == [trial.point for trial in whole]
    assert [trial.number for trial in whole] == list(range(40))


def test_another_seed_other_points():
    assert searched(bowl, 1)[0].point != searched(bowl, 1, seed=4)[0].point


def test_trials_of_which_some_never_ended():
    known = [trial for trial in searched(bowl, 5) if trial.number != 2]
    found = searched(bowl, 8, known)
    assert sorted(trial.number for trial in found) == [0, 1, 3, 4, 5, 6, 7, 8]


def test_what_goes_wrong_with_a_point_is_told_and_the_sweep_goes_on():
    def sometimes(point: Point, go_on: GoOn) -> Outcome:
        if point["n"] == 1:
            raise RlbakeError("it diverged")
        if point["n"] == 5:
            raise ZeroDivisionError("by nothing")
        return bowl(point, go_on)

    trials = searched(sometimes, 30)
    assert len(trials) == 30
    said = {trial.point["n"]: trial.reason for trial in trials if trial.status == FAILED}
    assert said == {1: "it diverged", 5: "ZeroDivisionError: by nothing"}
    assert {trial.point["n"] for trial in trials if trial.status == DONE} == {2, 3, 4}


def test_it_ends_when_nothing_gets_better():
    trials = searched(lambda point, go_on: Outcome((Curve("flat", 0, (1.0,)),)), 30, patience=4)
    assert len(trials) == 5


def test_it_ends_in_time():
    assert searched(bowl, 30, timeout_s=1e-9) == []


def test_an_interrupt_keeps_what_there_is():
    def interrupted(point: Point, go_on: GoOn) -> Outcome:
        if len(sweep.trials) == 3:
            raise KeyboardInterrupt
        return bowl(point, go_on)

    sweep = Sweep()
    assert sweep.run(Hyperopt(SPACE, "tpe", 30, 0), interrupted) == INTERRUPTED
    assert len(sweep.trials) == 3


def test_an_interrupt_that_a_library_swallows_is_one():
    def swallowing(point: Point, go_on: GoOn) -> Outcome:
        if len(sweep.trials) == 3:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as error:
                raise SystemError("returned a result with an exception set") from error
        return bowl(point, go_on)

    sweep, before = Sweep(), signal.getsignal(signal.SIGINT)
    assert sweep.run(Hyperopt(SPACE, "tpe", 30, 0), swallowing) == INTERRUPTED
    assert len(sweep.trials) == 3
    assert signal.getsignal(signal.SIGINT) == before


def test_algorithms():
    assert len(searched(bowl, 3)) == 3
    with pytest.raises(ConfigError, match="Did you mean 'tpe'"):
        algorithm("tpee")
    sweep = Sweep()
    sweep.run(Hyperopt(SPACE, "rand", 3, 0), bowl)
    assert len(sweep.trials) == 3


def ended(*scores: float, status: str = DONE) -> Trial:
    return Trial(0, {}, status, Outcome((Curve("a", 0, scores),)))


def test_the_median_rule_by_hand():
    rule = MedianRule([ended(0.0, 1.0), ended(0.2, 0.4), ended(0.4, 0.4), ended(0.6, 0.6), ended(0.5, 0.9)])
    assert FEWEST == 5
    # After one cycle the others had 0.0, 0.2, 0.4, 0.6, 0.5; after two a mean of 0.5, 0.3, 0.4, 0.6, 0.7.
    assert rule([0.4])
    assert not rule([0.39])
    assert rule([0.1, 0.5])
    assert rule([0.5, 0.1])
    assert not rule([0.4, 0.49])


def test_only_finished_trials_count_and_a_few_say_nothing():
    rule = MedianRule([ended(1.0)] * 4 + [ended(1.0, status=STOPPED), Trial(0, {}, FAILED, None)])
    assert rule([-1.0])
    rule.learn(ended(1.0))
    assert not rule([-1.0])
    assert always([-1.0])


def test_hopeless_trials_are_stopped():
    def slow(point: Point, go_on: GoOn) -> Outcome:
        level, scores = 1 - abs(point["gamma"] - 0.3), []
        for cycle in range(5):
            scores.append(level)
            if cycle < 4 and not go_on(scores):
                return Outcome((Curve("slow", 0, tuple(scores)),), stopped=True)
        return Outcome((Curve("slow", 0, tuple(scores)),))

    pruned, whole = searched(slow, 30), searched(slow, 30, prune=False)
    assert {trial.status for trial in whole} == {DONE}
    stopped = [trial for trial in pruned if trial.status == STOPPED]
    assert len(stopped) > 5
    assert all(len(trial.outcome.learning_curve) == 1 for trial in stopped)
    best = best_of(pruned)
    assert best is not None
    assert best.outcome.score == max(trial.outcome.score for trial in pruned)
