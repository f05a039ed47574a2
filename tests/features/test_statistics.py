"""Moments against numpy, and the cases that would divide by nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbake.errors import DataError
from rlbake.features.statistics import Moments, statistics
from rlbake.specs import Binary, Category, Number

LEVEL = (Number("level"),)


def test_by_hand():
    observation = (*LEVEL, Binary("payer"), Category("country", ["US"]))
    columns = {"level": np.array([1.0, 2.0, 6.0]), "payer": np.ones(3, bool), "country": np.full(3, "US", object)}
    assert statistics(columns, observation) == {"level": Moments(3.0, 14 / 3)}


@given(st.floats(-1e9, 1e9), st.integers(1, 50))
def test_a_constant_has_variance_one(value, rows):
    moments = statistics({"level": np.full(rows, value)}, LEVEL)["level"]
    assert moments.mean == pytest.approx(value)
    assert moments.variance == 1.0


def test_large_float32_values_keep_their_spread():
    epoch = np.array([1.7e9, 1.7e9 + 86_400], np.float64)
    assert statistics({"level": epoch}, LEVEL)["level"].variance == pytest.approx(43_200.0**2)


def test_a_value_that_is_not_finite_is_named():
    with pytest.raises(DataError, match=r"'level': 1 of 2 values are not finite, for example nan in row 1"):
        statistics({"level": np.array([1.0, np.nan])}, LEVEL)


def test_no_rows():
    with pytest.raises(DataError, match="'level'"):
        statistics({"level": np.zeros(0)}, LEVEL)
