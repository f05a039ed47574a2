"""Scenarios of whole episodes per window: logs that are a function of their arguments and build without a remainder."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbake import vocabulary as v
from rlbake.application import load_application
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.policies.policy import Decisions
from rlbake.scenarios import SHIPPED
from rlbake.scenarios.episodes import DECISIONS
from rlbake.testing import ApplicationContract
from rlbake.warehouse.table import Table

SCENARIOS = ["level_difficulty", "sparse_reward", "drift"]
UNITS = 60


def loaded(name, tables="unused"):
    return load_application(SHIPPED[name], str(tables))


def random(application):
    return RandomPolicy(application.action)


def features(application):
    return [feature.name for feature in application.observation]


@pytest.fixture(params=SCENARIOS)
def scenario(request, tmp_path):
    return loaded(request.param, tmp_path / "tables")


@pytest.fixture
def decisions(scenario):
    """The first window's, decided at random, by unit and time."""
    rows = scenario.play(scenario.cadence.first, random(scenario), UNITS, seed=0)[DECISIONS].to_pandas()
    return rows.sort_values([*scenario.keys, v.TIMESTAMP], ignore_index=True)


class TestContract(ApplicationContract):
    """What a user's own application must hold."""

    date = "2026-01-01"

    @pytest.fixture
    def loaded(self, scenario, spark):
        scenario.simulate(scenario.cadence.first, random(scenario), UNITS, seed=0)
        return scenario


@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from(SCENARIOS), seed=st.integers(0, 2**31), day=st.integers(0, 400), units=st.integers(1, 30))
def test_a_window_is_a_function_of_its_arguments(name, seed, day, units):
    application = loaded(name)
    window = application.cadence.following(application.cadence.first, day)
    policy = random(application)
    once, again = (loaded(name).play(window, policy, units, seed)[DECISIONS] for _ in range(2))
    assert once.equals(again)
    assert not once.equals(application.play(application.cadence.following(window), policy, units, seed)[DECISIONS])
    assert not once.equals(application.play(window, policy, units, seed + 1)[DECISIONS])


def test_every_episode_lies_in_its_window_and_ends_there(scenario, decisions):
    first, (key,) = scenario.cadence.first, scenario.keys
    assert decisions[key].nunique() == UNITS
    assert decisions[v.TIMESTAMP].between(first.start, first.end, inclusive="left").all()
    for _, episode in decisions.groupby(key):
        assert (episode[v.TIMESTAMP].diff().dropna() == scenario.pace).all()
        assert episode[v.END].tolist() == [v.NOT_ENDED] * (len(episode) - 1) + [v.TERMINATED]
        assert len(episode) <= scenario.world().horizon
    tomorrow = scenario.play(scenario.cadence.following(first), random(scenario), UNITS, seed=0)[DECISIONS]
    assert not set(decisions[key]) & set(tomorrow[key].to_pylist())


def test_whoever_decided_is_on_the_row(scenario, decisions):
    assert set(decisions[v.POLICY_VERSION]) == {"random"}
    assert set(decisions[v.ACTION]) == set(scenario.action.names)
    np.testing.assert_allclose(np.exp(decisions[v.LOG_PROBABILITY]), 1 / len(scenario.action), rtol=1e-6)


class Recording:
    """Decides at random and keeps what it was shown."""

    version = "random"

    def __init__(self, action):
        self._random, self.shown = RandomPolicy(action), []

    def decide(self, observations, noise, action_mask=None):
        decided = self._random.decide(observations, noise)
        self.shown.append((observations, decided.action))
        return decided


def test_a_row_holds_what_the_decision_was_made_on(scenario):
    policy = Recording(scenario.action)
    rows = scenario.play(scenario.cadence.first, policy, UNITS, seed=0)[DECISIONS].to_pandas()
    rows = rows.sort_values(v.TIMESTAMP)
    unit = rows[scenario.keys[0]].str.split("-").str[1].astype(int)
    steps = rows.groupby(unit).cumcount()
    for step, (observations, action) in enumerate(policy.shown):
        now = rows[steps == step]
        for feature in features(scenario):
            assert now[feature].tolist() == observations[feature][unit[now.index]].tolist()
        assert now[v.ACTION].tolist() == np.array(scenario.action.names)[action[unit[now.index]]].tolist()


def test_the_world_shows_what_the_specs_say(scenario):
    world, chance = scenario.world(), np.random.default_rng(0)
    seen = [world.reset(3_000, seed=0)]
    for _ in range(world.horizon):
        seen.append(world.step(chance.integers(0, len(scenario.action), 3_000)).observations)
    for feature in scenario.observation:
        shown = np.concatenate([observations[feature.name] for observations in seen])
        if hasattr(feature, "values"):
            assert set(shown) == set(feature.values)
        else:
            assert shown.dtype == np.float32
            assert ((shown >= feature.low) & (shown <= feature.high)).all()


def test_what_has_ended_stays_ended(scenario):
    world, chance = scenario.world(), np.random.default_rng(0)
    world.reset(500, seed=0)
    ends, over = np.zeros(500, int), np.zeros(500, bool)
    for _ in range(world.horizon + 3):
        step = world.step(chance.integers(0, len(scenario.action), 500))
        assert all((values[over] == 0).all() for values in step.metrics.values())
        assert not step.truncated.any()
        ends += step.terminated
        over |= step.terminated
    assert (ends == 1).all()
    assert over.all()


def test_the_same_seed_gives_the_same_world(scenario):
    once, again = scenario.world(), scenario.world()
    for world in (once, again):
        world.reset(50, seed=3)
    action = np.zeros(50, int)
    for _ in range(once.horizon):
        first, second = once.step(action), again.step(action)
        assert all((first.observations[f] == second.observations[f]).all() for f in features(scenario))
        assert all((first.metrics[m] == second.metrics[m]).all() for m in scenario.metrics)
    other = scenario.world().reset(50, seed=4)
    assert any((other[f] != scenario.world().reset(50, seed=3)[f]).any() for f in features(scenario))


def test_timesteps_are_the_log(spark, scenario, decisions):
    scenario.simulate(scenario.cadence.first, random(scenario), UNITS, seed=0)
    read = scenario.timesteps(spark, scenario.cadence.first).toPandas()
    read = read.sort_values([*scenario.keys, v.TIMESTAMP], ignore_index=True)
    read[v.TIMESTAMP] = read[v.TIMESTAMP].dt.tz_localize("UTC")
    pd.testing.assert_frame_equal(read, decisions, check_dtype=False)


def test_population_is_everybody_as_first_seen(spark, scenario, decisions):
    scenario.simulate(scenario.cadence.first, random(scenario), UNITS, seed=0)
    (key,) = scenario.keys
    population = scenario.population(spark, scenario.cadence.first).toPandas().set_index(key)
    first = decisions.groupby(key)[features(scenario)].first()
    assert list(population.columns) == features(scenario)
    assert population.loc[first.index].equals(first)


def test_every_decision_becomes_a_transition(spark, scenario, built):
    class Halves:
        """By the rules for every other unit, at random for the rest."""

        version = "halves"

        def decide(self, observations, noise, action_mask=None):
            sides = (random(scenario), RulesPolicy(scenario.rules, scenario.action))
            chance, rules = (policy.decide(observations, noise) for policy in sides)
            first = np.arange(len(noise)) % 2 == 0
            return Decisions(
                np.where(first, chance.action, rules.action),
                np.where(first, chance.log_probability, rules.log_probability),
            )

    for day in (0, 1):
        window = scenario.cadence.following(scenario.cadence.first, day)
        scenario.simulate(window, Halves(), UNITS, seed=0)
        logged = scenario.play(window, Halves(), UNITS, seed=0)[DECISIONS].to_pandas()
        build = built(scenario, window)
        assert build.transitions == len(logged)
        assert build.open == build.unobserved == build.stray == build.timed_out == 0
        rows = Table(f"{scenario.tables}/{scenario.name}/{v.TRAJECTORIES_TABLE}").read(spark, windows=[window.ds])
        rows = rows.toPandas().sort_values([v.ENV_ID, v.TIMESTAMP])
        earned = sum(weight * logged[metric] for metric, weight in scenario.reward.items())
        assert rows[v.REWARD].sum() == pytest.approx(earned.sum(), rel=1e-6)
        assert (rows[v.END] == v.TERMINATED).sum() == UNITS
        assert rows.loc[rows[v.END] == v.TERMINATED, v.NEXT_OBSERVATION].isna().all()
        following = rows[rows[v.END] == v.NOT_ENDED]
        assert following[v.NEXT_OBSERVATION].notna().all()
        assert (following[v.TIME_GAP] == scenario.pace.total_seconds()).all()
