import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


# --- several sets as one choice ----------------------------------------------------------

SHOP = MultiDiscrete({"item": ["sword", "bow"], "discount": ["0%", "10%", "25%"]})
SETS = st.lists(st.integers(2, 7), min_size=1, max_size=4).map(
    lambda sizes: MultiDiscrete({f"s{i}": [f"{i}{a}" for a in range(size)] for i, size in enumerate(sizes)})
)


def test_the_first_set_varies_slowest():
    assert SHOP.sizes == (2, 3)
    assert SHOP.joint() == Discrete(["sword+0%", "sword+10%", "sword+25%", "bow+0%", "bow+10%", "bow+25%"])
    assert SHOP.flat(np.array([[0, 1], [1, 0], [1, 2]])).tolist() == [1, 3, 5]
    assert SHOP.split(np.array([1, 3, 5])).tolist() == [[0, 1], [1, 0], [1, 2]]


@given(SETS)
def test_flat_and_split_undo_each_other(action):
    numbers = np.arange(len(action.joint()))
    choices = action.split(numbers)
    assert choices.dtype == np.int32
    assert choices.shape == (len(numbers), len(action.sets))
    assert len({tuple(choice) for choice in choices.tolist()}) == len(numbers)
    back = action.flat(choices)
    assert back.dtype == np.int32
    assert (back == numbers).all()


@given(SETS, st.data())
def test_a_combination_is_named_after_its_choices(action, data):
    choice = [data.draw(st.integers(0, size - 1)) for size in action.sizes]
    number = action.flat(np.array([choice]))[0]
    assert action.joint().names[number] == "+".join(names[i] for i, (_, names) in zip(choice, action.sets, strict=True))
    assert action.split(np.array([number])).tolist() == [choice]


def test_nothing_is_as_good_as_something():
    assert SHOP.flat(np.empty((0, 2), int)).shape == (0,)
    assert SHOP.split(np.empty(0, int)).shape == (0, 2)


WIDE = MultiDiscrete({"a": map(str, range(64)), "b": map(str, range(65))})


@pytest.mark.parametrize(
    ("convert", "says"),
    [
        (WIDE.joint, r"64 x 65 choices make 4,160 combinations, and at most 4,096.*Leave out choices"),
        (lambda: WIDE.flat(np.zeros((1, 2), int)), "4,160 combinations"),
        (lambda: WIDE.split(np.zeros(1, int)), "4,160 combinations"),
        (MultiDiscrete({"a": ["x", "x+y"], "b": ["y+z", "z"]}).joint, r"two combinations are called 'x\+y\+z'"),
        (lambda: SHOP.flat(np.zeros((3, 3), int)), r"int64 \[3, 3\]. Give integers of shape \[B, 2\]"),
        (lambda: SHOP.flat(np.zeros(2, int)), r"shape \[B, 2\]"),
        (lambda: SHOP.flat(np.zeros((3, 2))), r"float64 \[3, 2\]"),
        (lambda: SHOP.flat(np.array([[0, 0], [2, 0], [0, -1]])), r"2 of 3 rows .* row 1: \[2, 0\].*\(2, 3\) choices"),
        (lambda: SHOP.split(np.array([0, 6])), "1 of 2 numbers are unknown, for example row 1: 6. There are 6"),
        (lambda: SHOP.split(np.array([-1])), "row 0: -1"),
        (lambda: SHOP.split(np.array([0.0])), r"float64 \[1\]"),
    ],
)
def test_choices_that_are_not_there_are_refused(convert, says):
    with pytest.raises(SpecError, match=says):
        convert()


def test_the_largest_product_space_still_converts():
    action = MultiDiscrete({"a": map(str, range(64)), "b": map(str, range(64))})
    assert len(action.joint()) == 4096
    assert action.split(np.array([4095])).tolist() == [[63, 63]]


def test_the_order_of_sets_counts_also_where_json_sorts_its_keys():
    one, other = MultiDiscrete({"a": ["x", "y"], "b": ["z", "w"]}), MultiDiscrete({"b": ["z", "w"], "a": ["x", "y"]})
    written = [json.dumps(to_json(spec), sort_keys=True) for spec in (one, other)]
    assert written[0] != written[1]
    assert [from_json(json.loads(text)) for text in written] == [one, other]


def test_one_choice_is_its_own_joint_choice():
    hours, indices = Discrete(["morning", "night"]), np.array([1, 0, 1], np.int32)
    assert hours.joint() is hours
    np.testing.assert_array_equal(hours.flat(hours.split(indices)), indices)
