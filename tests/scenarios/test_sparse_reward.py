"""Sparse reward: a best that is reached, through a chain that chance hardly ever gets to the end of."""

import numpy as np
import pytest

from rlbake.evaluation.simulated import simulate
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.scenarios import sparse_reward as chain
from rlbake.scenarios.dynamic_programming import best_policy, expected_return
from rlbake.scenarios.episodes import DECISIONS
from rlbake.scenarios.sparse_reward import SparseReward
from tests.scenarios.learning import learned_score

RANDOM = RandomPolicy(SparseReward.action)
PROCESS = chain.decision_process()
FIRST = SparseReward.cadence.first


def state(observations):
    """Where in the tables an observation is."""
    kind = np.array([chain.PLAYER_TYPES.index(name) for name in observations[chain.PLAYER_TYPE].tolist()])
    step = np.array([chain.STEPS.index(name) for name in observations[chain.STEP].tolist()])
    return kind * len(chain.STEPS) + step


def helpful(observations):
    policy = best_policy(PROCESS).argmax(axis=-1).astype(np.int32)
    nudge = np.clip(chain.PATIENCE - observations[chain.NUDGES_LEFT].astype(int), 0, chain.PATIENCE - 1)
    return policy[nudge, state(observations)]


BEST = RulesPolicy(helpful, SparseReward.action)


@pytest.mark.parametrize(("policy", "known"), [(BEST, "best"), (RANDOM, "random")], ids=["best", "random"])
def test_best_and_random_are_what_those_policies_earn(policy, known):
    earned = simulate(SparseReward().world(), policy, reward=SparseReward.reward, episodes=60_000, seed=5)
    error = earned.returns.std() / np.sqrt(60_000)
    assert abs(earned.mean - getattr(earned, known)) <= 4 * error + 1e-3  # of the best hardly any misses
    assert error < 0.01


def test_every_nudge_helps_somebody_at_every_step():
    assert all(set(column) == set(range(len(chain.NUDGES))) for column in chain.HELPFUL.T)


def test_nothing_is_earned_before_the_last_step():
    last = np.arange(len(PROCESS.start)) % len(chain.STEPS) == len(chain.STEPS) - 1
    assert (PROCESS.reward[~last] == 0).all()
    assert ((PROCESS.reward[last] > 0).sum(axis=1) == 1).all()


def test_looking_at_the_next_reward_only_earns_nothing():
    assert expected_return(PROCESS, best_policy(PROCESS, gamma=0.0)) < SparseReward().world().random_return + 1


def test_one_wrong_belief_loses_a_whole_type():
    """The best policy, but with another nudge for explorers in the middle of the chain."""
    mistaken = best_policy(PROCESS)
    at = len(chain.STEPS) + 4
    mistaken[:, at] = np.roll(mistaken[:, at], 1, axis=-1)
    lost = 1 - expected_return(PROCESS, mistaken) / SparseReward().world().best_return
    assert lost == pytest.approx(chain.TYPE_SHARE[1], abs=1e-3)


def test_what_is_seen_follows_the_tables():
    """Shares of next states by state and action, over the first eight nudges of 100,000 players."""
    world, chance = SparseReward().world(), np.random.default_rng(0)
    before, alive = state(world.reset(100_000, seed=1)), np.ones(100_000, bool)
    for _ in range(8):
        action = chance.integers(0, len(chain.NUDGES), len(before))
        step = world.step(action)
        after = state(step.observations)
        code = before * len(chain.NUDGES) + action
        for s, a in np.ndindex(PROCESS.reward.shape):
            here = alive & (code == s * len(chain.NUDGES) + a)
            if not here.any():
                continue
            shares = np.bincount(after[here & ~step.terminated], minlength=len(PROCESS.start)) / here.sum()
            assert np.abs(shares - PROCESS.transition[s, a]).max() < 5 * 0.5 / np.sqrt(here.sum())
            bought = SparseReward.reward[chain.PURCHASE] * step.metrics[chain.PURCHASE][here].mean()
            assert abs(bought - PROCESS.reward[s, a]) < 5 * 5 / np.sqrt(here.sum())
        alive, before = alive & ~step.terminated, after


def test_a_random_day_holds_a_few_purchases_of_every_type():
    rows = SparseReward().play(FIRST, RANDOM, SparseReward.units, seed=0)[DECISIONS].to_pandas()
    bought = rows[rows[chain.PURCHASE] == 1]
    assert 0.001 < len(bought) / len(rows) < 0.005
    assert (bought[chain.STEP] == chain.STEPS[-1]).all()
    assert bought[chain.PLAYER_TYPE].value_counts().min() >= 20


def test_the_rules_know_the_most_common_type():
    steps = np.array(chain.STEPS)
    assert SparseReward().rules({chain.STEP: steps}).tolist() == chain.HELPFUL[0].tolist()


@pytest.mark.slow
def test_a_random_day_teaches_the_whole_chain():
    assert learned_score(SparseReward(), steps=3_000) >= 0.95


@pytest.mark.slow
def test_rewards_of_several_steps_reach_the_beginning_sooner():
    assert learned_score(SparseReward(), steps=1_000, n_step=1) < 0.7
    assert learned_score(SparseReward(), steps=1_000, n_step=3) > 0.9
