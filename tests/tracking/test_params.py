"""Flat parameters: whatever goes in, MLflow accepts what comes out, and types can be read back."""

from __future__ import annotations

import json
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_param

from rlbake.tracking.params import flatten, plain, shortened

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
KEYS = st.text(min_size=1, max_size=6) | st.text("ab/. :!é", min_size=1, max_size=6)
CONFIGS = st.dictionaries(
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=8,
    ),
    max_size=6,
)

BUSY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@BUSY_MACHINE
@given(CONFIGS)
def test_mlflow_accepts_every_parameter(config: dict) -> None:
    for key, text in flatten(config).items():
        _validate_param(key, text)


@BUSY_MACHINE
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), SCALARS, max_size=6))
def test_values_keep_their_type(config: dict) -> None:
    flat = flatten(config)
    assert flat.keys() == {f"cfg.{key}" for key in config}
    for key, value in config.items():
        text = flat[f"cfg.{key}"]
        assert text == value if isinstance(value, str) else json.loads(text) == value


@BUSY_MACHINE
@given(CONFIGS)
def test_plain_data_stays_as_it_is(config: dict) -> None:
    assert plain(config) == config
    assert json.loads(json.dumps(plain(config))) == config


def test_durations_are_seconds_and_sets_are_ordered() -> None:
    assert plain({"every": timedelta(hours=1), "names": {"b", "a"}, "pair": (1, 2)}) == {
        "every": 3600.0,
        "names": ["a", "b"],
        "pair": [1, 2],
    }


def test_a_long_text_is_cut_to_the_limit_and_says_so() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
