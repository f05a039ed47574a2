"""What the logs can tell about a policy, counted by hand and against SciPy."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlbake.evaluation.rows import Rows
from rlbake.evaluation.support import KEPT, WeightMoments, support, tail


def decisions(weight, unit=None, steps=1):
    n = len(weight)
    zeros, at = np.zeros(n), np.arange(n)
    unit = at if unit is None else np.asarray(unit)
    return Rows(
        unit,
        at // steps,
        at % steps,
        zeros,
        np.asarray(weight, float),
        zeros,
        zeros,
        zeros,
        int(unit.max(initial=-1)) + 1,
    )


def test_decisions_counted_by_hand():
    found = support(
        decisions([1, 3, 0, 4], unit=[0, 0, 1, 3]), sequential=False, propensity=np.array([1, 0.5, 0.5, 0.2])
    )
    assert found.decisions == 4
    assert found.environments == 3  # the third has no rows
    assert found.ess == pytest.approx(8**2 / (1 + 9 + 16))
    assert found.ess_environments == pytest.approx(8**2 / (4**2 + 0 + 4**2))
    assert (found.overlap, found.max_weight, found.tail, found.deterministic) == (2, 4, None, 0.25)


def test_episodes_are_weighed_by_products():
    found = support(decisions([2, 3, 0.5, 4], unit=[0, 0, 1, 1], steps=2), sequential=True)
    assert (found.decisions, found.environments, found.max_weight, found.overlap) == (4, 2, 6, 4)
    assert found.ess == pytest.approx(8**2 / (36 + 4))


@given(n=st.integers(0, 60), seed=st.integers(0, 5), cut=st.integers(0, 60), sequential=st.booleans())
@settings(max_examples=30, deadline=None)
def test_parts_merge_to_the_whole(n, seed, cut, sequential):
    random = np.random.default_rng(seed)
    rows = decisions(
        random.lognormal(size=2 * n), unit=np.repeat(random.integers(5, size=n), 2) if n else None, steps=2
    )
    columns = [f.name for f in fields(Rows) if f.name != "units"]
    parts = [
        Rows(**{c: getattr(rows, c)[at] for c in columns}, units=rows.units)
        for at in (slice(0, 2 * min(cut, n)), slice(2 * min(cut, n), None))
    ]
    first, second = (WeightMoments.of(p, sequential=sequential, propensity=np.ones(len(p))) for p in parts)
    found, whole = first.merged(second).support(), support(rows, sequential=sequential, propensity=np.ones(2 * n))
    for f in fields(whole):
        expected = getattr(whole, f.name)
        assert getattr(found, f.name) == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_only_the_largest_weights_are_kept_and_they_are_the_largest_of_all():
    weight = np.random.default_rng(0).pareto(2, size=3 * KEPT)
    halves = [WeightMoments.of(decisions(part), sequential=False) for part in np.split(weight, 2)]
    halves = [
        WeightMoments(
            **{f.name: getattr(h, f.name) for f in fields(h) if f.name != "by_unit"}, by_unit=np.zeros((1, 2))
        )
        for h in halves
    ]
    np.testing.assert_array_equal(halves[0].merged(halves[1]).largest, np.sort(weight)[::-1][:KEPT])


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_the_tail_of_a_pareto_distribution(shape):
    weight = np.sort(stats.genpareto(shape).rvs(size=40_000, random_state=1))[::-1]
    found = tail(weight[:KEPT], len(weight))
    assert found == pytest.approx(shape, abs=0.12)
    beyond = weight[:600] - weight[600]
    likeliest, _, _ = stats.genpareto.fit(beyond, floc=0)
    assert found == pytest.approx(likeliest, abs=0.02)


def test_bounded_equal_and_few_weights():
    assert tail(np.sort(np.random.default_rng(0).random(5000))[::-1], 5000) < 0
    assert tail(np.full(500, 2.0), 500) is None
    assert tail(np.array([3.0, 2, 1]), 3) is None


def spread(n=2000, scale=0.3, seed=0):
    weight = np.random.default_rng(seed).lognormal(0, scale, n)
    return weight / weight.mean()


def test_nothing_lacks():
    found = support(decisions(spread()), sequential=False, propensity=np.full(2000, 0.5))
    assert found.warnings == ()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("weight", "propensity", "expected"),
    [
        (spread(50), 0.5, ["The 50 decisions are worth 47 of the policy's own, fewer than 100."]),
        (0.61 * spread(), 0.5, ["The logs tell about only 61% of what the policy would do."]),
        (1.4 * spread(), 0.5, ["Weights average 1.40 where right logging probabilities give 1: they are too small."]),
        (spread(), 1.0, ["Every logged decision was certain (probability 1): nothing is known about other actions."]),
        (
            np.zeros(2000),
            1.0,
            [
                "The policy would have done nothing that the 2,000 decisions hold: they say nothing about it.",
                "Every logged decision was certain (probability 1): nothing is known about other actions.",
            ],
        ),
        (np.zeros(0), 1.0, ["There is not a single decision to evaluate on."]),
    ],
)
def test_what_lacks_is_said_with_its_numbers(weight, propensity, expected):
    found = support(decisions(weight), sequential=False, propensity=np.full(len(weight), propensity))
    assert list(found.warnings) == expected


def test_a_heavy_tail_and_a_single_row_that_decides():
    weight = stats.genpareto(1.2).rvs(size=5000, random_state=3)
    told = " ".join(support(decisions(weight / weight.mean()), sequential=False).warnings)
    assert "The largest weights have a heavy tail (k = 0.9" in told
    assert "One decision of 5,000 has" in told


def test_few_environments_however_many_decisions():
    found = support(decisions(np.ones(2000), unit=np.arange(2000) % 12), sequential=False)
    assert found.warnings == ("The 12 environments are worth 12, fewer than 30: intervals are too narrow.",)


def test_some_were_certain():
    propensity = np.where(np.arange(2000) < 500, 1.0, 0.5)
    found = support(decisions(np.ones(2000)), sequential=False, propensity=propensity)
    assert found.warnings == (
        "25% of logged decisions were certain (probability 1): they say nothing about other actions.",
    )
