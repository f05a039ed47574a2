"""Who is compared, and the held-out rows as each of them sees them."""

from __future__ import annotations

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.dataset.transitions import Transitions
from rlbake.errors import DataError
from rlbake.evaluation.candidates import (
    MAX_UNITS,
    Candidate,
    bandit,
    behavior_clone,
    best_fixed_action,
    rows_of,
    ruled,
    saved,
)
from rlbake.evaluation.q_model import fit_q
from rlbake.policies.export import export_policy
from rlbake.specs import Category, Discrete, MultiDiscrete
from rlbake.training.config import resolve
from rlbake.training.fit import fit

PLACES = np.array(["here", "there"], object)
OBSERVATION, ACTION = (Category("place", ["here", "there"]),), Discrete(["stay", "go", "wave"])
CONFIG = {"steps": 400, "batch_size": 32, "agent": {"layers": [16], "learning_rate": 0.01, "target_update_period": 20}}


def rows(**columns) -> Transitions:
    """Of one environment, one step after the other, staying here at probability 1/2; terminated at the end."""
    count = len(next(iter(columns.values())))
    instants = np.arange(count).astype("datetime64[us]")
    terminated = np.arange(count) == count - 1
    known = {
        "env_id": np.full(count, "p", object),
        "timestamp": instants,
        "next_timestamp": np.where(terminated, np.datetime64("NaT", "us"), instants + 1),
        "step_type": np.full(count, v.MID, np.int32),
        "end": np.where(terminated, v.TERMINATED, v.NOT_ENDED).astype(object),
        "observation": {"place": np.full(count, "here", object)},
        "action": np.zeros(count, np.int32),
        "log_probability": np.full(count, np.log(0.5), np.float32),
        "reward": np.zeros(count),
        "discount": np.where(terminated, 0.0, 0.5),
        "next_observation": {"place": np.where(terminated, "", "there").astype(object)},
        "next_action_mask": None,
        "episode": np.zeros(count, "datetime64[us]"),
    }
    return Transitions(**{**known, **columns})


def always(*chances: float) -> Candidate:
    return Candidate("always", lambda observations, mask: np.tile(chances, (len(observations["place"]), 1)))


def decided(candidate: Candidate, places, mask=None) -> np.ndarray:
    return candidate.probabilities({"place": np.array(places, object)}, mask)


class Known:
    """Values that are known: 10 here and 20 there, and 1 more for each later action."""

    def values(self, observations, fold=None):
        return np.where(observations["place"] == "here", 10.0, 20.0)[:, None] + np.arange(3.0)


def test_rows_by_hand():
    logged = rows(action=np.array([0, 1, 2], np.int32), reward=np.array([1.0, 2.0, 3.0]))
    seen = rows_of(logged, always(0.5, 0.25, 0.25), propensity=np.array([0.5, 0.5, 0.25]), model=Known())
    np.testing.assert_array_equal(seen.weight, [1, 0.5, 1])
    np.testing.assert_array_equal(seen.q, [10, 11, 12])
    np.testing.assert_array_equal(seen.v, 10 + 0.25 + 0.5)
    np.testing.assert_array_equal(seen.reward, [1, 2, 3])
    np.testing.assert_array_equal(seen.tail, 0)
    np.testing.assert_array_equal(seen.step, [0, 1, 2])
    assert (seen.units, seen.episode.tolist(), seen.unit.tolist()) == (1, [0, 0, 0], [0, 0, 0])
    assert {getattr(seen, name).dtype for name in ("reward", "weight", "q", "v", "tail")} == {np.dtype("float64")}


def test_whoever_decided_weighs_everything_alike():
    seen = rows_of(rows(reward=np.array([1.0, 2.0])), None, propensity=np.array([0.5, 0.1]))
    np.testing.assert_array_equal(seen.weight, 1)
    np.testing.assert_array_equal([seen.q, seen.v, seen.tail], 0)
    np.testing.assert_array_equal(seen.reward, [1, 2])


def test_without_a_model_there_are_weights_alone():
    seen = rows_of(rows(reward=np.ones(2)), always(1, 0, 0), propensity=np.full(2, 0.5))
    np.testing.assert_array_equal(seen.weight, 2)
    np.testing.assert_array_equal([seen.q, seen.v, seen.tail], 0)


def test_an_episode_counts_as_far_as_it_was_logged_and_a_gap_ends_it():
    """Two environments. The first: a step, its truncated successor; a second episode that stays open.
    The other's second row is not the first one's successor, and then it is terminated."""
    instants = np.array([0, 1, 5, 0, 3], "datetime64[us]")
    logged = rows(
        env_id=np.array(["a", "a", "a", "b", "b"], object),
        timestamp=instants,
        next_timestamp=np.array([1, 2, 6, 1, "NaT"], "datetime64[us]"),
        episode=np.array([0, 0, 5, 0, 0], "datetime64[us]"),
        end=np.array([v.NOT_ENDED, v.TRUNCATED, v.NOT_ENDED, v.NOT_ENDED, v.TERMINATED], object),
        discount=np.array([0.5, 0.5, 0.5, 0.5, 0]),
        next_observation={"place": np.array(["here", "there", "there", "here", ""], object)},
    )
    seen = rows_of(logged, always(0, 0, 1), propensity=np.full(5, 0.5), model=Known())
    assert seen.unit.tolist() == [0, 0, 0, 1, 1]
    assert seen.episode.tolist() == [0, 0, 1, 2, 3]
    assert seen.step.tolist() == [0, 1, 0, 0, 0]
    assert seen.tail.tolist() == [0] * 5


def test_many_environments_are_grouped():
    count = 3 * MAX_UNITS
    names = np.sort(np.array([f"p{i}" for i in range(count)], object)).repeat(2)
    logged = rows(env_id=names, end=np.full(2 * count, v.TERMINATED, object))
    seen = rows_of(logged, None, propensity=np.ones(2 * count))
    assert seen.units == MAX_UNITS
    assert (seen.unit[::2] == seen.unit[1::2]).all()
    taken = np.bincount(seen.unit, minlength=MAX_UNITS)
    assert taken.max() < 2 * 20
    part = rows_of(logged.take(np.arange(0, 2 * count, 2)), None, propensity=np.ones(count))
    np.testing.assert_array_equal(part.unit, seen.unit[::2])  # a name's group does not depend on who else there is


def test_probability_beyond_the_mask_is_refused():
    mask = np.array([[True, True, True], [False, True, True], [True, True, False]])
    logged = rows(action_mask=mask, reward=np.ones(3))
    with pytest.raises(DataError, match="always gives probability to actions that are not allowed in 1 of 3 rows"):
        rows_of(logged, always(0.5, 0.5, 0), propensity=np.full(3, 0.5))
    with pytest.raises(DataError, match="the probabilities of always do not sum to 1 in 3 of 3 rows"):
        rows_of(logged, always(0.5, 0.1, 0.1), propensity=np.full(3, 0.5))


def test_rules_do_one_thing():
    candidate = ruled(lambda observations: (observations["place"] == "there").astype(int), ACTION)
    np.testing.assert_array_equal(decided(candidate, ["here", "there"]), [[1, 0, 0], [0, 1, 0]])


def test_rules_about_several_choices_do_one_combination():
    shop = MultiDiscrete({"item": ["sword", "shield"], "discount": ["none", "half"]})

    def rules(observations):
        there = (observations["place"] == "there").astype(int)
        return np.stack([there, 1 - there], axis=1)

    np.testing.assert_array_equal(decided(ruled(rules, shop), ["here", "there"]), [[0, 1, 0, 0], [0, 0, 1, 0]])
    assert shop.joint().names[1:3] == ("sword+half", "shield+none")


def test_the_best_fixed_action_by_hand():
    """Staying earns (0 x 2 + 4 x 4) / (2 + 4) = 2.67, going (3 x 4 + 0 x 1) / 5 = 2.4; waving was never tried."""
    training = rows(action=np.array([0, 0, 1, 1], np.int32), reward=np.array([0.0, 4, 3, 0]))
    candidate, name = best_fixed_action(training, np.array([1 / 2, 1 / 4, 1 / 4, 1]), ACTION)
    assert name == "stay"
    np.testing.assert_array_equal(decided(candidate, ["here", "there"]), [[1, 0, 0]] * 2)
    mask = np.array([[True, True, True], [False, True, True], [False, False, True]])
    np.testing.assert_array_equal(decided(candidate, ["here"] * 3, mask), np.eye(3))


def test_of_fixed_actions_that_earn_the_same_the_surest_counts():
    training = rows(action=np.array([0, 0, 1, 1], np.int32), reward=np.array([1.0, 3, 2, 2]))
    assert best_fixed_action(training, np.full(4, 0.5), ACTION)[1] == "go"
    equal = rows(action=np.array([0, 1, 1, 1], np.int32), reward=np.ones(4))
    assert best_fixed_action(equal, np.full(4, 0.5), ACTION)[1] == "go"


@pytest.fixture(scope="module")
def played() -> Transitions:
    """Whoever is here stays twice in three times and never waves; there everybody goes. Going from here leads
    there, where going earns 1; staying here earns 0.2 at once."""
    count = 1200
    place, number = np.arange(count) % 2, np.arange(count)
    random = np.random.default_rng(0)
    action = np.where(place == 1, 1, random.choice([0, 0, 1], count)).astype(np.int32)
    ended = place == 1
    return rows(
        env_id=np.array([f"p{i // 4}" for i in range(count)], object),
        timestamp=number.astype("datetime64[us]"),
        observation={"place": PLACES[place]},
        action=action,
        reward=np.where(ended, 1.0, 0.2 * (action == 0)),
        discount=np.where(ended, 0.0, 0.9),
        end=np.where(ended, v.TERMINATED, v.NOT_ENDED).astype(object),
        next_observation={"place": np.where(ended, "", PLACES[np.where(action == 1, 1, 0)]).astype(object)},
    )


def test_a_clone_does_what_was_done(played):
    clone = behavior_clone(played, observation=OBSERVATION, action=ACTION, seed=0)
    np.testing.assert_allclose(decided(clone, ["here", "there"]), [[2 / 3, 1 / 3, 0], [0, 1, 0]], atol=0.06)


def test_a_bandit_looks_no_step_ahead(played):
    """Whoever looks ahead goes; the bandit takes the 0.2 that staying earns at once."""
    config = resolve(CONFIG, gamma=0.9)
    nearsighted = bandit(played, config, observation=OBSERVATION, action=ACTION, seed=0)
    assert nearsighted is not None
    chances = decided(nearsighted, ["here"])
    np.testing.assert_allclose(chances, [[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]])
    forbidden = decided(nearsighted, ["here"], np.array([[False, True, False]]))
    np.testing.assert_allclose(forbidden, [[0, 1, 0]])
    assert bandit(played, resolve(CONFIG, gamma=0), observation=OBSERVATION, action=ACTION, seed=0) is None


@pytest.mark.parametrize("agent", ["behavioral_cloning", "ppo"])
def test_who_never_looks_ahead_or_learns_from_itself_alone_has_no_bandit(played, agent):
    config = resolve({"agent": {"name": agent}}, gamma=0.9)
    assert bandit(played, config, observation=OBSERVATION, action=ACTION, seed=0) is None


def test_a_saved_policy_explores_as_it_is_deployed(played, tmp_path):
    config = resolve(CONFIG, gamma=0.9)
    fitted = fit(played, played.take(np.arange(0)), observation=OBSERVATION, action=ACTION, config=config, seed=0)
    export_policy(fitted, tmp_path)
    greedy = saved("agent", tmp_path)
    np.testing.assert_allclose(decided(greedy, ["there"]).max(axis=1), 0.9 + 0.1 / 3, rtol=1e-6)
    soft = decided(saved("agent", tmp_path, temperature=1.0), ["there"])
    assert soft.max() < 0.9


def test_rows_of_a_model_that_was_fitted(played):
    """Never waved, so that is left out: q̂ of the logged actions are about what they earn in the end."""
    going = always(0, 1, 0)
    fold = np.arange(len(played)) // 4 % 2
    model = fit_q(
        played, going.probabilities, observation=OBSERVATION, action=ACTION, folds=2, fold_of=fold, seed=0, steps=1000
    )
    seen = rows_of(played, going, propensity=np.exp(played.log_probability.astype(float)), model=model, fold=fold)
    here, stayed = played.observation["place"] == "here", played.action == 0
    np.testing.assert_allclose(seen.q[~here].mean(), 1, atol=0.1)
    np.testing.assert_allclose(seen.q[here & ~stayed].mean(), 0.9, atol=0.1)
    np.testing.assert_allclose(seen.q[here & stayed].mean(), 0.2 + 0.9 * 0.9, atol=0.15)
