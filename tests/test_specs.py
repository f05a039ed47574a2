import math

import pytest

from rlbake import Binary, Category, Continuous, Discrete, MultiDiscrete, Number
from rlbake.errors import SpecError
from rlbake.specs import from_json, to_json


@pytest.mark.parametrize(
    "spec",
    [
        Number("age"),
        Number("share", low=0, high=1),
        Number("spend", optional=True, transform="clipped_log"),
        Binary("is_payer"),
        Binary("opted_in", optional=True),
        Category("country", ["US", "DE"]),
        Category("device", ["ios", "android"], unknown="other", optional=True),
        Discrete(["left", "right"]),
        Continuous([0.0, -1.0], [9.99, 1.0], ["price", "bonus"]),
        MultiDiscrete({"banner": ["a", "b"], "offer": ["x", "y", "z"]}),
    ],
)
def test_a_spec_survives_json(spec):
    assert from_json(to_json(spec)) == spec


def test_an_action_is_found_by_name_or_index():
    hours = Discrete(["08:00", "20:00"])
    assert hours.index("20:00") == 1
    assert hours.index(0) == 0
    assert len(hours) == 2


@pytest.mark.parametrize(("action", "says"), [("20.00", "Did you mean '20:00'"), (2, "2 actions"), (-1, "index -1")])
def test_an_unknown_action_is_told_apart(action, says):
    with pytest.raises(SpecError, match=says):
        Discrete(["08:00", "20:00"]).index(action)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Number("not a name"), "not an identifier"),
        (lambda: Number("x", low=1, high=1), "not below"),
        (lambda: Number("x", low=math.nan), "not below"),
        (lambda: Number("x", transform="quantil"), "Did you mean 'quantile'"),
        (lambda: Category("country", []), "at least 1"),
        (lambda: Category("country", ["US"], unknown="drop"), "Known: other, reject"),
        (lambda: Category("country", ["US", "US"]), "'US' is named twice"),
        (lambda: Discrete(["only"]), "at least 2"),
        (lambda: Discrete(["a", ""]), "non-empty"),
        (lambda: Continuous([0.0], [0.0], ["price"]), "'price'.*not a finite interval"),
        (lambda: Continuous([0.0], [1.0, 2.0], ["price"]), "differ in length"),
        (lambda: MultiDiscrete({}), "at least one set"),
        (lambda: from_json({"kind": "Numbr", "name": "x"}), "Did you mean 'Number'"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(build, says):
    with pytest.raises(SpecError, match=says):
        build()


def test_unknown_categories_may_count_as_other():
    assert Category("device", ["ios", "other", "android"], unknown="other").values == ("ios", "android", "other")
    assert Category("device", ["ios", "android"]).values == ("ios", "android")
