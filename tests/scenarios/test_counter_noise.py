"""Chances that can be looked up: reproducible, uniform, and unrelated to their neighbours."""

import warnings

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlbake.scenarios.counter_noise import CounterNoise

counters = st.integers(0, 2**63 - 1)


@given(st.integers(), st.text(max_size=5), st.lists(counters, min_size=1, max_size=20), counters)
def test_a_draw_depends_on_nothing_but_its_address(seed, stream, units, day):
    noise = CounterNoise("logs", seed)
    together = noise.uniform(stream, units, day)
    alone = [noise.uniform(stream, unit, day).item() for unit in units]
    assert together.tolist() == alone
    assert together.dtype == np.float64
    assert ((together >= 0) & (together < 1)).all()


def test_every_part_of_the_address_matters():
    noise = CounterNoise("logs", 0)
    draws = [
        noise.uniform("click", 1, 2),
        noise.uniform("click", 2, 1),
        noise.uniform("click", 1),
        noise.uniform("click", 1, 0),
        noise.uniform("unsubscribe", 1, 2),
        CounterNoise("logs", 1).uniform("click", 1, 2),
        CounterNoise("evaluation", 0).uniform("click", 1, 2),
    ]
    assert len({draw.item() for draw in draws}) == len(draws)


def test_uniform_along_every_counter():
    noise, count = CounterNoise("logs", 7), np.arange(200_000)
    for address in [(count,), (count, 3), (3, count), (count // 500, count % 500)]:
        draws = noise.uniform("click", *address)
        assert stats.kstest(draws, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 4 / np.sqrt(len(count))


def test_streams_and_seeds_are_independent():
    count = np.arange(200_000)
    one, other = CounterNoise("logs", 0), CounterNoise("logs", 1)
    click = one.uniform("click", count)
    for unrelated in (one.uniform("hour", count), other.uniform("click", count)):
        assert abs(np.corrcoef(click, unrelated)[0, 1]) < 4 / np.sqrt(len(count))


def test_integers_reach_every_value_below_the_bound():
    draws = CounterNoise("logs", 0).integers("hour", 24, np.arange(10_000))
    assert np.unique(draws).tolist() == list(range(24))


def test_no_overflow_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CounterNoise("logs", -1).uniform("click", 2**63 - 1, np.array([0, 2**63 - 1]))
