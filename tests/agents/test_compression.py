"""An autoencoder finds the few numbers behind many features, and the agent reads those."""

import dataclasses

import numpy as np
import pytest

from rlbake.policies.export import export_policy
from rlbake.policies.saved import SavedPolicy
from rlbake.specs import Number
from rlbake.training.config import resolve
from rlbake.training.fit import RECONSTRUCTION, fit
from rlbake.training.fitted import read_warm_start
from tests.agents.conftest import ACTION

MANY = tuple(Number(f"x{i}") for i in range(8))
AGENT = {"layers": [32], "learning_rate": 0.005, "target_update_period": 20, "averaging": 0.9, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def seen():
    """Eight features that two hidden numbers decide; going pays where the first of these is positive."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(2000, 2))
    mixed = hidden @ random.normal(size=(2, 8))
    return hidden, {f.name: mixed[:, i].astype(np.float32) for i, f in enumerate(MANY)}


@pytest.fixture(scope="module")
def world(seen, transitions):
    hidden, observations = seen
    action = np.arange(2000) % 2
    rows = transitions(np.zeros(2000), action, action * hidden[:, 0], np.zeros(2000), np.zeros(2000))
    return dataclasses.replace(rows, observation=observations, next_observation=observations)


def trained(rows, code, seed=0, holdout=None, **kwargs):
    config = resolve({"steps": 1000, "batch_size": 64, "compression": code, "agent": AGENT}, gamma=0.0)
    holdout = rows.take(np.arange(0)) if holdout is None else holdout
    return fit(rows, holdout, observation=MANY, action=ACTION, config=config, seed=seed, **kwargs)


def test_two_numbers_hold_it_all_and_one_does_not(seen, world):
    hidden, observations = seen
    training, holdout = world.take(np.arange(1500)), world.take(np.arange(1500, 2000))
    two, one = (trained(training, code, holdout=holdout) for code in (2, 1))
    assert two.metrics[RECONSTRUCTION] < 0.03
    assert 0.1 < one.metrics[RECONSTRUCTION] < 0.8
    assert two.preprocessing.size == 2
    code = two.preprocessing.apply(observations)
    assert np.abs(code[:1500].mean(axis=0)).max() < 0.01
    np.testing.assert_allclose(code[:1500].std(axis=0), 1, atol=0.01)
    goes = two.values(code).numpy().argmax(axis=1) == 1
    assert (goes == (hidden[:, 0] > 0)).mean() > 0.95


def test_the_same_seed_gives_the_same_code_bit_for_bit(world):
    first, again, other = (trained(world, 2, seed) for seed in (0, 0, 1))
    for one, two in zip(first.variables["encoder"], again.variables["encoder"], strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(first.head.network.get_weights()[0], again.head.network.get_weights()[0])
    assert (first.variables["encoder"][0] != other.variables["encoder"][0]).any()


def test_the_encoder_is_inside_the_policy_and_survives_a_warm_start(seen, world, tmp_path):
    _, observations = seen
    fitted = trained(world, 2)
    policy = SavedPolicy(export_policy(fitted, tmp_path), "v1")
    expected = fitted.values(fitted.preprocessing.apply(observations)).numpy()
    np.testing.assert_allclose(policy.values(observations), expected, atol=1e-5)
    further = trained(world, 2, seed=7, warm_start=read_warm_start(tmp_path))
    for before, after in zip(fitted.variables["encoder"], further.variables["encoder"], strict=True):
        np.testing.assert_array_equal(before, after)
