"""Populations that live with an agent: what is learned, what a score is, and a truth that is found."""

from __future__ import annotations

import pytest

from rlbake.errors import ConfigError, DataError
from rlbake.sweep.hopeless import always
from rlbake.sweep.importance import importances
from rlbake.sweep.objective import FAILED, STOPPED, Outcome, best_of
from rlbake.sweep.scenarios import Scenarios
from rlbake.sweep.search import Hyperopt
from rlbake.sweep.space import Parameter
from rlbake.sweep.sweep import Sweep
from tests.sweep.worlds import BROKEN, HASTY, TARGET

TINY = {"steps": 150, "batch_size": 64, "agent": {"layers": [16], "learning_rate": 0.01, "weight_decay": 0.0}}


def patience(**how: object) -> Scenarios:
    return Scenarios((TARGET,), TINY, **{"cycles": 2, "rows": 300, "episodes": 50, **how})


def test_who_looks_ahead_waits():
    for gamma, score in ((0.0, -1.0), (0.3, -1.0), (0.8, 1.0), (1.0, 1.0)):
        found = patience()({"gamma": gamma}, always)
        assert [curve.scores for curve in found.curves] == [(score, score)], gamma


def test_the_application_says_gamma_unless_the_point_does():
    assert patience()({}, always).score == 1.0


def test_nobody_is_given_up_for_the_pace_of_the_rehearsal():
    assert Scenarios((HASTY,), TINY, cycles=1, rows=300, episodes=50)({}, always).score == 1.0


def test_the_same_point_has_the_same_score():
    def noisy() -> Outcome:
        return patience(seeds=(4, 5))({"gamma": 0.5}, always)

    assert noisy().curves == noisy().curves


def test_a_hopeless_point_is_not_lived_to_the_end():
    told = []

    def hopeless(curve: list[float]) -> bool:
        told.append(list(curve))
        return False

    found = patience(cycles=3, seeds=(0, 1))({}, hopeless)
    assert found.stopped
    assert told == [[1.0]]
    assert [curve.scores for curve in found.curves] == [(1.0,), (1.0,)]


@pytest.mark.parametrize("agent", ["ppo", "behavioral_cloning", "categorical_dqn"])
def test_agents_of_every_kind_can_live(agent: str):
    base = {"agent": {"name": agent, "layers": [16]}, "batch_size": 64}
    base |= {} if agent == "ppo" else {"steps": 50}
    found = Scenarios((TARGET,), base, cycles=2, rows=300, episodes=50)({}, always)
    assert len(found.curves[0].scores) == 2


def test_a_world_that_breaks_fails_its_trials_and_says_where():
    sweep = Sweep()
    objective = Scenarios((BROKEN,), TINY, cycles=1, rows=100)
    sweep.run(Hyperopt((Parameter("gamma", "uniform", 0, 1),), "tpe", 2, 0), objective)
    assert [trial.status for trial in sweep.trials] == [FAILED, FAILED]
    assert "Broken.world()" in sweep.trials[0].reason
    assert "the simulator is out of order" in sweep.trials[0].reason


def test_a_point_that_no_training_takes():
    with pytest.raises(ConfigError, match=r"agent\.learning_rat"):
        patience()({"agent.learning_rat": 1.0}, always)


def test_too_few_rows():
    with pytest.raises(DataError, match="fewer than one batch"):
        patience(rows=10)({}, always)


@pytest.mark.slow
def test_the_hyperparameter_that_matters_is_found_and_named():
    space = (
        Parameter("gamma", "uniform", 0.0, 1.0),
        Parameter("agent.learning_rate", "loguniform", 5e-3, 2e-2),
        Parameter("batch_size", "choice", values=(32, 64)),
        Parameter("agent.epsilon", "uniform", 0.05, 0.2),
    )
    sweep = Sweep()
    sweep.run(Hyperopt(space, "tpe", 24, 0), patience())
    best = best_of(sweep.trials)
    assert best is not None
    assert best.point["gamma"] > 0.5
    assert best.outcome.score == 1.0
    found = importances(sweep.trials, space, 0)
    assert found[0].path == "gamma"
    assert found[0].share > 0.8
    assert all(one.fall < 0.2 * found[0].fall for one in found[1:])
    assert STOPPED in {trial.status for trial in sweep.trials}


def test_importance_needs_trials():
    with pytest.raises(DataError, match="0 trials"):
        importances([], (Parameter("gamma", "uniform", 0.0, 1.0),), 0)
