"""Profiles by hand, and parts merged against the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlbake.errors import DataError
from rlbake.features.profile import (
    BINARY,
    CATEGORY,
    GRID,
    NUMBER,
    Profile,
    distribution,
    merge,
    merge_all,
    number_profile,
    profile_of,
)
from rlbake.specs import Binary, Category, Number

OBSERVATION = (
    Number("level"),
    Number("spend", optional=True),
    Binary("payer", optional=True),
    Category("country", ["US", "DE"], optional=True),
)
COLUMNS = {
    "level": np.array([1.0, 2.0, 6.0, 7.5]),
    "spend": np.array([np.nan, 300.0, np.nan, -1.0]),
    "payer": np.array([1.0, 0.0, np.nan, 1.0]),
    "country": np.array(["DE", "", "DE", "US"], object),
}

finite = st.floats(-1e6, 1e6, allow_subnormal=False)


def test_by_hand():
    profiles = profile_of(COLUMNS, OBSERVATION)
    level, spend = profiles["observation.level"], profiles["observation.spend"]
    assert (level.kind, level.rows, level.missing, level.low, level.high) == (NUMBER, 4, 0, 1.0, 7.5)
    assert (level.mean, level.m2, level.whole, level.small) == (4.125, 29.1875, 3, (1, 2, 6))
    assert (spend.rows, spend.missing, spend.present, spend.mean) == (4, 2, 2, 149.5)
    assert (spend.whole, spend.small) == (2, (-1,))  # 300 is whole, but not small
    assert profiles["observation.payer"] == Profile(BINARY, 4, 1, counts={"false": 1, "true": 2})
    assert profiles["observation.country"] == Profile(CATEGORY, 4, 1, counts={"DE": 2, "US": 1})


def test_quantiles_are_values_that_were_seen():
    profile = number_profile(np.arange(1000.0), 1000, 0)
    assert profile.quantiles[0] == 0
    assert profile.quantiles[100] == 499
    assert profile.quantiles[-1] == 999


def test_moments_against_scipy():
    values = np.random.default_rng(0).gamma(2, size=5000)
    profile = number_profile(values, 5000, 0)
    assert profile.deviation == pytest.approx(values.std())
    assert profile.skewness == pytest.approx(stats.skew(values))
    assert profile.excess_kurtosis == pytest.approx(stats.kurtosis(values))


@given(finite, st.integers(1, 50))
def test_a_constant_has_deviation_one(value, rows):
    profile = number_profile(np.full(rows, value), rows, 0)
    assert not profile.varies
    assert (profile.deviation, profile.skewness, profile.excess_kurtosis) == (1.0, 0.0, 0.0)


def test_large_values_keep_their_spread():
    assert number_profile(np.array([1.7e9, 1.7e9 + 86_400]), 2, 0).deviation == pytest.approx(43_200)


@pytest.mark.parametrize(
    ("wrong", "feature", "said"),
    [
        ([1.0, np.nan], Number("level"), r"'level': 1 of 2 values .*nan in row 1.*optional"),
        ([np.inf, 1.0], Number("level", optional=True), r"'level': 1 of 2 values .*inf in row 0"),
        ([], Number("level"), r"'level': 0 of 0"),
        (["", "US"], Category("level", ["US"]), r"'level': 1 of 2"),
    ],
)
def test_what_must_not_be(wrong, feature, said):
    with pytest.raises(DataError, match=said):
        profile_of({"level": np.array(wrong, object if isinstance(feature, Category) else float)}, [feature])


@settings(max_examples=200)
@given(st.lists(st.lists(finite, max_size=30), min_size=1, max_size=6))
def test_parts_merge_to_the_whole(parts):
    merged = merge(number_profile(np.array(part, float), len(part) + 1, 1) for part in parts)
    together = np.concatenate([np.array(part, float) for part in parts])
    whole = number_profile(together, len(together) + len(parts), len(parts))
    for exact in ("rows", "missing", "low", "high", "whole", "small"):
        assert getattr(merged, exact) == getattr(whole, exact)
    scale = max(1.0, np.abs(together).max(initial=0))
    assert merged.mean == pytest.approx(whole.mean, abs=1e-9 * scale)
    for power in (2, 3, 4):
        tolerance = 1e-9 * scale**power * max(1, len(together))
        assert getattr(merged, f"m{power}") == pytest.approx(getattr(whole, f"m{power}"), abs=tolerance)
    assert list(merged.quantiles) == sorted(merged.quantiles)
    if len(together):
        assert (merged.quantiles[0], merged.quantiles[-1]) == (whole.low, whole.high)


@given(st.lists(st.lists(st.sampled_from(["US", "DE", ""]), min_size=1, max_size=9), min_size=1, max_size=5))
def test_counts_merge_to_the_whole(parts):
    country = [Category("country", ["US", "DE"], optional=True)]
    merged = merge_all([profile_of({"country": np.array(part, object)}, country) for part in parts])
    assert merged == profile_of({"country": np.array([x for part in parts for x in part], object)}, country)


def test_merged_quantiles_are_those_of_the_mixture():
    rng = np.random.default_rng(1)
    parts = [rng.normal(0, 1, 4000), rng.normal(5, 2, 2000), np.zeros(3000), rng.exponential(size=1000)]
    merged = merge(number_profile(part, len(part), 0) for part in parts)
    whole = np.concatenate(parts)
    ranks = [
        (whole < q).mean() - 0.006 <= p <= (whole <= q).mean() + 0.006
        for p, q in zip(GRID, merged.quantiles, strict=True)
    ]
    assert all(ranks)


def test_an_atom_is_a_jump():
    profile = number_profile(np.repeat([0.0, 1.0], [600, 400]), 1000, 0)
    below, upto = distribution(profile)(np.array([-1.0, 0.0, 0.5, 1.0, 2.0]))
    np.testing.assert_allclose(below, [0, 0, 0.6, 0.6, 1], atol=0.006)
    np.testing.assert_allclose(upto, [0, 0.6, 0.6, 1, 1], atol=0.006)


def test_other_kinds_do_not_merge():
    with pytest.raises(DataError, match="binary, number"):
        merge([Profile(NUMBER, 1, 1), Profile(BINARY, 1, 1)])


def test_a_column_that_a_window_lacks_is_left_out():
    with_it, without = profile_of(COLUMNS, OBSERVATION), profile_of(COLUMNS, OBSERVATION[:1])
    assert list(merge_all([with_it, without])) == ["observation.level"]
