"""One uniform becomes several: uniform each, and independent of one another and of where they came from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlbake.policies.spread import spread

NOISE = np.random.default_rng(0).random(200_000)


def test_it_is_splitmix64():
    """The reference output of the generator seeded with 0, whose bits are those of 0.0."""
    reference = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert spread(np.array([0.0]), 3)[0].tolist() == [(word >> 11) / 2**53 for word in reference]


@pytest.mark.parametrize("noise", [NOISE, np.arange(200_000) / 200_000], ids=["random", "grid"])
def test_each_is_uniform_and_they_are_independent(noise):
    made = spread(noise, 4)
    assert made.shape == (len(noise), 4)
    for column in made.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    everything = np.column_stack([noise, made])
    cells = (everything * 8).astype(int)
    for a in range(5):
        for b in range(a):
            table = np.histogram2d(cells[:, a], cells[:, b], bins=8)[0]
            assert stats.chi2_contingency(table).pvalue > 1e-4
            assert abs(stats.spearmanr(everything[:, a], everything[:, b]).statistic) < 0.01


def test_three_at_once_fill_the_cube():
    cells = (spread(NOISE, 3) * 8).astype(int) @ [64, 8, 1]
    assert stats.chisquare(np.bincount(cells, minlength=512)).pvalue > 1e-4


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20), st.integers(1, 8))
def test_each_row_is_a_function_of_its_own_noise(noise, count):
    made = spread(np.array(noise), count)
    assert ((made >= 0) & (made < 1)).all()
    assert (spread(np.array(noise[::-1]), count)[::-1] == made).all()
    assert (spread(np.array(noise), count + 1)[:, :count] == made).all()  # more dimensions leave the first alone
