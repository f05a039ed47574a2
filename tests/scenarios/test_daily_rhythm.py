"""The population of message timing: chances by hand, and sums that simulation confirms."""

import numpy as np
import pytest

from rlbake.scenarios import daily_rhythm as rhythm
from rlbake.scenarios.counter_noise import CounterNoise
from rlbake.scenarios.message_timing import MessageTiming

REWARD = MessageTiming.reward
COUNT = 200_000


def test_chances_fall_with_the_distance_on_the_clock():
    hour = np.array(23)
    weekday = rhythm.probabilities(hour, np.array([23, 2, 20, 11]), weekend=False)
    near = np.exp(-0.5)  # three hours away, on either side of midnight
    assert weekday["click"].tolist() == pytest.approx([0.80, 0.02 + 0.78 * near, 0.02 + 0.78 * near, 0.02], abs=3e-4)
    assert weekday["unsubscribe"].tolist() == pytest.approx(
        [0.002, 0.02 - 0.018 * near, 0.02 - 0.018 * near, 0.02], abs=1e-5
    )


def test_weekends_are_two_hours_later():
    hours = np.arange(24)
    weekday = rhythm.probabilities(np.array(9), hours, weekend=False)["click"]
    weekend = rhythm.probabilities(np.array(9), hours, weekend=True)["click"]
    assert weekday.argmax() == 9
    assert weekend.argmax() == 11
    assert weekend.tolist() == np.roll(weekday, 2).tolist()


def test_shares_add_up():
    for shares in (rhythm.COUNTRY_SHARE, rhythm.AGE_SHARE, rhythm.PLATFORM_SHARE):
        assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(rhythm.LOCAL_HOURS.sum(axis=-1), 1)
    np.testing.assert_allclose(rhythm.READINGS.sum(axis=-1), 1)


@pytest.mark.parametrize("weekend", [False, True])
def test_values_are_what_a_large_population_earns(weekend):
    """P(o) E[reward; o, a] for every action and each feature's values, against 200,000 players."""
    noise, rows = CounterNoise("test", 0), np.arange(COUNT)
    players = rhythm.draw_players(noise, rows)
    seen = rhythm.observe(players, noise.uniform("reading", rows), weekend, rows)
    chances = rhythm.probabilities(players.hour[:, None], np.arange(24), weekend)
    earned = sum(weight * chances[metric] for metric, weight in REWARD.items())
    exact = rhythm.values(REWARD, weekend)
    features = (players.country, players.age_band, players.platform, np.searchsorted(rhythm.CLOCK, seen["usual_hour"]))
    for axis, feature in enumerate(features):
        expected = exact.sum(axis=tuple(other for other in range(4) if other != axis))
        for value in range(exact.shape[axis]):
            shares = earned * (feature == value)[:, None]
            error = shares.std(axis=0) / np.sqrt(COUNT)
            assert (np.abs(shares.mean(axis=0) - expected[value]) < 5 * error).all()


def test_every_rule_of_thumb_leaves_something_on_the_table():
    """Returns of a week: chance < best hour < today's rule < by country < without the reading < all."""
    weekday, weekend = (rhythm.values(REWARD, weekend) for weekend in (False, True))
    week = 5 * weekday + 2 * weekend
    by_country = week.sum(axis=(1, 2, 3))
    today = sum(by_country[i, (18 - offset) % 24] for i, offset in enumerate(rhythm.UTC_OFFSET.values()))
    world = MessageTiming().world()

    def score(value):
        return (value - world.random_return) / (world.best_return - world.random_return)

    scores = [
        score(week.sum(axis=(0, 1, 2, 3)).mean()),
        score(week.sum(axis=(0, 1, 2, 3)).max()),
        score(today),
        score(by_country.max(axis=-1).sum()),
        score(5 * weekday.sum(axis=3).max(axis=-1).sum() + 2 * weekend.sum(axis=3).max(axis=-1).sum()),
        score(np.einsum("capuu->", week)),
        score(week.max(axis=-1).sum()),
    ]
    assert scores == pytest.approx([0, 0.051, 0.261, 0.360, 0.560, 0.853, 0.946], abs=0.001)


def test_what_is_seen_reveals_only_part():
    noise, rows = CounterNoise("test", 1), np.arange(COUNT)
    players = rhythm.draw_players(noise, rows)
    usual = np.searchsorted(
        rhythm.CLOCK, rhythm.observe(players, noise.uniform("reading", rows), False, rows)[rhythm.USUAL_HOUR]
    )
    error = (usual - players.hour + 12) % 24 - 12
    assert np.mean(error == 0) == pytest.approx(0.8 / (1 + 2 * (0.7 + 0.49 + 0.343)) + 0.2 / 24, abs=0.01)
    assert np.mean(np.abs(error) <= 3) == pytest.approx(0.8 + 0.2 * 7 / 24, abs=0.01)
