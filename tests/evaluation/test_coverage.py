"""95 % intervals hold the exactly known value in 92 to 98 of 100 draws, for every estimator that claims it."""

from functools import cache

import numpy as np
import pytest

from benchmarks.ope_coverage import coverage
from rlbake.evaluation.estimators import DM, DR, FQE, ONE_STEP, SEQUENTIAL, SNDR, SNIPS
from rlbake.evaluation.intervals import Bounded, bootstrap, empirical_bernstein, linearised, paired
from tests.evaluation.worlds import GAMMA, Draws, bandit, decision_process

pytestmark = pytest.mark.slow

DRAWS, ENVIRONMENTS, HORIZON = 500, 200, 6
OF_EPISODES = {"gamma": GAMMA, "horizon": HORIZON}
ESTIMATORS = {
    f"{world}-{name}": (world, make(**(OF_EPISODES if world == "sequences" else {})))
    for world, registry in (("bandit", ONE_STEP), ("sequences", SEQUENTIAL))
    for name, make in registry.items()
    if name != "logged"  # is not an estimate of another policy
}
CLAIMING = [key for key, (_, estimator) in ESTIMATORS.items() if estimator.claims_coverage]


@cache
def drawn(world: str, sharpness: float = 1.0) -> Draws:
    if world == "bandit":
        return bandit(DRAWS, ENVIRONMENTS, seed=1, sharpness=sharpness)
    return decision_process(DRAWS, ENVIRONMENTS, seed=2, horizon=HORIZON, sharpness=sharpness)


def test_these_claim_it():
    assert {key.split("-")[1] for key in CLAIMING} == {
        "ips", "snips", "dr", "sndr", "trajectory_is", "per_decision_is", "sn_trajectory_is", "sn_per_decision_is",
        "sequential_dr", "sequential_sndr",
    }  # fmt: skip


@pytest.mark.parametrize("key", CLAIMING)
def test_t(key):
    world, estimator = ESTIMATORS[key]
    found = [linearised(estimator, c) for c in drawn(world).components(estimator)]
    assert 0.92 <= coverage(found, drawn(world).truth) <= 0.98


@pytest.mark.parametrize("key", CLAIMING)
def test_bootstrap(key):
    world, estimator = ESTIMATORS[key]
    found = [bootstrap(estimator, c, seed, replicates=400) for seed, c in enumerate(drawn(world).components(estimator))]
    assert 0.92 <= coverage(found, drawn(world).truth) <= 0.98


@pytest.mark.parametrize("key", CLAIMING)
def test_far_from_the_logs_it_holds_or_the_interval_says_that_it_may_not(key):
    world, estimator = ESTIMATORS[key]
    far = drawn(world, 4.0)
    found = [linearised(estimator, c) for c in far.components(estimator)]
    assert coverage(found, far.truth) >= 0.92 or np.mean([i.skewed for i in found]) > 0.5


@pytest.mark.parametrize("estimator", [SNIPS(), DR(), SNDR()])
def test_decisions_taken_for_independent_cover_too_rarely(estimator):
    found = [linearised(estimator, c) for c in drawn("bandit").of_each_row(estimator)]
    assert coverage(found, drawn("bandit").truth) < 0.9


@pytest.mark.parametrize(("world", "estimator"), [("bandit", DM()), ("sequences", FQE(**OF_EPISODES))])
def test_a_model_alone_is_narrow_and_wrong(world, estimator):
    found = [linearised(estimator, c) for c in drawn(world).components(estimator)]
    assert coverage(found, drawn(world).truth) < 0.7


def test_differences():
    """DR of the target policy minus what was logged, whose values are both known."""
    world, logged = drawn("bandit"), ONE_STEP["logged"]()
    on_policy = world.components(logged).sum(axis=(0, 1))
    truth = world.truth - on_policy[1] / on_policy[0]  # of 300,000 decisions
    pairs = zip(world.components(DR()), world.components(logged), strict=True)
    assert 0.92 <= coverage([paired(DR(), a, logged, b) for a, b in pairs], truth) <= 0.98


def test_empirical_bernstein():
    many, bounded = bandit(DRAWS, 1000, seed=3), Bounded(low=0, high=1, clip=5)
    found = [empirical_bernstein(bounded, c) for c in many.components(bounded)]
    assert coverage(found, many.truth) >= 0.95
    assert max(i.high - i.low for i in found) < 0.6  # and is not [0, 1]
