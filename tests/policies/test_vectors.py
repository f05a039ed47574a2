"""Exported policies that choose several things at once, and numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlbake.errors import DataError, SpecError
from rlbake.policies.export import export_policy
from rlbake.policies.saved import SavedPolicy
from rlbake.policies.spread import spread
from tests.vector_agents import BUNDLE, BUNDLES, EPSILON, MEANS, PRICES, ROWS, SIGMA, bundle_agent, price_agent

NOISE = np.array([0.0, 0.3, 0.7, 1 - 2**-53])


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    return export_policy(bundle_agent(), tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    return export_policy(price_agent(), tmp_path_factory.mktemp("prices"))


@pytest.fixture(scope="module")
def exploring(prices):
    return SavedPolicy(prices, "shop/1", explore=True)


def priced(temperature: float = 1.0):
    """The distributions of price and share for `ROWS`."""
    low, high, sigma = (np.array(values) for values in (PRICES.low, PRICES.high, SIGMA))
    sigma = sigma * temperature
    return stats.truncnorm((low - MEANS) / sigma, (high - MEANS) / sigma, MEANS, sigma)


def test_several_choices_by_hand(bundles):
    policy = SavedPolicy(bundles, "shop/1")
    assert policy.action == BUNDLE
    decided = policy.decide(ROWS, NOISE)
    assert decided.action.tolist() == BUNDLES
    assert (decided.action.dtype, decided.log_probability.dtype) == (np.int32, np.float32)
    assert decided.log_probability.tolist() == [0] * 4


def test_the_probability_is_of_all_choices_together(bundles):
    policy = SavedPolicy(bundles, "shop/1", explore=True)
    probabilities = policy.probabilities(ROWS)
    expected = np.full((4, 6), EPSILON / 6)
    expected[range(4), BUNDLE.flat(np.array(BUNDLES))] += 1 - EPSILON
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)
    many = {name: np.repeat(column[:1], 2000) for name, column in ROWS.items()}
    decided = policy.decide(many, (np.arange(2000) + 0.5) / 2000)
    number = BUNDLE.flat(decided.action)
    np.testing.assert_allclose(np.bincount(number, minlength=6) / 2000, expected[0], atol=1 / 2000)
    np.testing.assert_allclose(decided.log_probability, np.log(expected[0])[number], rtol=1e-5)


def test_several_choices_have_values_and_no_mask(bundles):
    policy = SavedPolicy(bundles, "shop/1")
    assert BUNDLE.split(policy.values(ROWS).argmax(axis=1)).tolist() == BUNDLES
    with pytest.raises(DataError, match="only Discrete actions can be masked, not MultiDiscrete"):
        policy.decide(ROWS, NOISE, np.ones((4, 6), bool))


def test_the_best_numbers_are_within_the_bounds_and_have_no_density(prices):
    decided = SavedPolicy(prices, "shop/1").decide(ROWS, NOISE)
    np.testing.assert_allclose(decided.action, np.clip(MEANS, PRICES.low, PRICES.high))
    assert (decided.action.dtype, decided.log_probability.dtype) == (np.float32, np.float32)
    assert np.isnan(decided.log_probability).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4))
def test_numbers_and_their_density_are_those_of_the_distribution(exploring, noise):
    decided = exploring.decide(ROWS, np.array(noise))
    expected = priced().ppf(spread(np.array(noise), 2))
    np.testing.assert_allclose(decided.action, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(decided.log_probability, priced().logpdf(expected).sum(axis=1), rtol=1e-3, atol=1e-3)
    assert (decided.action >= PRICES.low).all()
    assert (decided.action <= PRICES.high).all()


def test_the_temperature_widens(prices):
    decided = SavedPolicy(prices, "shop/1", explore=True, temperature=2.0).decide(ROWS, NOISE)
    np.testing.assert_allclose(decided.action, priced(2.0).ppf(spread(NOISE, 2)), rtol=1e-4, atol=1e-4)


def test_numbers_have_no_probabilities_values_or_mask(exploring):
    for ask in (exploring.probabilities, exploring.values):
        with pytest.raises(SpecError, match=r"shop/1 decides on numbers \(price, share\), so there are no "):
            ask(ROWS)
    with pytest.raises(DataError, match="only Discrete actions can be masked, not Continuous"):
        exploring.decide(ROWS, NOISE, np.ones((4, 2), bool))


@pytest.mark.parametrize("folder", ["bundles", "prices"])
def test_bad_rows_are_refused(folder, request):
    policy = SavedPolicy(request.getfixturevalue(folder), "shop/1")
    with pytest.raises(DataError, match="not finite: level"):
        policy.decide({**ROWS, "level": np.array([1, np.nan, 2, 3])}, NOISE)
    assert len(policy.decide({name: column[:0] for name, column in ROWS.items()}, NOISE[:0]).action) == 0
