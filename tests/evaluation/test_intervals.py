"""Intervals against what SciPy says where it can, and what they say where nothing can be said."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from rlbake.evaluation.estimators import DR, IPS, ONE_STEP, SEQUENTIAL, SNIPS, LoggedReward
from rlbake.evaluation.intervals import Bounded, bootstrap, empirical_bernstein, linearised, paired, paired_bootstrap
from rlbake.evaluation.rows import Rows

EVERYWHERE = (-np.inf, np.inf)


def decisions(n=200, *, units=None, seed=0):
    """Decisions, each an environment of its own unless said otherwise."""
    random = np.random.default_rng(seed)
    units = n if units is None else units
    return Rows(
        unit=np.sort(random.integers(units, size=n)) if units < n else np.arange(n),
        episode=np.arange(n),
        step=np.zeros(n, int),
        reward=random.random(n),
        weight=random.exponential(size=n),
        q=random.random(n),
        v=random.random(n),
        tail=np.zeros(n),
        units=units,
    )


def test_one_row_per_unit_is_the_t_interval_of_a_mean():
    rows = decisions()
    found = linearised(LoggedReward(), LoggedReward().components(rows), confidence=0.9)
    expected = stats.ttest_1samp(rows.reward, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert (found.value, found.se, found.units) == pytest.approx((rows.reward.mean(), stats.sem(rows.reward), 200))
    assert found.skewness == pytest.approx(stats.skew(rows.reward))


def test_every_row_twice_in_its_unit_changes_nothing():
    rows = decisions()
    columns = {f: np.repeat(getattr(rows, f), 2) for f in Rows.__dataclass_fields__ if f != "units"}
    twice = Rows(**columns, units=rows.units)
    for estimator in (IPS(), SNIPS(), DR()):
        once, again = (linearised(estimator, estimator.components(r)) for r in (rows, twice))
        assert (again.value, again.low, again.high) == pytest.approx((once.value, once.low, once.high), rel=1e-12)


def test_units_without_rows_do_not_count():
    rows = decisions()
    more = replace(rows, unit=rows.unit * 3, units=700)
    for interval in (linearised, lambda *given: bootstrap(*given, seed=1)):
        assert interval(DR(), DR().components(more)) == interval(DR(), DR().components(rows))


def test_bootstrap_agrees_with_scipy_and_is_the_same_for_a_seed():
    rows = decisions()
    components = IPS().components(rows)
    found = bootstrap(IPS(), components, seed=3, replicates=4000)
    assert found == bootstrap(IPS(), components, seed=3, replicates=4000)
    assert found != bootstrap(IPS(), components, seed=4, replicates=4000)
    mean = stats.bootstrap((rows.weight * rows.reward,), np.mean, n_resamples=4000, method="percentile", rng=0)
    assert (found.low, found.high) == pytest.approx(tuple(mean.confidence_interval), abs=0.01)
    assert found.se == pytest.approx(mean.standard_error, rel=0.05)


def test_bootstrap_in_blocks_of_bounded_memory(monkeypatch):
    components = SNIPS().components(decisions())
    whole = bootstrap(SNIPS(), components, seed=0)
    monkeypatch.setattr("rlbake.evaluation.intervals._DRAWN_AT_ONCE", 1000)
    blocks = bootstrap(SNIPS(), components, seed=0)
    assert (blocks.low, blocks.high, blocks.se) == pytest.approx((whole.low, whole.high, whole.se), rel=1e-12)


@pytest.mark.parametrize("difference", [paired, lambda *given: paired_bootstrap(*given, seed=0)])
@pytest.mark.parametrize("name", [*ONE_STEP, *SEQUENTIAL])
def test_nothing_differs_from_itself(difference, name):
    estimator = ONE_STEP[name]() if name in ONE_STEP else SEQUENTIAL[name](gamma=0.9, horizon=1)
    components = estimator.components(decisions(60))
    found = difference(estimator, components, estimator, components)
    assert (found.value, found.low, found.high, found.se) == (0, 0, 0, 0)


def test_what_both_share_cancels():
    rows = decisions()
    better = replace(rows, reward=rows.reward + 0.1)
    ours, theirs = (LoggedReward().components(r) for r in (better, rows))
    for found in (
        paired(LoggedReward(), ours, LoggedReward(), theirs),
        paired_bootstrap(IPS(), ours, IPS(), theirs, 0),
    ):
        assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def test_paired_is_the_paired_t_test_of_means():
    rows, other = decisions(), decisions(seed=5)
    found = paired(LoggedReward(), LoggedReward().components(rows), LoggedReward(), LoggedReward().components(other))
    expected = stats.ttest_rel(rows.reward, other.reward).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-10)


def test_only_the_same_units_can_be_paired():
    with pytest.raises(ValueError, match="200 and 100 units"):
        paired(IPS(), IPS().components(decisions()), IPS(), IPS().components(decisions(100)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("estimator", [IPS(), SNIPS(), *(make(gamma=0.9, horizon=1) for make in SEQUENTIAL.values())])
@pytest.mark.parametrize("rows", [decisions(0), decisions(1), replace(decisions(5), unit=np.zeros(5, int))])
def test_fewer_than_two_units_say_nothing(estimator, rows):
    components = estimator.components(rows)
    pair = (estimator, components, estimator, components)
    for found in (linearised(*pair[:2]), bootstrap(*pair[:2], seed=0), paired(*pair), paired_bootstrap(*pair, seed=0)):
        assert (found.low, found.high) == EVERYWHERE
        assert not found.skewed
    bounded = Bounded(0, 1)
    found = empirical_bernstein(bounded, bounded.components(rows))
    assert (found.low, found.high) == EVERYWHERE


@pytest.mark.filterwarnings("error")
def test_no_weight_at_all_says_nothing_of_what_is_normalised():
    components = SNIPS().components(replace(decisions(), weight=np.zeros(200)))
    for found in (linearised(SNIPS(), components), bootstrap(SNIPS(), components, seed=0)):
        assert np.isnan(found.value)
        assert (found.low, found.high) == EVERYWHERE


@pytest.mark.filterwarnings("error")
def test_replicates_without_weight_count_at_both_ends():
    """Two of six units have weight, so (4/6)⁶ = 9 % of draws have none."""
    rows = replace(decisions(6), weight=np.array([1.0, 1, 0, 0, 0, 0]))
    found = bootstrap(SNIPS(), SNIPS().components(rows), seed=0)
    assert (found.low, found.high) == EVERYWHERE
    assert np.isfinite(found.value)


def test_a_few_units_with_nearly_all_influence_are_skewed():
    rows = decisions()
    rows.weight[7] = 100
    assert linearised(IPS(), IPS().components(rows)).skewed
    assert not linearised(LoggedReward(), LoggedReward().components(rows)).skewed


def test_empirical_bernstein_counted_by_hand():
    """Theorem 11 of Maurer & Pontil for rewards in [2, 4], weights cut at 2, one decision per environment."""
    rows = replace(decisions(100), reward=2 + 2 * np.random.default_rng(1).random(100))
    bounded = Bounded(low=2, high=4, clip=2)
    found = empirical_bernstein(bounded, bounded.components(rows), confidence=0.8)
    z = np.minimum(rows.weight, 2) * (rows.reward - 2) / 4  # in [0, 1]
    log = np.log(2 / 0.1)
    lower = z.mean() - np.sqrt(2 * z.var(ddof=1) * log / 100) - 7 * log / (3 * 99)
    assert found.low == pytest.approx(2 + 4 * lower)
    assert found.low < rows.reward.mean() < found.high


def test_empirical_bernstein_adds_up_and_of_one_step_episodes_is_of_decisions():
    rows, bounded = decisions(300, units=40), Bounded(0, 1)
    whole = bounded.components(rows)
    halves = [
        Rows(**{f: getattr(rows, f)[at] for f in Rows.__dataclass_fields__ if f != "units"}, units=40)
        for at in (slice(0, 111), slice(111, None))
    ]
    np.testing.assert_allclose(sum(bounded.components(r) for r in halves), whole)
    np.testing.assert_allclose(bounded.of_returns(rows, gamma=0.9, horizon=1), whole)


def test_rewards_out_of_bounds_are_refused():
    with pytest.raises(ValueError, match=r"of 200 outcomes are outside of \[0, 0.5\]"):
        Bounded(0, 0.5).components(decisions())
