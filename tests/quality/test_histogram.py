"""Histograms tell frequent values apart, and lose none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlbake.quality.histogram import frequent_values, histograms, takes_few_values
from tests.quality.reports import number


def test_ninety_percent_zeros_are_ninety_percent_zeros():
    values = np.concatenate([np.zeros(9_000), np.random.default_rng(0).lognormal(2, 1, 1_000)])
    (drawn,) = histograms([number(values)])
    assert drawn.values.tolist() == [0.0]
    assert drawn.value_shares[0] == pytest.approx(0.9, abs=0.005)
    assert drawn.shares.sum() + drawn.beyond == pytest.approx(0.1, abs=0.005)


def test_two_values_are_exact_however_rare_one_is():
    (drawn,) = histograms([number([0.0] * 99_999 + [1.0])])
    assert drawn.values.tolist() == [0.0, 1.0]
    assert drawn.value_shares[1] == pytest.approx(1e-5)


def test_few_whole_numbers_are_drawn_one_by_one():
    profile = number([1] * 100 + [2] * 300 + [5] * 600)
    (drawn,) = histograms([profile])
    assert drawn.value_shares == pytest.approx([0.1, 0.3, 0.6], abs=0.005)
    assert frequent_values(profile)[0] == (5.0, pytest.approx(0.6, abs=0.005))


def test_a_uniform_number_is_flat():
    (drawn,) = histograms([number(np.linspace(0, 1, 10_000))])
    assert drawn.shares == pytest.approx(np.full(30, 1 / 30), abs=0.006)
    assert not len(drawn.values)


def test_many_whole_numbers_have_bins_of_equally_many():
    (drawn,) = histograms([number(np.repeat(np.arange(60), 100))])
    assert drawn.edges[0] == -0.5
    assert np.diff(drawn.edges) == pytest.approx(2.0)
    assert drawn.shares[:30] == pytest.approx(1 / 30, abs=0.006)


def test_long_tails_are_cut_and_said():
    values = np.concatenate([np.random.default_rng(0).normal(size=9_990), np.full(10, 1e6)])
    (drawn,) = histograms([number(values)])
    assert drawn.edges[-1] < 10
    assert 0.001 <= drawn.beyond <= 0.006


def test_both_profiles_are_drawn_over_the_same_edges():
    one, other = histograms([number(np.linspace(0, 1, 100)), number(np.linspace(5, 6, 100))])
    assert one.edges is other.edges
    assert (one.edges[0], one.edges[-1]) == (0.0, 6.0)
    assert not takes_few_values(number(np.linspace(0, 1, 100)))


values = st.one_of(st.floats(-1e6, 1e6), st.integers(-50, 50).map(float), st.just(0.0))


@settings(max_examples=300, deadline=None)
@given(st.lists(values, min_size=1, max_size=300), st.lists(values, min_size=1, max_size=50))
@example([0.0], [0.0, 5e-324])
def test_shares_add_up_to_one(one, other):
    for drawn in histograms([number(one), number(other)]):
        assert drawn.shares.sum() + drawn.value_shares.sum() + drawn.beyond == pytest.approx(1, abs=1e-9)
        assert min([*drawn.shares, *drawn.value_shares, drawn.beyond]) >= 0
        assert (np.diff(drawn.edges) > 0).all()
