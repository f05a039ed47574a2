"""What a population would notice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rlbake.evaluation.change import change


def test_by_hand():
    new = np.array([[0.9, 0.1], [0.5, 0.5], [0.0, 1.0], [1.0, 0.0]])
    old = np.array([[0.1, 0.9], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    found = change(new, old)
    assert found.flips == 0.5  # ties go to the first action, as in the policies
    assert found.kl == pytest.approx((0.8 * np.log(9) + 0 + np.log(2) + np.log(2)) / 4)


def test_what_was_never_done_is_infinitely_new():
    assert change(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])).kl == np.inf
    assert change(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])).kl == pytest.approx(np.log(2))


@given(arrays(np.float64, (5, 3), elements=st.floats(0.01, 1)), arrays(np.float64, (5, 3), elements=st.floats(0.01, 1)))
def test_never_negative_and_nothing_only_for_the_same(first, second):
    first, second = (weights / weights.sum(axis=1, keepdims=True) for weights in (first, second))
    assert change(first, second).kl >= -1e-12
    assert change(first, first) == type(change(first, first))(0.0, 0.0)
