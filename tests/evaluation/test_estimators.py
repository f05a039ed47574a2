"""Estimators counted by hand, and what must hold for all of them."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbake.evaluation.estimators import (
    FQE,
    ONE_STEP,
    SEQUENTIAL,
    ClippedIPS,
    LoggedReturn,
    Magic,
    PerDecisionIS,
    SequentialDR,
    SequentialSNDR,
    ShrinkageDR,
    SNPerDecisionIS,
    SNTrajectoryIS,
    SubGaussianIPS,
    TrajectoryIS,
)
from rlbake.evaluation.rows import Rows
from rlbake.evaluation.support import support

HORIZON = 5
EVERY = [
    *(pytest.param(make(), id=f"one step {name}") for name, make in ONE_STEP.items()),
    *(pytest.param(make(gamma=0.9, horizon=HORIZON), id=f"episodes {name}") for name, make in SEQUENTIAL.items()),
]


def made(lengths, *, units=3, seed=0, zeros=0.2):
    """Episodes of given lengths, with some weights 0."""
    random = np.random.default_rng(seed)
    lengths = np.asarray(lengths, int)
    n = int(lengths.sum())
    episode = np.repeat(np.arange(len(lengths)), lengths)
    step = np.arange(n) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    tail = np.zeros(n)
    last = np.cumsum(lengths) - 1
    tail[last] = random.normal(size=len(lengths)) * (random.random(len(lengths)) < 0.5)
    return Rows(
        unit=random.integers(units, size=len(lengths))[episode],
        episode=episode,
        step=step,
        reward=random.normal(size=n),
        weight=random.exponential(size=n) * (random.random(n) > zeros),
        q=random.normal(size=n),
        v=random.normal(size=n),
        tail=tail,
        units=units,
    )


def part(rows, among):
    columns = {f: getattr(rows, f)[among] for f in ("unit", "episode", "step", "reward", "weight", "q", "v", "tail")}
    return Rows(**columns, units=rows.units)


def two_episodes():
    """The first ends after two steps, the second after one: weights 2·3 and ½; γ is ½."""
    return Rows(
        unit=np.array([0, 0, 1]),
        episode=np.array([0, 0, 1]),
        step=np.array([0, 1, 0]),
        reward=np.array([1.0, 2.0, 4.0]),
        weight=np.array([2.0, 3.0, 0.5]),
        q=np.array([1.0, 1.0, 2.0]),
        v=np.array([3.0, 2.0, 5.0]),
        tail=np.zeros(3),
        units=2,
    )


def value(estimator, rows):
    return float(estimator.value(estimator.components(rows).sum(axis=0)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("logged", 7 / 3),
        ("ips", (2 * 1 + 3 * 2 + 0.5 * 4) / 3),
        ("snips", 10 / 5.5),
        ("dm", 10 / 3),
        ("dr", (10 + 2 * 0 + 3 * 1 + 0.5 * 2) / 3),
        ("sndr", 10 / 3 + 4 / 5.5),
    ],
)
def test_decisions_counted_by_hand(name, expected):
    assert value(ONE_STEP[name](), two_episodes()) == pytest.approx(expected)


def test_constants_counted_by_hand():
    assert value(ClippedIPS(2), two_episodes()) == pytest.approx((2 * 1 + 2 * 2 + 0.5 * 4) / 3)
    assert value(SubGaussianIPS(0.5), two_episodes()) == pytest.approx((4 / 3 * 1 + 3 / 2 * 2 + 2 / 3 * 4) / 3)
    assert value(ShrinkageDR(1), two_episodes()) == pytest.approx((10 + 2 / 5 * 0 + 3 / 10 * 1 + 2 / 5 * 2) / 3)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (LoggedReturn, (2 + 4) / 2),
        (FQE, (3 + 5) / 2),
        (TrajectoryIS, (6 * 2 + 0.5 * 4) / 2),
        (PerDecisionIS, (2 * 1 + 6 * 0.5 * 2 + 0.5 * 4) / 2),
        (SNTrajectoryIS, (6 * 2 + 0.5 * 4) / 6.5),
        # the second episode, over after one step, still has its weight ½ at step 1
        (SNPerDecisionIS, (2 * 1 + 0.5 * 4) / 2.5 + (6 * 0.5 * 2) / 6.5),
        (SequentialDR, (3 + 2 * (1 + 0.5 * 2 - 1) + 6 * 0.5 * (2 - 1) + 5 + 0.5 * (4 - 2)) / 2),
        (SequentialSNDR, 8 / 2 + (2 * 1 + 0.5 * 2) / 2.5 + 6 * 0.5 * 1 / 6.5),
    ],
)
def test_episodes_counted_by_hand(made, expected):
    assert value(made(gamma=0.5, horizon=2), two_episodes()) == pytest.approx(expected)


def test_what_goes_on_unseen_counts_by_its_model():
    goes_on = replace(two_episodes(), tail=np.array([0.0, 8.0, 0.0]))
    added = {
        made: value(make(gamma=0.5, horizon=2), goes_on) - value(make(gamma=0.5, horizon=2), two_episodes())
        for made, make in SEQUENTIAL.items()
        if made != "magic"
    }
    weighted = 0.5**2 * 6 * 8
    assert added.pop("sequential_dr") == pytest.approx(weighted / 2)
    assert added.pop("sequential_sndr") == pytest.approx(weighted / 6.5)
    assert set(added.values()) == {0.0}


@given(lengths=st.lists(st.integers(1, HORIZON), min_size=2, max_size=12), seed=st.integers(0, 9), data=st.data())
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("estimator", EVERY)
def test_sums_do_not_depend_on_how_episodes_are_parted(estimator, lengths, seed, data):
    rows = made(lengths, seed=seed)
    parts = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(lengths), max_size=len(lengths))))
    merged = sum(estimator.components(part(rows, parts[rows.episode] == p)) for p in range(3))
    np.testing.assert_allclose(merged, estimator.components(rows), rtol=1e-12, atol=1e-12)


@given(n=st.integers(2, 12), seed=st.integers(0, 9), data=st.data())
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("name", ONE_STEP)
def test_decisions_may_be_parted_anywhere(name, n, seed, data):
    rows, cut = made([n], seed=seed), data.draw(st.integers(0, n))
    estimator, first = ONE_STEP[name](), np.arange(n) < cut
    merged = estimator.components(part(rows, first)) + estimator.components(part(rows, ~first))
    np.testing.assert_allclose(merged, estimator.components(rows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("estimator", EVERY)
def test_the_gradient_is_that_of_the_value_and_influences_add_up_to_nothing(estimator):
    components = estimator.components(made([3, 1, 5, 2, 4] * 8, units=10))
    settled, totals = estimator.settled(components), components.sum(axis=0)
    slope = settled.gradient(totals)
    steps = np.eye(len(totals)) * 1e-6 * np.maximum(np.abs(totals), 1)
    numeric = (settled.value(totals + steps) - settled.value(totals - steps)) / (2 * np.diag(steps))
    np.testing.assert_allclose(slope, numeric, rtol=1e-5, atol=1e-7)
    assert (components @ slope).sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("estimator", EVERY)
@pytest.mark.filterwarnings("error")
def test_where_nothing_has_weight_there_is_a_number_or_nan_but_no_warning(estimator):
    rows = replace(made([3, 2, 5]), weight=np.zeros(10))
    settled = estimator.settled(estimator.components(rows))
    found = value(settled, rows)
    normalised = {"snips", "sndr", "sn_trajectory_is", "sn_per_decision_is", "sequential_sndr"}
    assert np.isnan(found) == (estimator.name in normalised)


@pytest.mark.parametrize("estimator", EVERY)
@pytest.mark.filterwarnings("error")
def test_no_rows_at_all(estimator):
    rows = made([])
    components = estimator.components(rows)
    assert components.shape[0] == rows.units
    assert not components.any()
    assert np.isnan(estimator.settled(components).value(components.sum(axis=0)))


@pytest.mark.parametrize("name", ONE_STEP)
def test_deciding_as_logged_estimates_1_from_1s(name):
    rows = made([3, 1, 5, 2])
    ones = np.ones(len(rows))
    assert value(ONE_STEP[name](), replace(rows, weight=ones, reward=ones, q=ones, v=ones)) == pytest.approx(1)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_deciding_as_logged_estimates_the_mean_length_from_1s(name):
    lengths = np.array([3, 1, 5, 2])
    rows = made(lengths)
    ones, left = np.ones(len(rows)), np.repeat(lengths, lengths).astype(float) - rows.step
    sure = replace(rows, weight=ones, reward=ones, q=left, v=left, tail=0 * ones)
    estimator = SEQUENTIAL[name](gamma=1.0, horizon=HORIZON)
    assert value(estimator.settled(estimator.components(sure)), sure) == pytest.approx(lengths.mean())


def test_magic_believes_an_unbiased_model_and_drops_a_wrong_one():
    random = np.random.default_rng(0)
    rows = made([3] * 400, units=400, zeros=0)
    rows = replace(rows, unit=rows.episode, tail=np.zeros(len(rows)), weight=random.lognormal(-0.125, 0.5, len(rows)))
    left = 3.0 - rows.step
    right = replace(rows, reward=1 + 0.1 * rows.reward, q=left, v=left)
    wrong = replace(right, q=left + 50, v=left + 50)
    magic = Magic(gamma=1.0, horizon=3)
    full = SequentialSNDR(gamma=1.0, horizon=3)
    settled = magic.settled(magic.components(right))
    assert value(settled, right) == pytest.approx(3, abs=0.05)
    assert settled.lengths[0] < 0.5
    settled = magic.settled(magic.components(wrong))
    assert value(settled, wrong) == pytest.approx(value(full, wrong), abs=1)
    assert settled.lengths[0] > 0.9


def test_magic_needs_a_blend():
    with pytest.raises(ValueError, match="settled"):
        Magic(gamma=0.9, horizon=2).value(np.ones(6))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClippedIPS(-1), "limit is -1"),
        (lambda: SubGaussianIPS(1.5), "shrinkage is 1.5"),
        (lambda: ShrinkageDR(np.inf), "that is DR"),
        (lambda: TrajectoryIS(gamma=2, horizon=3), "gamma is 2"),
        (lambda: TrajectoryIS(gamma=1, horizon=2).components(made([1, 3])), "horizon is 2: an episode has 3 steps"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_estimators_travel_to_processes_without_rlbake():
    """As Spark ships them: by value, to workers that have NumPy and SciPy."""
    shipping = """
        import sys, cloudpickle
        import rlbake.evaluation
        from rlbake.evaluation.estimators import ONE_STEP, SEQUENTIAL
        from rlbake.evaluation.intervals import linearised
        from rlbake.evaluation.support import support
        from tests.evaluation.test_estimators import made
        cloudpickle.register_pickle_by_value(rlbake.evaluation)
        one_step = [make() for make in ONE_STEP.values()]
        sequential = [make(gamma=0.9, horizon=5) for make in SEQUENTIAL.values()]
        sys.stdout.buffer.write(cloudpickle.dumps((one_step + sequential, made([3, 2, 4] * 5), linearised, support)))
    """
    arriving = """
        import sys, pickle
        sys.modules["rlbake"] = None
        estimators, rows, linearised, support = pickle.load(sys.stdin.buffer)
        print(*(linearised(e, e.components(rows)).value for e in estimators), support(rows, sequential=True).ess)
        assert not {"tensorflow", "pandas", "pyspark"} & set(sys.modules)
    """
    sent = b""
    for code in (shipping, arriving):
        command = [sys.executable, "-c", textwrap.dedent(code)]
        sent = subprocess.run(command, input=sent, check=True, stdout=subprocess.PIPE).stdout
    found = [float(x) for x in sent.split()]
    rows = made([3, 2, 4] * 5)
    here = [e.values[0].settled(e.values[0].components(rows)) for e in EVERY]
    np.testing.assert_allclose(found, [*(value(e, rows) for e in here), support(rows, sequential=True).ess], rtol=1e-12)
