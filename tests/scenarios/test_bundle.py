"""Bundle: a best that is reached, choices that cannot be made apart, and logs that can be learned from."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbake import vocabulary as v
from rlbake.evaluation.simulated import simulate
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.scenarios import appetite
from rlbake.scenarios.bundle import Bundle
from rlbake.warehouse.table import Table

FIRST = Bundle.cadence.window("2026-01-01")
FEATURES = [feature.name for feature in Bundle.observation]
RANDOM = RandomPolicy(Bundle.action)
JOINT = np.array(list(itertools.product(range(6), range(4))))


@pytest.fixture
def bundle(tmp_path):
    application = Bundle()
    application.tables = str(tmp_path / "tables")
    return application


def played(units, window=FIRST, seed=0, policy=RANDOM):
    return Bundle().play(window, policy, units, seed)["visits"].to_pandas()


def decisions(visits):
    """Rows with a decision, once each."""
    rows = visits[visits[v.ACTION].notna()]
    return rows[~rows.duplicated(["player_id", v.TIMESTAMP])]


def looked_up(table):
    """The policy that chooses what a table [hero, gold, won] of (item, discount) says."""

    def rules(observations):
        hero = np.array([appetite.HEROES.index(name) for name in observations[appetite.HERO].tolist()])
        return table[hero, observations[appetite.GOLD].astype(int), observations[appetite.JUST_WON].astype(int)]

    return RulesPolicy(rules, Bundle.action)


def jointly(values):
    return JOINT[values.reshape(*values.shape[:3], -1).argmax(axis=-1)]


def each_for_itself(values):
    """The item that does best on average over the discounts, and the discount that does over the items."""
    return np.stack([values.mean(axis=-1).argmax(axis=-1), values.mean(axis=-2).argmax(axis=-1)], axis=-1)


def score(policy, episodes=40_000):
    return simulate(Bundle().world(), policy, reward=Bundle.reward, episodes=episodes, seed=5)


# --- the world -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "known"),
    [(looked_up(jointly(appetite.values())), "best"), (RANDOM, "random")],
    ids=["best", "random"],
)
def test_best_and_random_are_what_those_policies_earn(policy, known):
    earned = score(policy)
    error = earned.returns.std() / np.sqrt(40_000)
    assert abs(earned.mean - getattr(earned, known)) < 4 * error
    assert error < 0.12


def test_no_other_action_is_better_for_what_is_seen():
    """By brute force: every action in every situation of 200,000 visitors, with their hidden wealth."""
    noise, player = appetite.CounterNoise("test", 0), np.arange(200_000)
    seen = appetite.draw_visitors(noise, player, 0, 0)
    earned = np.stack(
        [appetite.buying(seen.hero, seen.wealth, seen.won, *action) * appetite.price(*action) for action in JOINT],
        axis=1,
    )
    situation = np.ravel_multi_index((seen.hero, seen.gold, seen.won), (4, 10, 2))
    sums = np.stack([np.bincount(situation, column, minlength=80) for column in earned.T], axis=1)
    share = np.bincount(situation, minlength=80)
    means = (sums / share[:, None]).reshape(4, 10, 2, 6, 4)
    exact = appetite.values()
    np.testing.assert_allclose(sums.sum(axis=0) / len(player), exact.sum(axis=(0, 1, 2)).ravel(), rtol=0.02)
    best = jointly(exact)
    chosen = np.take_along_axis(means.reshape(80, 24), Bundle.action.flat(best.reshape(80, 2))[:, None], axis=1)[:, 0]
    regret = (share * (means.reshape(80, 24).max(axis=1) - chosen)).sum() / len(player)
    assert 0 <= regret < 0.01  # of 5: nowhere does chance find something clearly better
    assert 10 * (share * means.reshape(80, 24).max(axis=1)).sum() / len(player) == pytest.approx(
        Bundle().world().best_return, rel=0.01
    )


def test_neither_can_be_chosen_without_the_other():
    apart = score(looked_up(each_for_itself(appetite.values())))
    assert apart.score < 0.7
    fixed = appetite.values().sum(axis=(0, 1, 2)).max() * 10
    assert (fixed - apart.random) / (apart.best - apart.random) < 0.5  # nor is there one bundle for everybody
    taken = Bundle.action.flat(jointly(appetite.values()).reshape(-1, 2))
    assert len(set(taken.tolist())) >= 8


def test_an_episode_is_ten_visits_and_a_cut():
    world = Bundle().world()
    world.reset(3, seed=0)
    steps = [world.step(np.zeros((3, 2), int)) for _ in range(12)]
    assert [bool(step.truncated.all()) for step in steps] == [False] * 9 + [True] + [False] * 2
    assert not any(step.terminated.any() for step in steps)
    assert all((values == 0).all() for step in steps[10:] for values in step.metrics.values())


def test_the_world_shows_what_the_specs_say():
    seen = Bundle().world().reset(2_000, seed=0)
    assert list(seen) == FEATURES
    assert set(seen["hero"]) == set(appetite.HEROES)
    assert seen["just_won"].dtype == bool
    assert seen["gold"].dtype == seen["level"].dtype == np.float32
    assert set(seen["gold"]) == set(range(10))
    assert (seen["level"].min(), seen["level"].max()) == (1, 60)


def test_the_rules_do_better_than_chance_and_worse_than_the_best():
    rules = Bundle().rules({"gold": np.array([4.0, 5.0], np.float32)})
    assert [[names[i] for i, (_, names) in zip(row, Bundle.action.sets, strict=True)] for row in rules.tolist()] == [
        ["potion", "10%"],
        ["cape", "0%"],
    ]
    assert 0.1 < score(RulesPolicy(Bundle().rules, Bundle.action)).score < 0.5


# --- the log -------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), day=st.integers(0, 1000), units=st.integers(1, 40))
def test_a_window_is_a_function_of_its_arguments(seed, day, units):
    window = Bundle.cadence.following(FIRST, day)
    once, again = (Bundle().play(window, RANDOM, units, seed)["visits"] for _ in range(2))
    assert once.equals(again)
    assert not once.equals(Bundle().play(window, RANDOM, units, seed + 1)["visits"])


def test_the_log_tells_ten_decisions_a_day_and_what_was_seen_at_last():
    visits = played(300)
    assert visits[v.TIMESTAMP].between(FIRST.start, FIRST.end, inclusive="left").all()
    again = visits.duplicated(visits.columns.drop(v.ACTION))
    assert 0.003 < again.mean() < 0.02  # exported twice
    rows = visits[~again].sort_values(v.TIMESTAMP)
    for _, episode in rows.groupby("player_id"):
        assert episode[v.END].tolist() == [v.NOT_ENDED] * 10 + [v.TRUNCATED]
        assert episode["hero"].nunique() == 1
        assert (episode[v.TIMESTAMP].diff().dropna() > pd.Timedelta("20min")).all()
        assert episode[v.ACTION].notna().tolist() == [True] * 10 + [False]
        assert episode.iloc[-1][["revenue", "purchase", v.LOG_PROBABILITY, v.POLICY_VERSION]].isna().all()
    decided = decisions(visits)
    np.testing.assert_allclose(np.exp(decided[v.LOG_PROBABILITY]), 1 / 24, rtol=1e-6)
    assert set(decided[v.POLICY_VERSION]) == {"random"}
    assert set(map(tuple, decided[v.ACTION])) == set(itertools.product(appetite.ITEMS, appetite.DISCOUNTS))


def test_what_is_bought_is_paid_for_at_a_discount():
    decided = decisions(played(500))
    price = [appetite.ITEMS[item][0] * (1 - appetite.DISCOUNTS[discount]) for item, discount in decided[v.ACTION]]
    np.testing.assert_allclose(decided["revenue"], decided["purchase"] * price)
    assert set(decided["purchase"]) == {0.0, 1.0}


def test_players_buy_as_often_as_the_model_says():
    earned = np.concatenate([decisions(played(3_000, seed=seed))["revenue"] for seed in range(3)])
    error = earned.std() / np.sqrt(len(earned))
    assert earned.mean() == pytest.approx(Bundle().world().random_return / 10, abs=6 * error)  # players come in tens


def test_a_random_day_is_enough_to_learn_from():
    """For each combination a linear regression of the revenue, and the combination that it expects the most from."""
    decided = decisions(played(Bundle.units))
    names = [names for _, names in Bundle.action.sets]
    action = np.array([[of.index(name) for of, name in zip(names, row, strict=True)] for row in decided[v.ACTION]])
    combination = Bundle.action.flat(action)

    def inputs(seen):
        hero = np.eye(4)[[appetite.HEROES.index(name) for name in np.asarray(seen["hero"]).tolist()]]
        gold = np.polynomial.legendre.legvander(np.asarray(seen["gold"], float) / 4.5 - 1, 3)
        won = np.eye(2)[np.asarray(seen["just_won"], int)]
        return np.einsum("nh,ng,nw->nhgw", hero, gold, won).reshape(len(hero), -1)

    seen, revenue = inputs(decided), decided["revenue"].to_numpy()
    chosen = [combination == number for number in range(24)]
    weights = np.stack([np.linalg.lstsq(seen[rows], revenue[rows])[0] for rows in chosen], axis=1)
    learned = RulesPolicy(lambda o: JOINT[(inputs(o) @ weights).argmax(axis=1)], Bundle.action)
    assert score(learned, episodes=20_000).score > 0.95


# --- through Spark -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_day_becomes_transitions_with_both_choices(spark, bundle, built):
    bundle.simulate(FIRST, RANDOM, 200, seed=0)
    outcome = built(bundle, FIRST)
    visits = played(200)
    assert (outcome.rejected, outcome.transitions, outcome.open) == (0, 2_000, 0)
    assert outcome.duplicates == len(visits) - 2_200 > 0
    read = Table(f"{bundle.tables}/bundle/{v.TRAJECTORIES_TABLE}").read(spark, windows=[FIRST.ds]).toPandas()
    expected = decisions(visits).set_index(["player_id", v.TIMESTAMP])
    read[v.TIMESTAMP] = read[v.TIMESTAMP].dt.tz_localize("UTC")
    expected = expected.loc[list(zip(read[v.ENV_ID], read[v.TIMESTAMP], strict=True))]
    names = [names for _, names in Bundle.action.sets]
    stored = [[of[i] for of, i in zip(names, row, strict=True)] for row in read[v.ACTION]]
    assert stored == [list(row) for row in expected[v.ACTION]]
    np.testing.assert_allclose(read[v.REWARD], expected["revenue"], rtol=1e-6)
    assert (read[v.END] == v.TRUNCATED).sum() == 200
    assert read[v.NEXT_ACTION].isna().sum() == 200
    assert read[v.NEXT_OBSERVATION].notna().all()
