"""CartPole: gym's own dynamics, its best and random returns, and logs that say what happened."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbake import vocabulary as v
from rlbake.evaluation.simulated import simulate
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.policies.policy import Decisions
from rlbake.scenarios.cartpole import STATE, CartPole, CartPoleWorld
from rlbake.warehouse.table import Table

CONTROLLER = np.array([0.05, 0.1, 1.0, 1.0])
FIRST = CartPole.cadence.window("2026-01-01")


def balanced(observations):
    state = np.stack([observations[name] for name in STATE], axis=1)
    return (state @ CONTROLLER > 0).astype(np.int32)


def drifting(observations):
    return (observations["angle"] + observations["angular_velocity"] > 0.05).astype(np.int32)


RANDOM = RandomPolicy(CartPole.action)
BALANCED = RulesPolicy(balanced, CartPole.action)


@pytest.fixture
def cartpole(tmp_path):
    application = CartPole()
    application.tables = str(tmp_path / "tables")
    return application


def gym_carts(starts):
    gym = pytest.importorskip("gym")
    gym.logger.set_level(gym.logger.ERROR)
    for start in starts:
        cart = gym.make("CartPole-v0")
        cart.reset(seed=0)
        cart.unwrapped.state = tuple(start)
        yield cart


def test_steps_like_gyms_cartpole():
    """Random carts, balanced ones, and ones that lean until they leave the track."""
    size, rng, world = 30, np.random.default_rng(0), CartPoleWorld()
    observations = world.reset(size, seed=3)
    carts = list(gym_carts(world.state))
    running, seen = np.ones(size, bool), {"fallen": 0, "off the track": 0, "cut": 0}
    for _ in range(world.horizon):
        action = np.where(np.arange(size) % 3 == 0, rng.integers(0, 2, size), balanced(observations))
        action = np.where(np.arange(size) % 3 == 1, drifting(observations), action)
        step = world.step(action)
        for i in np.flatnonzero(running):
            state, reward, done, info = carts[i].step(int(action[i]))
            ours = np.array([step.observations[name][i] for name in STATE])
            assert ours.dtype == state.dtype == np.float32
            assert ours.tolist() == state.tolist()
            assert step.metrics["alive"][i] == reward
            assert step.truncated[i] == info.get("TimeLimit.truncated", False)
            assert (step.terminated | step.truncated)[i] == done
            if done:
                running[i] = False
                off = abs(state[0]) > 2.4
                seen["cut" if step.truncated[i] else "off the track" if off else "fallen"] += 1
        observations = step.observations
    assert not running.any()
    assert min(seen.values()) > 0, seen


def test_falling_at_the_last_step_is_no_cut():
    world = CartPoleWorld()
    world.reset(2, seed=0)
    for _ in range(199):
        world.step(balanced({name: world.state[:, i] for i, name in enumerate(STATE)}))
    world.state[0, 2] = 0.3  # beyond twelve degrees
    step = world.step(np.array([0, 0]))
    assert step.terminated.tolist() == [True, False]
    assert step.truncated.tolist() == [False, True]


def test_what_has_ended_stays_ended():
    world = CartPoleWorld()
    world.reset(100, seed=0)
    total, ends = np.zeros(100), np.zeros(100, int)
    for _ in range(world.horizon + 5):
        step = world.step(np.zeros(100, int))
        total += step.metrics["alive"]
        ends += step.terminated
        ends += step.truncated
    assert (ends == 1).all()
    assert (total < 12).all()  # always left falls within a dozen steps


def test_the_best_return_is_reached():
    """200 bounds every episode, and here is a policy that reaches it from each of 20,000 starts."""
    played = simulate(CartPoleWorld(), BALANCED, reward=CartPole.reward, episodes=20_000, seed=1)
    assert played.returns.min() == played.best == 200
    assert (played.low, played.high, played.score) == (200, 200, 1)


def test_the_random_return_is_right():
    played = simulate(CartPoleWorld(), RANDOM, reward=CartPole.reward, episodes=100_000, seed=99)
    error = played.returns.std() / np.sqrt(100_000)
    assert abs(played.mean - played.random) < 4 * error
    assert abs(played.score) < 0.002


def test_a_day_at_random_is_thirty_thousand_decisions(cartpole):
    steps = cartpole.play(FIRST, RANDOM, cartpole.units, seed=0)["steps"]
    assert 28_500 < steps.num_rows < 31_500


def test_the_log_tells_one_episode_per_cart(cartpole):
    steps = cartpole.play(FIRST, RANDOM, 200, seed=0)["steps"].to_pandas()
    assert steps["cart"].nunique() == 200
    assert steps[v.TIMESTAMP].between(FIRST.start, FIRST.end, inclusive="left").all()
    for _, episode in steps.sort_values(v.TIMESTAMP).groupby("cart"):
        assert (episode[v.TIMESTAMP].diff().dropna().dt.total_seconds() == 1).all()
        assert episode[v.END].tolist() == [v.NOT_ENDED] * (len(episode) - 1) + [v.TERMINATED]
        assert (np.abs(episode[list(STATE)].iloc[0]) <= 0.05).all()
        assert not is_down(episode[list(STATE)]).any()  # decisions are made upright
    assert set(steps[v.ACTION]) == {"left", "right"}
    assert set(steps[v.POLICY_VERSION]) == {"random"}
    np.testing.assert_allclose(np.exp(steps[v.LOG_PROBABILITY]), 0.5)
    assert (steps["alive"] == 1).all()


def test_a_logged_step_leads_to_the_next(cartpole):
    steps = cartpole.play(FIRST, RANDOM, 20, seed=0)["steps"].to_pandas().sort_values(["cart", v.TIMESTAMP])
    world = CartPoleWorld()
    world.reset(len(steps), seed=0)
    world.state = steps[list(STATE)].to_numpy(np.float64)
    after = world.step((steps[v.ACTION] == "right").to_numpy().astype(int))
    following = np.flatnonzero(steps["cart"].to_numpy()[1:] == steps["cart"].to_numpy()[:-1])
    for name in STATE:
        np.testing.assert_allclose(
            after.observations[name][following], steps[name].to_numpy()[following + 1], atol=1e-5
        )
    assert (after.terminated == (steps[v.END] == v.TERMINATED)).all()


def is_down(states):
    return (np.abs(states["position"]) > 2.4) | (np.abs(states["angle"]) > 12 * 2 * np.pi / 360)


def test_a_cut_episode_ends_with_what_was_last_seen(cartpole):
    steps = cartpole.play(FIRST, BALANCED, 5, seed=0)["steps"].to_pandas().sort_values(["cart", v.TIMESTAMP])
    assert len(steps) == 5 * 201
    final = steps[steps[v.ACTION].isna()]
    assert len(final) == 5
    assert final[v.END].tolist() == [v.TRUNCATED] * 5
    assert final[[v.LOG_PROBABILITY, "alive", v.POLICY_VERSION]].isna().all(axis=None)
    assert not final[list(STATE)].isna().any(axis=None)
    assert (steps[v.END] == v.NOT_ENDED).sum() == 5 * 200
    assert steps[v.TIMESTAMP].between(FIRST.start, FIRST.end, inclusive="left").all()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), day=st.integers(0, 400), units=st.integers(1, 30))
def test_a_window_is_a_function_of_its_arguments(seed, day, units):
    window = CartPole.cadence.following(FIRST, day)
    once, again = (CartPole().play(window, RANDOM, units, seed)["steps"] for _ in range(2))
    assert once.equals(again)
    assert not once.equals(CartPole().play(CartPole.cadence.following(window), RANDOM, units, seed)["steps"])
    assert not once.equals(CartPole().play(window, RANDOM, units, seed + 1)["steps"])


def test_timesteps_are_the_log(spark, cartpole):
    second = CartPole.cadence.following(FIRST)
    for window, policy in ((FIRST, RANDOM), (second, BALANCED)):
        cartpole.simulate(window, policy, 8, seed=0)
    for window, policy in ((FIRST, RANDOM), (second, BALANCED)):
        read = cartpole.timesteps(spark, window).toPandas().sort_values(["cart", v.TIMESTAMP], ignore_index=True)
        played = cartpole.play(window, policy, 8, seed=0)["steps"].to_pandas()
        played = played.sort_values(["cart", v.TIMESTAMP], ignore_index=True)
        assert list(read.columns) == list(played.columns)
        assert (read[v.TIMESTAMP] == played[v.TIMESTAMP].dt.tz_localize(None)).all()
        without = [name for name in played.columns if name != v.TIMESTAMP]
        assert (
            read[without]
            .astype(object)
            .where(read[without].notna(), None)
            .equals(played[without].astype(object).where(played[without].notna(), None))
        )


def test_population_is_every_cart_as_last_seen(spark, cartpole):
    cartpole.simulate(FIRST, RANDOM, 20, seed=0)
    population = cartpole.population(spark, FIRST).toPandas().set_index("cart")
    steps = cartpole.play(FIRST, RANDOM, 20, seed=0)["steps"].to_pandas()
    last = steps.sort_values(v.TIMESTAMP).groupby("cart")[list(STATE)].last()
    assert list(population.columns) == list(STATE)
    assert population.loc[last.index].equals(last)


def test_every_decision_becomes_a_transition(spark, cartpole, built):
    """Half the carts fall and half are cut; the cut ones bootstrap from their final observation."""

    class Halves:
        version = "halves"

        def decide(self, observations, noise, action_mask=None):
            at_random, balanced_ = (p.decide(observations, noise) for p in (RANDOM, BALANCED))
            first = np.arange(len(noise)) % 2 == 0
            return Decisions(
                np.where(first, at_random.action, balanced_.action),
                np.where(first, at_random.log_probability, balanced_.log_probability),
            )

    cartpole.simulate(FIRST, Halves(), 10, seed=0)
    steps = cartpole.play(FIRST, Halves(), 10, seed=0)["steps"].to_pandas()
    build = built(cartpole, FIRST)
    assert build.transitions == steps[v.ACTION].notna().sum()
    assert build.open == build.unobserved == build.stray == build.timed_out == 0
    table = Table(f"{cartpole.tables}/cartpole/{v.TRAJECTORIES_TABLE}")
    rows = table.read(spark).toPandas()
    assert (rows[v.REWARD] == 1).all()
    ends = rows[v.END].value_counts()
    assert (ends[v.TERMINATED], ends[v.TRUNCATED]) == (5, 5)
    assert rows.loc[rows[v.END] == v.TERMINATED, v.NEXT_OBSERVATION].isna().all()
    cut = rows[rows[v.END] == v.TRUNCATED].set_index(v.ENV_ID)
    final = steps[steps[v.ACTION].isna()].set_index("cart")
    for cart in final.index:
        assert cut.loc[cart, v.NEXT_OBSERVATION]["angle"] == final.loc[cart, "angle"]
