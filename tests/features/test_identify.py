"""Which distribution gets which transform, and that a feature's own word counts more."""

import json

import numpy as np
import pytest
from scipy import stats

from rlbake.errors import DataError
from rlbake.features.identify import Transform, from_json, identify, powers, to_json
from rlbake.features.profile import merge_all, profile_of
from rlbake.scenarios.cartpole import CartPole
from rlbake.specs import TRANSFORMS, Binary, Number
from tests.agents.test_cartpole import random_pushes

ROWS = 5000


def rng():
    return np.random.default_rng(0)


X = Number("x")


def identified(values, feature=X):
    observation = [feature]
    return identify(observation, profile_of({feature.name: np.asarray(values, float)}, observation))[feature.name]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (rng().normal(size=ROWS), "standard"),
        (rng().uniform(size=ROWS), "standard"),
        (rng().laplace(size=ROWS), "standard"),
        (rng().exponential(size=ROWS) ** 0.8, "standard"),
        (rng().integers(0, 2, ROWS), "binary"),
        (rng().choice([3, 17, 42], ROWS), "category"),
        (rng().integers(1, 6, ROWS), "standard"),  # a rating: an order without gaps
        (np.append(rng().choice([3, 17], ROWS), 42), "standard"),  # 42 was seen once: nothing to learn about it
        (rng().lognormal(0, 1, ROWS), "box_cox"),
        (rng().lognormal(0, 1, ROWS) - 0.5, "yeo_johnson"),
        (-rng().lognormal(0, 1, ROWS), "yeo_johnson"),
        (np.append(0, rng().lognormal(4, 1, ROWS)), "clipped_log"),
        (rng().standard_cauchy(ROWS), "quantile"),
        (np.where(rng().random(ROWS) < 0.9, 0, rng().normal(50, 1, ROWS)), "quantile"),
        (np.full(ROWS, 7), "standard"),
        (rng().lognormal(0, 3, 50), "standard"),  # too few to tell
    ],
)
def test_what_the_data_suggest(values, name):
    assert identified(values).name == name


def test_a_probability_is_declared():
    chances = rng().beta(0.5, 20, ROWS)
    assert identified(chances, Number("x", 0, 1)).name == "probability"
    assert identified(chances).name == "box_cox"
    assert identified(rng().beta(2, 2, ROWS), Number("x", 0, 1)).name == "standard"


def test_cartpole_is_standard():
    pushes = random_pushes(300, 0)
    named = identify(CartPole.observation, profile_of(pushes.observation, CartPole.observation))
    assert {transform.name for transform in named.values()} == {"standard"}
    assert named["velocity"].deviation == pytest.approx(pushes.observation["velocity"].std(), rel=1e-5)


def test_powers_are_the_most_likely_ones():
    values = rng().lognormal(1, 1.2, ROWS)
    box_cox = identified(values, Number("x", transform="box_cox"))
    assert box_cox.power == pytest.approx(stats.boxcox(values)[1], abs=0.05)
    yeo_johnson = identified(-values, Number("x", transform="yeo_johnson"))
    assert yeo_johnson.power == pytest.approx(stats.yeojohnson(-values)[1], abs=0.05)
    standardised = (stats.boxcox(values, box_cox.power) - box_cox.mean) / box_cox.deviation
    assert (standardised.mean(), standardised.std()) == pytest.approx((0, 1), abs=0.02)


@pytest.mark.parametrize("power", [-1.5, 0.0, 0.4, 1.0, 2.0, 3.0])
def test_powers_against_scipy(power):
    x = np.array([-3.0, -0.5, 0.0, 0.25, 9.0])
    np.testing.assert_allclose(powers("yeo_johnson", x, power), stats.yeojohnson(x, power))
    np.testing.assert_allclose(powers("box_cox", x[3:], power), stats.boxcox(x[3:], power))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_feature_may_say(name):
    values = rng().integers(1, 7, ROWS) / (6 if name == "probability" else 1)
    assert identified(values, Number("x", transform=name)).name == name


@pytest.mark.parametrize(
    ("name", "values"),
    [("box_cox", [0, 1, 2]), ("clipped_log", [-1, 1]), ("probability", [0.5, 1.5]), ("category", [1, 2.5]),
     ("category", [1, 256])],
)  # fmt: skip
def test_what_it_says_must_be_possible(name, values):
    with pytest.raises(DataError, match=f"'x': transform '{name}' needs"):
        identified(values, Number("x", transform=name))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("values", [[3.0], [3.0] * ROWS, [0.25] * ROWS])
def test_a_constant_is_no_obstacle(name, values):
    if (name == "category" and values[0] != 3) or (name == "probability" and values[0] > 1):
        return
    assert np.isfinite(identified(values, Number("x", transform=name)).deviation)


def test_a_number_that_was_never_seen_is_standard():
    assert identified([np.nan] * 9, Number("x", optional=True, transform="box_cox")) == Transform("standard")


def test_merged_windows_are_identified_alike():
    values, observation = rng().lognormal(0, 1, 30 * 400), [Number("x")]
    merged = merge_all([profile_of({"x": part}, observation) for part in np.split(values, 30)])
    once, whole = identify(observation, merged)["x"], identified(values)
    assert once.name == whole.name == "box_cox"
    assert once.power == pytest.approx(whole.power, abs=0.05)


def test_only_numbers_are_transformed():
    observation = [Binary("payer"), Number("x")]
    profiles = profile_of({"payer": np.ones(3, bool), "x": np.arange(3.0)}, observation)
    assert list(identify(observation, profiles)) == ["x"]


def test_json():
    some = {
        "a": Transform("standard", 1.5, 2.0),
        "b": Transform("quantile", values=(0.0, 1.0), ranks=(-1.0, 1.0)),
        "c": Transform("box_cox", 1.0, 2.0, 0.5, 9.0, 0.25),
    }
    assert from_json(json.loads(json.dumps(to_json(some)))) == some
