"""Raw features become the vector that is documented."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlbake.errors import NotFoundError
from rlbake.features.identify import Transform, identify
from rlbake.features.preprocessing import FARTHEST, Preprocessing
from rlbake.features.profile import profile_of
from rlbake.specs import TRANSFORMS, Binary, Category, Number

OBSERVATION = (Category("country", ["US", "DE"]), Number("level"), Binary("payer"), Number("spend"))
MOMENTS = {"level": Transform("standard", 10.0, 2.0), "spend": Transform("standard")}
COLUMNS = {
    "country": np.array(["DE", "FR", "US"], object),
    "level": np.array([10.0, 12.0, 6.0]),
    "payer": np.array([True, False, True]),
    "spend": np.array([0.5, 0.0, -1.0]),
}


def test_numbers_then_binaries_then_categories():
    preprocessing = Preprocessing(OBSERVATION, MOMENTS)
    assert preprocessing.size == 5
    vectors = preprocessing.apply(COLUMNS)
    assert vectors.dtype == np.float32
    #                                       level spend payer US DE; a country that is not known is neither
    np.testing.assert_array_equal(vectors, [[0, 0.5, 1, 0, 1], [1, 0, 0, 0, 0], [-2, -1, 1, 1, 0]])


@pytest.mark.parametrize("feature", OBSERVATION)
def test_any_kind_of_feature_may_stand_alone(feature):
    preprocessing = Preprocessing([feature], MOMENTS)
    assert preprocessing.apply({feature.name: COLUMNS[feature.name]}).shape == (3, preprocessing.size)


def test_no_rows():
    nothing = {name: column[:0] for name, column in COLUMNS.items()}
    assert Preprocessing(OBSERVATION, MOMENTS).apply(nothing).shape == (0, 5)


def test_many_rows_are_all_there():
    level = np.arange(150_000, dtype=np.float64)
    vectors = Preprocessing([Number("level")], {"level": Transform("raw")}).apply({"level": level})
    np.testing.assert_array_equal(vectors[:, 0], level.astype(np.float32))


def test_numbers_are_standardised_in_float64():
    epoch = 1.7e9 + np.arange(1000.0)
    observation = (Number("level"),)
    vectors = Preprocessing(observation, identify(observation, profile_of({"level": epoch}, observation))).apply(
        {"level": epoch}
    )
    assert vectors.std() == pytest.approx(1, abs=1e-5)
    assert len(np.unique(vectors)) == 1000


def test_signature():
    signature = Preprocessing(OBSERVATION, MOMENTS).signature()
    assert list(signature) == ["country", "level", "payer", "spend"]
    assert [spec.dtype for spec in signature.values()] == [tf.string, tf.float64, tf.bool, tf.float64]


def test_a_missing_feature_is_named():
    with pytest.raises(NotFoundError, match="'spend' is missing"):
        Preprocessing(OBSERVATION, MOMENTS).apply({k: c for k, c in COLUMNS.items() if k != "spend"})


def test_what_is_missing_has_a_flag_and_no_value():
    observation = (
        Number("level", optional=True),
        Number("spend"),
        Binary("payer", optional=True),
        Category("country", ["US", "DE"], optional=True),
        Category("shop", ["A", "B"], unknown="other", optional=True),
    )
    preprocessing = Preprocessing(observation, MOMENTS)
    assert preprocessing.size == 1 + 1 + 1 + 2 + 3 + 4
    vectors = preprocessing.apply(
        {
            "level": np.array([12.0, np.nan, 10.0]),
            "spend": np.array([0.5, 0.5, 0.5]),
            "payer": np.array([1.0, np.nan, 0.0]),
            "country": np.array(["DE", "", "FR"], object),
            "shop": np.array(["B", "", "C"], object),
        }
    )
    values = vectors[:, :8]  # level spend payer, US DE, A B other
    np.testing.assert_array_equal(values[0], [1, 0.5, 1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(values[1], [0, 0.5, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(values[2], [0, 0.5, 0, 0, 0, 0, 0, 1])  # FR is unknown, C is another one
    np.testing.assert_array_equal(vectors[:, 8:], [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("other", ["standard", "raw"])
def test_a_number_that_must_not_be_is_named(wrong, other):
    preprocessing = Preprocessing((Number("level"), Number("spend")), {**MOMENTS, "level": Transform(other)})
    with pytest.raises(tf.errors.InvalidArgumentError, match="not finite: spend"):
        preprocessing.apply({"level": np.zeros(2), "spend": np.array([0.0, wrong])})


def test_an_infinite_number_is_not_a_missing_one():
    with pytest.raises(tf.errors.InvalidArgumentError, match="not finite: level"):
        Preprocessing((Number("level", optional=True),), MOMENTS).apply({"level": np.array([np.inf])})


SEEN = {
    "probability": np.linspace(0, 1, 300),
    "binary": np.arange(300) % 2,
    "category": np.arange(300) % 5 * 7,
    "box_cox": np.random.default_rng(0).lognormal(0, 2, 300),
    "clipped_log": np.random.default_rng(0).lognormal(5, 2, 300),
}


def of_transform(name: str) -> tuple[Preprocessing, np.ndarray]:
    """A number with this transform, and the values that it was identified from."""
    seen = np.asarray(SEEN.get(name, np.random.default_rng(0).standard_t(2, 300) * 50), np.float64)
    observation = (Number("x", transform=name),)
    return Preprocessing(observation, identify(observation, profile_of({"x": seen}, observation))), seen


@pytest.mark.parametrize("name", TRANSFORMS)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_whatever_is_finite_stays_finite_and_in_order(name, numbers):
    preprocessing, seen = of_transform(name)
    x = np.sort(np.concatenate([numbers, seen[:50]]))
    vectors = preprocessing.apply({"x": x})
    assert np.isfinite(vectors).all()
    if name not in ("binary", "category"):
        assert (np.diff(vectors[:, 0]) >= 0).all()
    if name != "raw":
        assert np.abs(vectors).max() <= FARTHEST


@pytest.mark.parametrize("name", ["standard", "box_cox", "yeo_johnson", "clipped_log"])
def test_transforms_of_what_was_seen_are_about_standardised(name):
    preprocessing, seen = of_transform(name)
    vectors = preprocessing.apply({"x": seen}).astype(float)
    assert (vectors.mean(), vectors.std()) == pytest.approx((0, 1), abs=0.1)


@pytest.mark.parametrize("name", ["box_cox", "yeo_johnson"])
def test_the_graph_has_the_powers_of_scipy(name):
    preprocessing, seen = of_transform(name)
    transform = preprocessing.identified["x"]
    powered = (stats.boxcox if name == "box_cox" else stats.yeojohnson)(seen, transform.power)
    expected = (powered - transform.mean) / transform.deviation
    np.testing.assert_allclose(preprocessing.apply({"x": seen})[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_ranks():
    preprocessing, seen = of_transform("quantile")
    np.testing.assert_allclose(preprocessing.apply({"x": np.sort(seen)})[:, 0], np.linspace(-1, 1, 300), atol=0.02)
    assert preprocessing.apply({"x": np.array([-1e300, np.median(seen), 1e300])})[:, 0] == pytest.approx(
        [-1, 0, 1], abs=0.01
    )


def test_whole_numbers_as_categories():
    preprocessing, _ = of_transform("category")  # 0, 7, 14, 21 and 28
    np.testing.assert_array_equal(
        preprocessing.apply({"x": np.array([7.0, 7.5, 35.0])}), [[0, 1, 0, 0, 0], [0] * 5, [0] * 5]
    )


def test_log_odds():
    preprocessing, _ = of_transform("probability")
    odds = preprocessing.apply({"x": np.array([0.0, 0.1, 0.5, 1.0])})[:, 0]
    np.testing.assert_allclose(odds, [-11.513, np.log(1 / 9), 0, 11.513], atol=1e-3)


def test_a_number_of_a_tiny_unit_is_standardised():
    tiny = np.random.default_rng(0).normal(size=500) * 1e-12
    observation = (Number("x"),)
    vectors = Preprocessing(observation, identify(observation, profile_of({"x": tiny}, observation))).apply({"x": tiny})
    assert vectors.std() == pytest.approx(1, abs=1e-3)
