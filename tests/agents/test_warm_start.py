"""A warm start goes on as if training had never stopped, or from a clone's network, or says why it cannot."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from rlbake.agents.behavioral_cloning import Config as Cloning
from rlbake.errors import ConfigError
from rlbake.specs import Binary, Category, Continuous, Discrete, MultiDiscrete, Number
from rlbake.training.config import resolve
from rlbake.training.fit import STEPS, fit
from rlbake.training.fitted import read_warm_start
from rlbake.training.warm_start import refuse_differences
from tests.agents.conftest import ACTION, OBSERVATION

PLACES = {"x": np.array([0.0, 1.0])}


def config(agent=None, **changed):
    agent = {"name": "double_dqn", "layers": [16], "averaging": 0.9, **(agent or {})}
    return resolve({"steps": 600, "batch_size": 32, **changed, "agent": agent}, gamma=0.5)


def trained(training, configured, **kwargs):
    kwargs = {"seed": 0, "observation": OBSERVATION, "action": ACTION, **kwargs}
    return fit(training, training.take(np.arange(0)), config=configured, **kwargs)


def saved(fitted, folder):
    fitted.save(folder)
    return read_warm_start(folder)


def same(one, other):
    return all(
        np.array_equal(a, b)
        for part, group in one.variables.items()
        for a, b in zip(group, other.variables[part], strict=True)
    )


@pytest.mark.parametrize("name", ["double_dqn", "dqn"])
def test_two_trainings_in_a_row_are_one_long_one(walk, tmp_path, name):
    """Optimiser, target network, average, step count and the batches to come: nothing starts over."""
    rows = walk(0.5, rows=4000)
    reported = []
    halfway = saved(trained(rows, config({"name": name}, steps=375)), tmp_path)
    twice = trained(
        rows, config({"name": name}, steps=500), warm_start=halfway, on_metrics=lambda *report: reported.append(report)
    )
    once = trained(rows, config({"name": name}, steps=875))
    assert same(once, twice)
    assert once.steps == twice.steps == 875
    assert [(step, metrics[STEPS]) for step, metrics in reported] == [(750, 750), (875, 875)]
    assert read_warm_start(tmp_path).steps == 375


def test_a_clone_is_where_double_dqn_starts(walk, tmp_path, caplog):
    caplog.set_level(logging.INFO, "rlbake")
    clone = saved(trained(walk(0.5), config({"name": Cloning.name})), tmp_path)
    resting = config({"learning_rate": 1e-12, "averaging": 0.0}, steps=1)
    begun = trained(walk(0.5), resting, seed=7, warm_start=clone)
    for part in ("network", "target", "average"):
        for cloned, weight in zip(clone.variables["network"], begun.variables[part], strict=True):
            np.testing.assert_allclose(weight, cloned, atol=1e-9)
    assert begun.steps == 1
    assert "Starting from the network of a behavioral_cloning agent" in caplog.text
    assert "double_dqn's optimiser starts afresh" in caplog.text
    assert begun.variables["optimizer"][0] == 1  # its iterations


def test_another_agent_with_another_network_is_refused(walk, tmp_path):
    clone = saved(trained(walk(0.5), config({"name": Cloning.name}, steps=1)), tmp_path)
    with pytest.raises(ConfigError, match=r"agent\.layers \[16\] -> \[8, 8\]\. Set agent\.layers=\[16\], or train wi"):
        trained(walk(0.5), config({"layers": [8, 8]}), warm_start=clone)
    foreign = replace(clone, variables={"actor": clone.variables["network"]})
    with pytest.raises(ConfigError, match="double_dqn cannot start from the network of behavioral_cloning"):
        trained(walk(0.5), config(), warm_start=foreign)


FEATURES = (Number("x"), Category("country", ["DE", "US"]), Binary("member"))


@pytest.fixture(scope="module")
def start(walk, tmp_path_factory):
    warm = saved(trained(walk(0.5), config(steps=1)), tmp_path_factory.mktemp("warm"))
    return replace(warm, observation=FEATURES)


@pytest.mark.parametrize(
    ("observation", "action", "said"),
    [
        (FEATURES[:2], ACTION, "features member -> nothing"),
        ((*FEATURES, Number("y")), ACTION, "features nothing -> y"),
        ((FEATURES[1], FEATURES[0], FEATURES[2]), ACTION, "order of features x, country, member -> country, x, member"),
        ((Binary("x"), *FEATURES[1:]), ACTION, "feature 'x': Number -> Binary"),
        ((Number("x", optional=True), *FEATURES[1:]), ACTION, "feature 'x': optional False -> True"),
        ((Number("x", transform="quantile"), *FEATURES[1:]), ACTION, "feature 'x': transform binary -> quantile"),
        (
            (FEATURES[0], Category("country", ["DE", "FR"]), FEATURES[2]),
            ACTION,
            "feature 'country': values US -> FR",
        ),
        (
            (FEATURES[0], Category("country", ["US", "DE"]), FEATURES[2]),
            ACTION,
            "feature 'country': values DE, US -> US, DE, in another order",
        ),
        (FEATURES, Discrete(["stay", "run"]), "actions go -> run"),
        (
            FEATURES,
            Discrete(["stay", "go", "a", "b", "c", "d", "e", "f"]),
            "actions nothing -> a, b, c, d, e and 1 more",
        ),
        (FEATURES, Continuous([0], [1], ["price"]), "action Discrete -> Continuous"),
    ],
)
def test_every_difference_in_specs_is_named(start, observation, action, said):
    with pytest.raises(ConfigError) as refused:
        refuse_differences(start, observation, action, config())
    assert f"trained otherwise (its own -> this): {said}. Train without warm_start." in str(refused.value)


def test_differences_of_vector_actions_are_named(start):
    prices = replace(start, action=Continuous([0], [1], ["price"]))
    with pytest.raises(ConfigError, match=r"actions price in \[0, 1\] -> price in \[0, 2\]"):
        refuse_differences(prices, FEATURES, Continuous([0], [2], ["price"]), config())
    sets = replace(start, action=MultiDiscrete({"item": ["a", "b"], "discount": ["0", "10"]}))
    with pytest.raises(ConfigError, match="action sets item: a, b -> item: a, c"):
        refuse_differences(sets, FEATURES, MultiDiscrete({"item": ["a", "c"], "discount": ["0", "10"]}), config())


def test_all_differences_are_in_one_message(start):
    other = config({"layers": [17]}, compression=2)
    with pytest.raises(ConfigError) as refused:
        refuse_differences(start, (FEATURES[0], Binary("country"), FEATURES[2]), Discrete(["stay", "run"]), other)
    for said in (
        "feature 'country': Category -> Binary",
        "actions go -> run",
        "agent.layers [16] -> [17]",
        "compression",
    ):
        assert said in str(refused.value)
    with pytest.raises(ConfigError, match=r"Set agent\.layers=\[16\], compression=null, or train without warm_start"):
        refuse_differences(start, FEATURES, ACTION, other)


def test_what_no_weight_depends_on_may_differ(start, walk):
    bounded = (Number("x", low=-9, high=9), *FEATURES[1:])
    refuse_differences(start, bounded, ACTION, config({"learning_rate": 0.5, "epsilon": 0.9}, steps=1, n_step=1))
    masked = walk(0.5)
    masked = replace(masked, next_action_mask=np.ones((len(masked), 2), bool))
    trained(masked, config(steps=1), warm_start=replace(start, observation=OBSERVATION))
