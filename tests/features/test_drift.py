"""Drift by hand, and on distributions whose distance is known."""

import numpy as np
import pytest

from rlbake.features.drift import LEAST_SHARE, drift
from rlbake.features.profile import BINARY, NUMBER, Profile, merge, profile_of
from rlbake.specs import Category, Number


def number(values, missing=0):
    column = {"x": np.concatenate([values, np.full(missing, np.nan)])}
    return profile_of(column, [Number("x", optional=True)])


def of(reference, current):
    (found,) = drift(reference, current).values()
    return found


def test_nothing_moved():
    same = number(np.random.default_rng(0).normal(size=5000), 50)
    assert (of(same, same).psi, of(same, same).wasserstein) == (0, 0)


def test_chance_alone_is_little():
    rng = np.random.default_rng(0)
    found = of(number(rng.normal(size=5000)), number(rng.normal(size=5000)))
    assert found.psi < 0.02
    assert found.wasserstein < 0.08


def test_a_shift_is_measured_in_deviations():
    values = np.random.default_rng(0).normal(0, 3, 20_000)
    found = of(number(values), number(values + 1.5))
    assert found.wasserstein == pytest.approx(0.5, abs=0.02)
    assert 0.1 < found.psi < 0.35  # of two normals half a deviation apart: 0.25, less what binning hides


def test_categories_by_hand():
    def country(us, de, missing):
        column = np.array(["US"] * us + ["DE"] * de + [""] * missing, object)
        return profile_of({"country": column}, [Category("country", ["US", "DE"], optional=True)])

    found = of(country(50, 50, 0), country(20, 70, 10))
    expected = -0.3 * np.log(0.2 / 0.5) + 0.2 * np.log(0.7 / 0.5) + (0.1 - LEAST_SHARE) * np.log(0.1 / LEAST_SHARE)
    assert found.psi == pytest.approx(expected)
    assert found.wasserstein is None


def test_missing_is_a_bin():
    values = np.random.default_rng(0).normal(size=1000)
    found = of(number(values, 1000), number(values, 3000))
    assert found.psi == pytest.approx(0.25 * np.log(0.75 / 0.5) + 0.25 * np.log(0.5 / 0.25), abs=0.02)
    assert found.wasserstein == 0


@pytest.mark.parametrize("moved", [-1.0, 1.0])
def test_a_constant_that_moves_is_seen_in_either_direction(moved):
    assert of(number(np.full(500, 3.0)), number(np.full(500, 3.0 + moved))).psi > 1


def test_an_atom_that_spreads_is_seen():
    rng = np.random.default_rng(0)
    spread = of(number(np.append(np.zeros(500), rng.exponential(size=500))), number(rng.exponential(size=1000)))
    assert spread.psi > 1


def test_all_missing_on_one_side():
    nothing = {"observation.x": Profile(NUMBER, 100, 100)}
    there = number(np.arange(100.0))
    for one, other in [(nothing, there), (there, nothing)]:
        assert of(one, other).psi > 5
        assert of(one, other).wasserstein is None
    assert of(nothing, nothing).psi == 0


def test_only_what_both_have():
    a, b = (
        number(np.arange(9.0)),
        {"observation.x": Profile(BINARY, 1, 0, counts={"true": 1}), "reward": Profile(NUMBER, 1, 1)},
    )
    assert drift(a, b) == {}


def test_merged_windows_drift_as_their_rows_do():
    rng = np.random.default_rng(0)
    days = [rng.lognormal(day / 10, 1, 1000) for day in range(10)]
    merged = {"observation.x": merge(number(day)["observation.x"] for day in days)}
    later = number(rng.lognormal(1.5, 1, 5000))
    assert of(merged, later).psi == pytest.approx(of(number(np.concatenate(days)), later).psi, rel=0.1)
