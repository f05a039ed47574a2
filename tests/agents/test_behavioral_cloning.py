"""A clone does what was logged as often as it was logged, and is exported, repeated and masked like any agent."""

from dataclasses import replace

import numpy as np
import pytest

from rlbake.agents import behavioral_cloning
from rlbake.agents.behavioral_cloning import AGREEMENT
from rlbake.errors import ConfigError
from rlbake.policies.export import export_policy
from rlbake.policies.saved import SavedPolicy
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Continuous, Discrete, MultiDiscrete, Number
from rlbake.training.config import resolve
from rlbake.training.fit import HOLDOUT_LOSS, LOSS, STEPS, fit
from tests.agents.conftest import ACTION, OBSERVATION

THREE = Discrete(["left", "stay", "right"])
PRICE = Continuous([0.0, -1.0], [10.0, 1.0], ["price", "tilt"])
QUICK = {"layers": [16], "learning_rate": 0.01, "averaging": 0.99}
PLACES = {"x": np.array([0.0, 1.0])}
NO_NOISE = np.zeros(2)


def config(agent=None, **changed):
    return resolve(
        {"steps": 600, "batch_size": 64, **changed, "agent": {"name": "behavioral_cloning", **QUICK, **(agent or {})}},
        gamma=0.5,
    )


def cloned(training, configured=None, action=ACTION, seed=0, holdout=None, **kwargs):
    holdout = training.take(np.arange(0)) if holdout is None else holdout
    configured = configured or config()
    return fit(training, holdout, observation=OBSERVATION, action=action, config=configured, seed=seed, **kwargs)


def probabilities(fitted, mask=None, temperature=0.0):
    features = fitted.preprocessing.apply(PLACES)
    mask = np.ones((2, fitted.head.values(features).shape[1]), bool) if mask is None else mask
    return fitted.head.prefer(features, tf.constant(mask), tf.constant(True), tf.constant(temperature))[1].numpy()


@pytest.fixture
def decisions(transitions):
    """At 0, one in four goes; at 1, three in four."""
    rows = 4000
    x = np.arange(rows) // 4 % 2
    action = np.where(x == 0, np.arange(rows) % 4 == 0, np.arange(rows) % 4 != 0)
    return transitions(x, action, np.zeros(rows), x, np.zeros(rows))


def test_actions_are_as_likely_as_they_were(decisions):
    np.testing.assert_allclose(probabilities(cloned(decisions)), [[0.75, 0.25], [0.25, 0.75]], atol=0.03)


def test_temperature_sharpens_and_flattens(decisions):
    fitted = cloned(decisions)
    odds = [(p[:, 1] / p[:, 0])[1] for p in (probabilities(fitted, temperature=t) for t in (0.0, 1.0, 0.5, 2.0))]
    assert odds[0] == odds[1]
    np.testing.assert_allclose(odds[1:], [odds[0], odds[0] ** 2, odds[0] ** 0.5])


def test_epsilon_adds_chance(decisions):
    plain, mixed = (probabilities(cloned(decisions, config({"epsilon": e}))) for e in (0.0, 0.4))
    np.testing.assert_allclose(mixed, 0.6 * plain + 0.2, atol=1e-6)


def test_what_is_masked_is_neither_chosen_nor_learned_from(transitions):
    """At 0 going right is not allowed and both others are as likely; at 1 everything is, and all are."""
    rows = 6000
    x = np.arange(rows) % 2
    action = np.where(x == 0, np.arange(rows) // 2 % 2, np.arange(rows) // 2 % 3)
    mask = np.ones((rows, 3), bool)
    mask[x == 0, 2] = False
    training = replace(transitions(x, action, np.zeros(rows), x, np.zeros(rows)), action_mask=mask)
    fitted = cloned(training, action=THREE)
    here = np.array([[True, True, False], [True, True, True]])
    found = probabilities(fitted, here)
    assert found[0, 2] == 0
    np.testing.assert_allclose(found, [[0.5, 0.5, 0], [1 / 3] * 3], atol=0.04)
    assert probabilities(fitted, np.array([[False, False, True]] * 2))[:, 2].tolist() == [1, 1]


def test_several_sets_are_cloned_together(transitions):
    """The second choice follows the first: which of one set goes with which of the other is learned."""
    rows, sets = 2000, MultiDiscrete({"item": ["a", "b"], "discount": ["0", "10", "20"]})
    first = np.arange(rows) % 2
    joint = sets.flat(np.stack([first, first * 2], axis=1))
    fitted = cloned(transitions(np.zeros(rows), joint, np.zeros(rows), np.zeros(rows), np.zeros(rows)), action=sets)
    np.testing.assert_allclose(probabilities(fitted)[0], [0.5, 0, 0, 0, 0, 0.5], atol=0.03)


@pytest.fixture
def prices(transitions):
    """At 0 the price is about 2, at 1 about 8, give or take 0.5; the tilt is anything."""
    random, rows = np.random.default_rng(0), 4000
    x = np.arange(rows) % 2
    action = np.stack([2 + 6 * x + random.normal(0, 0.5, rows), random.uniform(-1, 1, rows)], axis=1)
    blank = transitions(x, np.zeros(rows), np.zeros(rows), x, np.zeros(rows))
    return replace(blank, action=action.astype(np.float32))


def test_numbers_are_as_likely_as_they_were(prices, tmp_path):
    fitted = cloned(prices, config(steps=2000), action=PRICE)
    export_policy(fitted, tmp_path)
    greedy = SavedPolicy(tmp_path, "clone", explore=False).decide(PLACES, NO_NOISE)
    np.testing.assert_allclose(greedy.action[:, 0], [2, 8], atol=0.1)
    assert np.isnan(greedy.log_probability).all()
    explored = SavedPolicy(tmp_path, "clone", explore=True).decide(
        {"x": np.zeros(5000)}, np.random.default_rng(1).random(5000)
    )
    price, tilt = explored.action.T
    assert price.std() == pytest.approx(0.5, abs=0.05)
    assert tilt.std() == pytest.approx(2 / 12**0.5, abs=0.05)
    density = np.exp(-((price - 2) ** 2) / (2 * 0.5**2)) / (0.5 * (2 * np.pi) ** 0.5) / 2
    assert np.abs(explored.log_probability - np.log(density)).mean() < 0.15


def test_numbers_on_the_bounds_can_be_cloned(prices):
    clipped = np.where(prices.observation["x"][:, None] == 0, [[0.0, -1.0]], [[10.0, 1.0]]).astype(np.float32)
    fitted = cloned(replace(prices, action=clipped), config(steps=1500), action=PRICE)
    chosen = fitted.head.choose(
        fitted.preprocessing.apply(PLACES), tf.fill([2, 2], tf.constant(0.5, tf.float64)), tf.constant(True),
        tf.constant(0.0),
    )  # fmt: skip
    np.testing.assert_allclose(chosen.action, [[0, -1], [10, 1]], atol=0.2)
    assert np.isfinite(chosen.log_probability).all()


def test_numbers_take_no_epsilon(prices):
    with pytest.raises(ConfigError, match=r"agent\.epsilon = 0\.1.*temperature"):
        cloned(prices, config({"epsilon": 0.1}), action=PRICE)


@pytest.mark.parametrize(
    "changed",
    [{"layers": [17]}, {"learning_rate": 0.011}, {"weight_decay": 0.5}, {"averaging": 0.9}],
)
def test_every_number_changes_the_clone(decisions, changed):
    before, after = (cloned(decisions, config(agent, steps=100)) for agent in ({}, changed))
    assert (probabilities(before) != probabilities(after)).any()


@pytest.mark.parametrize("unread", [{"gamma": 0.9}, {"n_step": 2}, {"gamma_period": "1d"}])
def test_what_follows_a_decision_is_nothing_to_a_clone(unread):
    with pytest.raises(ConfigError, match="does not read"):
        config(**unread)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(decisions):
    first, other, again = (cloned(decisions, config(steps=100), seed=seed) for seed in (3, 4, 3))
    for part, group in first.variables.items():
        for one, two in zip(group, again.variables[part], strict=True):
            np.testing.assert_array_equal(one, two)
    assert any((a != b).any() for a, b in zip(first.variables["network"], other.variables["network"], strict=True))


def test_the_second_training_does_not_trace_again(decisions):
    configured = config(steps=50)
    cloned(decisions, configured)
    made = behavioral_cloning.learner(configured.agent, size=1, action=ACTION, masked=False)
    traces = made.loop._compiled_steps.experimental_get_tracing_count()
    assert traces > 0
    cloned(decisions.take(np.arange(3000)), config({"learning_rate": 0.02, "averaging": 0.5}, steps=70), seed=5)
    assert made.loop._compiled_steps.experimental_get_tracing_count() == traces


def test_agreement_is_the_share_of_held_out_decisions_that_the_clone_makes(decisions):
    fitted = cloned(decisions, holdout=decisions.take(np.arange(200)))
    assert fitted.metrics[AGREEMENT] == pytest.approx(0.75)


def test_a_sure_clone_is_not_taken_for_an_overfit_one(transitions):
    """Losses near 0 may differ by any factor."""
    x = np.linspace(0, 1, 400)
    training = transitions(x, x > 0.5, np.zeros(400), x, np.zeros(400))
    elsewhere = training.take(np.arange(150, 250))  # where the decision turns, and the loss is
    fitted = cloned(training, config(steps=1500), holdout=elsewhere)
    assert fitted.metrics[STEPS] == 1500
    assert fitted.metrics[HOLDOUT_LOSS] > 1.3 * fitted.metrics[LOSS]


def test_a_clone_that_learns_noise_by_heart_ends_early(transitions):
    random = np.random.default_rng(0)
    observation = (Number("x", transform="standard"),)
    known, unseen = (
        transitions(random.normal(size=n), random.integers(0, 2, n), np.zeros(n), np.zeros(n), np.zeros(n))
        for n in (64, 200)
    )
    configured = config({"layers": [64, 64], "weight_decay": 0.0}, steps=5000)
    fitted = fit(known, unseen, observation=observation, action=ACTION, config=configured, seed=0)
    assert fitted.metrics[STEPS] < 5000


def test_the_exported_clone_decides_the_same(decisions, tmp_path):
    fitted = cloned(decisions)
    export_policy(fitted, tmp_path)
    noise = np.random.default_rng(2).random(4000)
    x = np.arange(4000) % 2
    decided = SavedPolicy(tmp_path, "clone", explore=True).decide({"x": x.astype(float)}, noise)
    expected = probabilities(fitted)[x]
    np.testing.assert_array_equal(decided.action, (noise >= expected[:, 0]).astype(int))
    np.testing.assert_allclose(
        decided.log_probability, np.log(expected[np.arange(4000), decided.action]), rtol=1e-5, atol=1e-6
    )
