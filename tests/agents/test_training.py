"""Training finds known values, repeats itself bit for bit, and every configured number matters."""

import time
from dataclasses import replace

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.agents import AGENTS
from rlbake.errors import ConfigError, DataError, NotFoundError, RlbakeError, SpecError
from rlbake.features.identify import Transform
from rlbake.specs import Continuous, Number
from rlbake.training.config import resolve
from rlbake.training.fit import HOLDOUT_LOSS, LOSS, SPEED, STEPS, VALUE, fit
from rlbake.training.fitted import read_warm_start
from tests.agents.conftest import ACTION, OBSERVATION

QUICK = {"steps": 600, "batch_size": 32}
QUICK_AGENT = {"layers": [16], "learning_rate": 0.01, "target_update_period": 20, "averaging": 0.9, "weight_decay": 0.0}
PLACES = {"x": np.array([0.0, 1.0])}
Q_LEARNERS = ("dqn", "double_dqn")
ONLY_DISCRETE = [name for name, module in AGENTS.items() if Continuous not in module.FACTS.actions]


def config(agent=None, gamma=0.5, **changed):
    return resolve({**QUICK, **changed, "agent": {**QUICK_AGENT, **(agent or {})}}, gamma=gamma)


def trained(training, configured, seed=0, holdout=None, observation=OBSERVATION, **kwargs):
    holdout = training.take(np.arange(0)) if holdout is None else holdout
    return fit(training, holdout, observation=observation, action=ACTION, config=configured, seed=seed, **kwargs)


def values(fitted):
    return fitted.values(fitted.preprocessing.apply(PLACES)).numpy()


@pytest.mark.parametrize("gamma", [0.5, 0.9])
@pytest.mark.parametrize("name", Q_LEARNERS)
def test_values_of_a_known_world(walk, name, gamma):
    fitted = trained(walk(gamma), config({"name": name}, gamma, steps=1500))
    np.testing.assert_allclose(values(fitted), [[gamma**2, gamma], [gamma, 1]], atol=0.05)


@pytest.mark.parametrize("name", Q_LEARNERS)
def test_a_reward_in_another_unit_gives_the_same_values_in_that_unit(walk, name):
    ordinary, rich = walk(0.9), walk(0.9)
    rich = replace(rich, reward=rich.reward * 1024)  # a power of two: not a bit is rounded
    one, other = (trained(world, config({"name": name, "weight_decay": 1.0}, 0.9)) for world in (ordinary, rich))
    np.testing.assert_allclose(values(other), 1024 * values(one), rtol=1e-5)


def test_values_are_expected_returns_not_medians(transitions):
    """Going costs 20 once in ten times and earns 1 otherwise: -1.1 on average, although it mostly earns."""
    rows = 4000
    reward = np.where(np.arange(rows) // 2 % 10 == 0, -20.0, 1.0) * (np.arange(rows) % 2)
    world = transitions(np.zeros(rows), np.arange(rows) % 2, reward, np.zeros(rows), np.zeros(rows))
    fitted = trained(world, config({"averaging": 0.99}, steps=2000, batch_size=256))
    np.testing.assert_allclose(values(fitted)[0], [0, -1.1], atol=0.2)


def test_values_beyond_a_mask_are_not_bootstrapped_from(transitions):
    """Both actions lead from 0 to 1, where going ends it with 1, staying with 0; going is not allowed there."""
    rows = 400
    x, action = np.arange(rows) // 2 % 2, np.arange(rows) % 2
    reward = (x == 1) & (action == 1)
    mask = np.ones((rows, 2), bool)
    mask[x == 0] = [True, False]
    fitted = trained(transitions(x, action, reward, np.ones(rows), np.where(x == 0, 0.5, 0), mask), config())
    np.testing.assert_allclose(values(fitted), [[0, 0], [0, 1]], atol=0.05)
    free = trained(transitions(x, action, reward, np.ones(rows), np.where(x == 0, 0.5, 0)), config())
    np.testing.assert_allclose(values(free), [[0.5, 0.5], [0, 1]], atol=0.05)


@pytest.mark.parametrize("compiled_below", [0, 10**12])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(walk, monkeypatch, compiled_below):
    monkeypatch.setattr("rlbake.learners.loop._COMPILED_BELOW", compiled_below)
    first, other, again = (trained(walk(0.5), config({"layers": [256, 256]}), seed) for seed in (3, 4, 3))
    for one, two in zip(first.head.network.get_weights(), again.head.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for part, group in first.variables.items():
        for one, two in zip(group, again.variables[part], strict=True):
            np.testing.assert_array_equal(one, two)
    assert (first.head.network.get_weights()[0] != other.head.network.get_weights()[0]).any()


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 101},
        {"batch_size": 33},
        {"recency_half_life": "100us"},
        {"agent": {"layers": [17]}},
        {"agent": {"learning_rate": 0.011}},
        {"agent": {"target_update_period": 21}},
        {"agent": {"gradient_clipping": 0.01}},
        {"agent": {"averaging": 0.91}},
        {"agent": {"weight_decay": 0.01}},
        {"agent": {"name": "dqn"}},
    ],
)
def test_every_number_that_shapes_training_changes_the_values(walk, changed):
    before = values(trained(walk(0.9), config({"name": "double_dqn"}, steps=100)))
    after = values(trained(walk(0.9), config(**({"steps": 100} | changed))))
    assert (before != after).any()


def test_what_was_long_ago_counts_less(transitions):
    """Going earned 0 for the first 2000 us and 1 in the last 2000."""
    rows = 4000
    action = np.arange(rows) % 2
    reward = (np.arange(rows) >= rows / 2) * action
    world = transitions(np.zeros(rows), action, reward, np.zeros(rows), np.zeros(rows))
    for half_life, expected in ((None, 0.5), ("1000us", 0.8), ("100us", 1.0)):  # 2⁻² of the weight is in the older half
        fitted = trained(world, config({"averaging": 0.99}, steps=2000, batch_size=256, recency_half_life=half_life))
        np.testing.assert_allclose(values(fitted)[0], [0, expected], atol=0.05)


def test_without_averaging_the_last_weights_are_exported(walk):
    never = 1000  # so that the target network keeps the first weights, and only the Q-network has the last
    fitted = trained(walk(0.5), config({"averaging": 0.0, "target_update_period": never}, steps=105))
    for weight, last in zip(fitted.head.network.get_weights(), fitted.variables["network"], strict=True):
        np.testing.assert_allclose(weight, last, rtol=1e-6)


def test_a_fitted_agent_is_left_alone_by_the_next_training(walk):
    first = trained(walk(0.5), config(), seed=0)
    before = values(first)
    trained(walk(0.9), config({"learning_rate": 0.02}), seed=1)
    np.testing.assert_array_equal(values(first), before)


def test_the_second_training_does_not_trace_again(walk):
    trained(walk(0.5), config())
    began = time.process_time()
    other = config({"learning_rate": 0.02, "target_update_period": 7, "averaging": 0.5}, 0.8, steps=500)
    trained(walk(0.8, rows=640), other, seed=5)
    assert time.process_time() - began < 1


def test_metrics_are_reported_along_the_way(walk):
    reported = []
    fitted = trained(
        walk(0.5), config(steps=1100), holdout=walk(0.5, rows=40), on_metrics=lambda *report: reported.append(report)
    )
    taken = [step for step, _ in reported]
    assert len(taken) > 1
    assert taken == sorted(set(taken))
    assert taken[-1] == 1100
    assert all(set(metrics) == {LOSS, HOLDOUT_LOSS, VALUE, STEPS, SPEED} for _, metrics in reported)
    assert reported[-1][1][HOLDOUT_LOSS] < reported[0][1][HOLDOUT_LOSS]
    assert reported[-1][1][SPEED] > 0
    assert fitted.metrics == reported[-1][1]


@pytest.mark.parametrize(("overfit", "rows", "ends"), [(1.3, 200, True), (None, 200, False), (1.3, 99, False)])
def test_training_ends_when_what_it_learns_does_not_hold_elsewhere(walk, overfit, rows, ends):
    elsewhere = walk(0.5, rows=rows)
    elsewhere = replace(elsewhere, reward=elsewhere.reward + 10)
    fitted = trained(walk(0.5), config(steps=1100, overfit=overfit), holdout=elsewhere)
    assert (fitted.metrics[STEPS] < 1100) == ends


@pytest.mark.parametrize(("every", "ends"), [(20, False), (2, True)])
def test_a_few_rows_do_not_end_a_training(transitions, every, ends):
    """A row in 20 earns 100, the others -20. Of 40,000, each 20th is looked at first: elsewhere it earns, here none."""
    rows = np.arange(40_000)

    def world(where):
        zeros = np.zeros(len(rows))
        return transitions(zeros, rows % 2, np.where(where, 100.0, -20.0), zeros, zeros)

    slowly = config({"learning_rate": 1e-4}, steps=1100)  # so that what is held out still gets worse
    fitted = trained(world(rows % 20 == 10), slowly, holdout=world(rows % every == 0))
    assert (fitted.metrics[STEPS] < 1100) == ends


def test_no_holdout_no_holdout_loss(walk):
    assert HOLDOUT_LOSS not in trained(walk(0.5), config()).metrics


def test_divergence_stops_with_advice(transitions):
    """x doubles forever and earns x: values that no network can hold."""
    x = 2.0 ** np.linspace(0, 60, 400)
    rows = transitions(x, np.arange(400) % 2, np.full(400, 1e-3), 2 * x, np.full(400, 1.0))
    with pytest.raises(RlbakeError, match=r"diverged within .* steps.* agent.learning_rate"):
        trained(
            rows,
            config({"learning_rate": 0.5}, gamma=0.99, steps=20_000),
            observation=(Number("x", transform="standard"),),
        )


def test_a_network_of_nan_is_divergence_too(walk):
    broken = replace(walk(0.5), reward=np.full(400, 1e38))
    with pytest.raises(RlbakeError, match=r"diverged within .* loss nan"):
        trained(broken, config({"learning_rate": 1e38}))


def test_too_few_rows(walk):
    with pytest.raises(DataError, match=r"31 transitions .* one batch of 32"):
        trained(walk(0.5, rows=31), config())


@pytest.mark.parametrize("name", ONLY_DISCRETE)
def test_an_agent_refuses_actions_it_cannot_do(walk, name):
    prices, defaults = Continuous([0.0], [1.0], ["price"]), resolve({"agent": name}, gamma=0)
    with pytest.raises(SpecError, match=f"'{name}'.*Continuous"):
        fit(walk(0.5), walk(0.5), observation=OBSERVATION, action=prices, config=defaults, seed=0)


def test_a_warm_start_goes_on_where_training_stopped(walk, tmp_path):
    once = trained(walk(0.5), config(steps=1000))
    once.save(tmp_path)
    further = trained(walk(0.5), config(steps=100), seed=9, warm_start=read_warm_start(tmp_path))
    fresh = trained(walk(0.5), config(steps=100), seed=9)
    known = np.array([[0.25, 0.5], [0.5, 1]])
    assert np.abs(values(further) - known).max() < np.abs(values(fresh) - known).max()


def test_a_warm_start_keeps_the_transforms_its_weights_were_learned_with(walk, tmp_path):
    trained(walk(0.5), config()).save(tmp_path)
    moved = replace(walk(0.5), observation={"x": np.full(400, 5.0)})
    further = trained(moved, config(steps=1), warm_start=read_warm_start(tmp_path))
    assert further.preprocessing.identified == {"x": Transform("binary")}


def test_warm_starts_that_cannot_be(walk, tmp_path):
    with pytest.raises(NotFoundError, match="no checkpoint"):
        read_warm_start(tmp_path)
    trained(walk(0.5), config()).save(tmp_path)
    with pytest.raises(ConfigError, match=r"agent\.layers"):
        trained(walk(0.5), config({"layers": [17]}), warm_start=read_warm_start(tmp_path))


def test_numbers_of_a_world_that_ended_do_not_leak(transitions):
    """A terminated row's next observation is never read, whatever stands there."""
    rows = transitions(np.zeros(64), np.arange(64) % 2, np.ones(64), np.full(64, 1e30), np.zeros(64))
    assert rows.end[0] == v.TERMINATED
    np.testing.assert_allclose(values(trained(rows, config()))[0], [1, 1], atol=0.05)
