"""Drift: a best before and after the change, and logs that say the opposite of each other."""

import numpy as np
import pytest

from rlbake.evaluation.simulated import simulate
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.scenarios import drift
from rlbake.scenarios.drift import CHANGE, Drift
from rlbake.scenarios.episodes import DECISIONS
from tests.scenarios.learning import learned_score

RANDOM = RandomPolicy(Drift.action)
LAST_BEFORE, FIRST_AFTER = (Drift.cadence.following(Drift.cadence.first, n) for n in (CHANGE - 1, CHANGE))
VALUES = ((drift.AGE_BAND, drift.AGE_BANDS), (drift.DEVICE, drift.DEVICES), (drift.PART_OF_DAY, drift.PARTS_OF_DAY))


def segment(columns):
    return tuple(np.array([known.index(value) for value in columns[name].tolist()]) for name, known in VALUES)


def favourite(changed):
    best = drift.click_chances(changed).argmax(axis=-1).astype(np.int32)
    return RulesPolicy(lambda observations: best[segment(observations)], Drift.action)


def played(window, policy, episodes=60_000):
    return simulate(Drift().world_at(window), policy, reward=Drift.reward, episodes=episodes, seed=5)


@pytest.mark.parametrize("changed", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("known", ["best", "random"])
def test_best_and_random_are_what_those_policies_earn(changed, known):
    policy = favourite(changed) if known == "best" else RANDOM
    earned = played(FIRST_AFTER if changed else LAST_BEFORE, policy)
    error = earned.returns.std() / np.sqrt(60_000)
    assert abs(earned.mean - getattr(earned, known)) < 4 * error
    assert error < 0.006


def test_what_was_best_is_worse_than_chance_after_the_change():
    assert played(LAST_BEFORE, favourite(False), 5_000).score > 0.95
    assert played(FIRST_AFTER, favourite(False), 5_000).score < 0
    assert played(LAST_BEFORE, favourite(True), 5_000).score < 0


def test_the_change_is_a_permutation_of_the_stories():
    before, after = drift.click_chances(False), drift.click_chances(True)
    assert sorted(drift.WANTED_INSTEAD) == list(range(len(drift.STORIES)))
    assert (after[..., drift.WANTED_INSTEAD] == before).all()
    assert (before.argmax(axis=-1) != after.argmax(axis=-1)).all()
    assert before.argmax(axis=-1).tolist() == np.broadcast_to(drift.FAVOURITE[:, None], (3, 2, 5)).tolist()


def test_the_world_is_what_it_is_at_a_window():
    first = Drift.cadence.first
    for number in (0, CHANGE - 1, CHANGE, CHANGE + 20):
        world = Drift().world_at(Drift.cadence.following(first, number))
        earned = simulate(world, favourite(number >= CHANGE), reward=Drift.reward, episodes=5_000, seed=0)
        assert earned.score > 0.95
    assert simulate(Drift().world(), favourite(False), reward=Drift.reward, episodes=5_000, seed=0).score > 0.95


@pytest.mark.parametrize(("window", "changed"), [(LAST_BEFORE, False), (FIRST_AFTER, True)], ids=["before", "after"])
def test_logs_are_of_their_time(window, changed):
    rows = Drift().play(window, RANDOM, 20_000, seed=0)[DECISIONS].to_pandas()
    chances = drift.click_chances(changed)
    story = np.array([drift.STORIES.index(name) for name in rows["action"]])
    cell = np.ravel_multi_index((*segment(rows), story), chances.shape)
    count = np.bincount(cell, minlength=chances.size)
    share = np.bincount(cell, weights=rows[drift.CLICK], minlength=chances.size) / count
    assert count.min() > 100
    assert (np.abs(share - chances.ravel()) < 4.5 * np.sqrt(0.25 / count)).all()


def test_readers_look_as_before():
    before, after = (Drift().play(w, RANDOM, 20_000, seed=0)[DECISIONS].to_pandas() for w in (LAST_BEFORE, FIRST_AFTER))
    for name, _ in VALUES:
        shares = [rows[name].value_counts(normalize=True).sort_index() for rows in (before, after)]
        assert np.abs(shares[0] - shares[1]).max() < 0.02


@pytest.mark.slow
def test_a_random_day_teaches_what_readers_want():
    assert learned_score(Drift(), steps=3_000) >= 0.95


@pytest.mark.slow
def test_old_rows_mislead_unless_they_weigh_less():
    """Four days from before the change and two from after it."""
    numbers = range(CHANGE - 4, CHANGE + 2)
    assert learned_score(Drift(), steps=3_000, windows=numbers) < 0.6
    assert learned_score(Drift(), steps=3_000, windows=numbers, recency_half_life="12h") >= 0.95
    assert learned_score(Drift(), steps=3_000, windows=numbers[-2:]) >= 0.95
