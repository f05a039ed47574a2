from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlbake import Cadence
from rlbake.errors import ConfigError, SpecError

DAILY = Cadence(start="2026-01-01", training_window=3, reward_delay="1d")
HOURLY = Cadence(start="2026-01-01T06", every="1h")


def test_windows_are_named_by_their_utc_start():
    assert DAILY.window("2026-01-31").ds == "2026-01-31"
    assert DAILY.window("2026-01-31T23:59:59").ds == "2026-01-31"
    assert DAILY.window("2026-01-31T23:00:00-02:00").ds == "2026-02-01"
    assert HOURLY.window("2026-01-01T07:30").ds == "2026-01-01T07"


@given(st.integers(0, 5000), st.sampled_from([DAILY, HOURLY]))
def test_the_ds_of_a_window_leads_back_to_it(hours, cadence):
    window = cadence.window(cadence.start + timedelta(hours=hours))
    assert cadence.window(window.ds) == window
    assert cadence.previous(cadence.following(window)) == window
    assert window.end - window.start == cadence.every


def test_training_windows_end_with_the_window_and_stop_at_the_start_of_time():
    assert [w.ds for w in DAILY.training_windows(DAILY.window("2026-01-10"))] == [
        "2026-01-08",
        "2026-01-09",
        "2026-01-10",
    ]
    assert [w.ds for w in DAILY.training_windows(DAILY.window("2026-01-02"))] == ["2026-01-01", "2026-01-02"]
    assert DAILY.previous(DAILY.window("2026-01-01")) is None


def test_a_window_is_complete_when_its_rewards_are_in():
    noon = datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert DAILY.latest_complete(noon).ds == "2026-01-03"
    with pytest.raises(ConfigError, match="no window is complete"):
        DAILY.latest_complete(datetime(2026, 1, 2, 23, tzinfo=UTC))


@pytest.mark.parametrize("date", ["yesterday", "2026-13-01", "2025-12-31", ""])
def test_an_unknown_date_is_refused(date):
    with pytest.raises(ConfigError, match="date"):
        DAILY.window(date)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"every": "90min"}, "whole hours"),
        ({"every": "-1d"}, "not positive"),
        ({"every": "daily"}, "not a duration"),
        ({"training_window": 0}, "below 1"),
    ],
)
def test_a_cadence_that_contradicts_itself_is_refused(arguments, says):
    with pytest.raises(SpecError, match=says):
        Cadence(start="2026-01-01", **arguments)
