"""Raw features become the vector that is documented."""

import numpy as np
import pytest
import tensorflow as tf

from rlbake.errors import NotFoundError
from rlbake.features.preprocessing import Preprocessing
from rlbake.features.statistics import Moments, statistics
from rlbake.specs import Binary, Category, Number

OBSERVATION = (Category("country", ["US", "DE"]), Number("level"), Binary("payer"), Number("spend"))
MOMENTS = {"level": Moments(10.0, 4.0), "spend": Moments(0.0, 1.0)}
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
    vectors = Preprocessing([Number("level")], {"level": Moments(0.0, 1.0)}).apply({"level": level})
    np.testing.assert_array_equal(vectors[:, 0], level.astype(np.float32))


def test_numbers_are_standardised_in_float64():
    epoch = 1.7e9 + np.arange(1000.0)
    observation = (Number("level"),)
    vectors = Preprocessing(observation, statistics({"level": epoch}, observation)).apply({"level": epoch})
    assert vectors.std() == pytest.approx(1, abs=1e-5)
    assert len(np.unique(vectors)) == 1000


def test_signature():
    signature = Preprocessing(OBSERVATION, MOMENTS).signature()
    assert list(signature) == ["country", "level", "payer", "spend"]
    assert [spec.dtype for spec in signature.values()] == [tf.string, tf.float64, tf.bool, tf.float64]


def test_a_missing_feature_is_named():
    with pytest.raises(NotFoundError, match="'spend' is missing"):
        Preprocessing(OBSERVATION, MOMENTS).apply({k: c for k, c in COLUMNS.items() if k != "spend"})
