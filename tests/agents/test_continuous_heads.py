"""Heads over numbers draw from exactly the density that they say, and never leave the bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbake.learners.bounds import Bounds
from rlbake.learners.continuous_heads import SquashedNormalHead, TruncatedNormalHead
from rlbake.learners.networks import dense_network
from rlbake.quiet import tensorflow as tf

PRICE = Bounds((0.5,), (30.0,))
BOTH = Bounds((-1.0, 10.0), (0.3, 20.0))  # 0.3 is no float32
LARGEST_UNIFORM = 1 - 2**-53


def network(outputs):
    """Whatever it reads, it returns these."""
    made = dense_network([], 1, len(outputs))
    made.set_weights([np.zeros([1, len(outputs)]), np.array(outputs)])
    return made


def truncated(*means, exploration=0.1, bounds=PRICE):
    return TruncatedNormalHead(network(means), bounds, exploration)


def squashed(*outputs, bounds=PRICE):
    return SquashedNormalHead(network(outputs), bounds)


def chosen(head, uniform, temperature=0.0, explore=True):
    action, log_density = head.choose(
        tf.zeros([len(uniform), 1]),
        tf.constant(uniform, tf.float64),
        tf.constant(explore),
        tf.constant(temperature, tf.float32),
    )
    return action.numpy(), log_density.numpy()


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(
    "head",
    [
        truncated(0.0),
        truncated(0.7, exploration=0.01),
        truncated(-9.0, exploration=0.5),  # its mean is at a bound
        truncated(2.0, exploration=3.0),
        squashed(0.0, 0.0),
        squashed(0.8, -1.0),
        squashed(-1.0, 0.5),
    ],
)
def test_what_is_drawn_has_the_density(head, temperature):
    """Between neighbouring quantiles lies as much of ∫ p(a) da as there are uniform numbers; together it is 1."""
    draws = 20_000
    action, log_density = chosen(head, (np.arange(draws)[:, None] + 0.5) / draws, temperature)
    density, action = np.exp(log_density.astype(np.float64)), action[:, 0].astype(np.float64)
    mass = (density[1:] + density[:-1]) / 2 * np.diff(action)
    assert mass.sum() == pytest.approx(1, abs=2e-3)
    shares = mass[99:-100].reshape(-1, 100).sum(axis=1)  # in the tails neighbours lie too far apart for a trapezium
    np.testing.assert_allclose(shares * draws / 100, 1, rtol=0.01)


def test_temperature_widens_and_zero_leaves_it_alone():
    quartile = [[0.25], [0.75]]
    for head in (truncated(0.0), squashed(0.0, -0.5)):
        widths = {t: np.diff(chosen(head, quartile, t)[0][:, 0])[0] for t in (0.0, 0.5, 1.0, 2.0)}
        assert widths[0.0] == widths[1.0]
        assert widths[0.5] < widths[1.0] < widths[2.0]


def test_densities_are_per_unit_of_the_action_and_independent():
    one, other = truncated(0.1, bounds=Bounds((-1.0,), (0.3,))), truncated(-0.5, bounds=Bounds((10.0,), (20.0,)))
    uniform = np.random.default_rng(0).random((50, 2))
    together, log_density = chosen(truncated(0.1, -0.5, bounds=BOTH), uniform)
    first, second = chosen(one, uniform[:, :1]), chosen(other, uniform[:, 1:])
    np.testing.assert_array_equal(together, np.concatenate([first[0], second[0]], axis=1))
    np.testing.assert_allclose(log_density, first[1] + second[1], atol=1e-5)
    wide = chosen(truncated(0.1, bounds=Bounds((-2.0,), (0.6,))), uniform[:, :1])
    np.testing.assert_allclose(wide[1], first[1] - np.log(2), atol=1e-5)


def test_the_best_action_has_no_density():
    for head, share in ((truncated(0.5), np.tanh(0.5)), (squashed(-0.3, 0.9), np.tanh(-0.3))):
        action, log_density = chosen(head, [[0.0], [0.9]], explore=False)
        np.testing.assert_allclose(action, 0.5 + (share + 1) / 2 * 29.5, rtol=1e-6)
        assert np.isnan(log_density).all()


@settings(max_examples=60, deadline=None)
@given(
    means=st.tuples(st.floats(-30, 30), st.floats(-30, 30)),
    width=st.floats(1e-3, 10),
    temperature=st.floats(0, 100),
    uniform=st.tuples(st.sampled_from([0.0, 0.5, LARGEST_UNIFORM]) | st.floats(0, LARGEST_UNIFORM), st.just(0.25)),
)
def test_actions_stay_within_bounds_and_densities_finite(means, width, temperature, uniform):
    low, high = np.float32(BOTH.low), np.float32(BOTH.high)
    for head in (truncated(*means, exploration=width, bounds=BOTH), squashed(*means, -width, width, bounds=BOTH)):
        action, log_density = chosen(head, [uniform], temperature)
        assert ((action >= low) & (action <= high)).all()
        assert np.isfinite(log_density).all()


def test_bounds_scale_there_and_back():
    scaled = BOTH.scaled(tf.constant([[-1.0, 10.0], [0.3, 20.0], [-0.35, 15.0]]))
    np.testing.assert_allclose(scaled, [[-1, -1], [1, 1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(
        BOTH.unscaled(tf.cast(scaled, tf.float64)), [[-1, 10], [0.3, 20], [-0.35, 15]], rtol=1e-6
    )
