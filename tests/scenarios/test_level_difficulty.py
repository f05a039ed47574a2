"""Level difficulty: a best that is reached, and that only looking ahead finds."""

import numpy as np
import pytest

from rlbake.evaluation.simulated import simulate
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.scenarios import level_difficulty as levels
from rlbake.scenarios.dynamic_programming import best_policy, expected_return
from rlbake.scenarios.level_difficulty import LevelDifficulty
from tests.scenarios.learning import learned_score

RANDOM = RandomPolicy(LevelDifficulty.action)
PROCESS = levels.decision_process()


def state(observations):
    """Where in the tables an observation is."""
    skill = np.array([levels.SKILLS.index(name) for name in observations[levels.SKILL].tolist()])
    row = (observations[levels.WINS] - observations[levels.LOSSES]).astype(int)
    return skill * (2 * levels.LONGEST_ROW + 1) + row + levels.LONGEST_ROW


def planned(gamma):
    """The policy of dynamic programming, looked up by what is seen."""
    policy = best_policy(PROCESS, gamma).argmax(axis=-1).astype(np.int32)

    def decide(observations):
        level = np.clip(levels.LEVELS - observations[levels.LEVELS_LEFT].astype(int), 0, levels.LEVELS - 1)
        return policy[level, state(observations)]

    return RulesPolicy(decide, LevelDifficulty.action)


def score(policy):
    world = LevelDifficulty().world()
    return (expected_return(PROCESS, policy) - world.random_return) / (world.best_return - world.random_return)


@pytest.mark.parametrize(("policy", "known"), [(planned(1.0), "best"), (RANDOM, "random")], ids=["best", "random"])
def test_best_and_random_are_what_those_policies_earn(policy, known):
    earned = simulate(LevelDifficulty().world(), policy, reward=LevelDifficulty.reward, episodes=60_000, seed=5)
    error = earned.returns.std() / np.sqrt(60_000)
    assert abs(earned.mean - getattr(earned, known)) < 4 * error
    assert error < 0.03


def test_whoever_looks_at_the_next_reward_only_is_far_from_the_best():
    assert score(best_policy(PROCESS, gamma=0.0)) < 0.5
    assert score(best_policy(PROCESS, LevelDifficulty.gamma)) > 0.995


@pytest.mark.parametrize("difficulty", range(len(levels.DIFFICULTIES)))
def test_no_single_difficulty_does(difficulty):
    assert score(np.eye(len(levels.DIFFICULTIES))[difficulty]) < 0.5


def test_the_best_difficulty_depends_on_skill_on_mood_and_on_what_is_left():
    best = best_policy(PROCESS).argmax(axis=-1).reshape(levels.LEVELS, len(levels.SKILLS), -1)
    novices, experts = best[5]
    assert set(best[5].ravel()) == set(range(len(levels.DIFFICULTIES)))
    assert (experts[: levels.LONGEST_ROW] > novices[: levels.LONGEST_ROW]).all()  # after losses
    assert (np.diff(best[5], axis=1) >= 0).all()  # the more wins, and the fewer losses, the harder
    last = PROCESS.reward.argmax(axis=-1).reshape(len(levels.SKILLS), -1)
    assert (best[-1] == last).all()  # nobody needs to come back
    assert (best[5] != last).any(axis=1).all()


def test_what_is_seen_follows_the_tables():
    """Shares of next states by state and action, over 200,000 first, second and third levels."""
    world, chance = LevelDifficulty().world(), np.random.default_rng(0)
    before, alive = state(world.reset(200_000, seed=1)), np.ones(200_000, bool)
    for _ in range(3):
        action = chance.integers(0, len(levels.DIFFICULTIES), len(before))
        step = world.step(action)
        after = state(step.observations)
        for s, a in {*zip(before[alive].tolist(), action[alive].tolist(), strict=True)}:
            here = alive & (before == s) & (action == a)
            stayed = after[here & ~step.terminated]
            shares = np.bincount(stayed, minlength=len(PROCESS.start)) / here.sum()
            assert np.abs(shares - PROCESS.transition[s, a]).max() < 5 * 0.5 / np.sqrt(here.sum())
            earned = sum(w * step.metrics[m][here] for m, w in LevelDifficulty.reward.items())
            assert abs(earned.mean() - PROCESS.reward[s, a]) < 5 * 1.5 / np.sqrt(here.sum())
        alive, before = alive & ~step.terminated, after


def test_a_season_ends_the_world():
    world = LevelDifficulty().world()
    left = [world.reset(2_000, seed=0)[levels.LEVELS_LEFT]]
    policy = planned(1.0)
    observations, terminated = world.reset(2_000, seed=0), np.zeros(2_000, bool)
    for _ in range(levels.LEVELS):
        assert not terminated.all()
        step = world.step(policy.decide(observations, np.zeros(2_000)).action)
        observations = step.observations
        terminated |= step.terminated
        left.append(observations[levels.LEVELS_LEFT])
    assert [values[0] for values in left] == list(range(levels.LEVELS, -1, -1))
    assert 0.1 < step.terminated.mean() < 0.9  # who came to the end
    assert terminated.all()


def test_the_rules_know_skill_and_frustration():
    seen = {levels.SKILL: np.array(["novice", "expert", "novice", "expert"]), levels.LOSSES: np.array([0, 1, 2, 3])}
    assert LevelDifficulty().rules(seen).tolist() == [1, 2, 0, 1]


@pytest.mark.slow
def test_a_random_day_teaches_to_look_ahead():
    assert learned_score(LevelDifficulty(), steps=10_000) >= 0.95
