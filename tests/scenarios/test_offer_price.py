"""Offer price: a best that is reached, prices that matter, and logs that can be learned from once untangled."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize
from sklearn.linear_model import LogisticRegression

from rlbake import vocabulary as v
from rlbake.evaluation.simulated import simulate
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.scenarios import willingness
from rlbake.scenarios.counter_noise import CounterNoise
from rlbake.scenarios.offer_price import OfferPrice
from rlbake.warehouse.table import Table

FIRST = OfferPrice.cadence.window("2026-01-01")
FEATURES = [feature.name for feature in OfferPrice.observation]
CATEGORIES = {feature.name: list(feature.values) for feature in OfferPrice.observation[:3]}
RANDOM = RandomPolicy(OfferPrice.action)
TWENTY_MINUTES = pd.Timedelta("20min")


def medians(observations):
    """What everybody is as likely as not to pay, from what is shown."""
    indices = [
        np.array([values.index(seen) for seen in observations[name].tolist()]) for name, values in CATEGORIES.items()
    ]
    return willingness.median(
        *indices, observations["just_lost"].astype(int), observations["minutes_played"].astype(int)
    )


def priced(price):
    return RulesPolicy(lambda observations: price(observations)[:, None].astype(np.float32), OfferPrice.action)


BEST = priced(lambda observations: willingness.best_price(medians(observations)))


class Recording:
    """Decides at random and keeps what it was shown."""

    version = "random"

    def decide(self, observations, noise, action_mask=None):
        self.seen, self.decided = observations, RANDOM.decide(observations, noise, action_mask)
        return self.decided


@pytest.fixture
def pricing(tmp_path):
    application = OfferPrice()
    application.tables = str(tmp_path / "tables")
    return application


def played(units, window=FIRST, seed=0, policy=RANDOM):
    return {log: rows.to_pandas() for log, rows in OfferPrice().play(window, policy, units, seed).items()}


def score(policy, episodes=60_000):
    return simulate(OfferPrice().world(), policy, reward=OfferPrice.reward, episodes=episodes, seed=5)


# --- the world -----------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "known"), [(BEST, "best"), (RANDOM, "random")], ids=["best", "random"])
def test_best_and_random_are_what_those_policies_earn(policy, known):
    earned = score(policy)
    error = earned.returns.std() / np.sqrt(60_000)
    assert abs(earned.mean - getattr(earned, known)) < 4 * error
    assert error < 0.1


def test_the_closed_forms_agree_with_numbers():
    """The best price by search, the random revenue by quadrature, over visitors drawn at random."""
    seen = willingness.draw_visitors(CounterNoise("test", 0), np.arange(300_000), 0, 0, "offer")
    (low,), (high,) = OfferPrice.action.low, OfferPrice.action.high
    grid = np.geomspace(seen.median().min(), seen.median().max(), 40)
    best, chance = np.empty((2, len(grid)))
    for i, median in enumerate(grid):
        found = optimize.minimize_scalar(
            lambda p, m=median: -p * willingness.buying(p, m), bounds=(low, high), method="bounded"
        )
        assert found.x == pytest.approx(willingness.best_price(median), rel=1e-3)
        best[i] = -found.fun
        chance[i] = integrate.quad(lambda p, m=median: p * willingness.buying(p, m), low, high)[0] / (high - low)
    for exact, of_median in (
        (willingness.best_revenue(), best),
        (willingness.random_revenue(low, high), chance),
    ):
        revenue = np.interp(seen.median(), grid, of_median)
        assert revenue.mean() == pytest.approx(exact, abs=4 * revenue.std() / np.sqrt(300_000) + 1e-3 * exact)


def test_every_best_price_lies_between_the_bounds():
    indices = np.ix_(*(np.arange(size) for size in (7, 3, 3, 2, 61)))
    prices = willingness.best_price(willingness.median(*indices))
    assert OfferPrice.action.low[0] < prices.min() < prices.max() < OfferPrice.action.high[0]
    assert prices.max() > 7 * prices.min()


def test_one_price_for_all_is_clearly_worse():
    one = max(
        score(priced(lambda o, p=p: np.full(len(o["item"]), p)), 5_000).score for p in (4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
    )
    assert one < 0.7


def test_an_episode_is_ten_offers():
    world = OfferPrice().world()
    world.reset(3, seed=0)
    steps = [world.step(np.full((3, 1), 0.5, np.float32)) for _ in range(12)]
    assert [bool(step.terminated.all()) for step in steps] == [False] * 9 + [True] + [False] * 2
    assert not any(step.truncated.any() for step in steps)
    assert sum(step.metrics["purchase"].sum() for step in steps[:10]) > 20  # hardly anybody says no to 50 cents
    assert all((values == 0).all() for step in steps[10:] for values in step.metrics.values())
    for step in steps:
        np.testing.assert_array_equal(step.metrics["revenue"], step.metrics["purchase"] * 0.5)


def test_the_world_shows_what_the_specs_say():
    seen = OfferPrice().world().reset(2_000, seed=0)
    assert list(seen) == FEATURES
    assert all(set(seen[name]) == set(values) for name, values in CATEGORIES.items())
    assert seen["just_lost"].dtype == bool
    assert seen["minutes_played"].dtype == seen["battery"].dtype == np.float32
    assert ((seen["battery"] >= 0) & (seen["battery"] < 1)).all()


def test_the_rules_are_the_list_price():
    asked = OfferPrice().rules({"item": np.array(["skin", "potion", "skin"])})
    np.testing.assert_allclose(asked, [[12.99], [2.99], [12.99]])
    assert 0.3 < score(RulesPolicy(OfferPrice().rules, OfferPrice.action), 10_000).score < 0.8


# --- the logs ------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), day=st.integers(0, 1000), units=st.integers(1, 40))
def test_a_window_is_a_function_of_its_arguments(seed, day, units):
    window = OfferPrice.cadence.following(FIRST, day)
    once, again = (OfferPrice().play(window, RANDOM, units, seed) for _ in range(2))
    assert all(once[log].equals(again[log]) for log in once)
    assert not once["offers"].equals(OfferPrice().play(window, RANDOM, units, seed + 1)["offers"])


def test_ten_offers_per_player_and_day():
    offers = played(500)["offers"]
    assert (offers.groupby("player_id").size() == 10).all()
    assert offers["player_id"].nunique() == 500
    assert offers[v.TIMESTAMP].between(FIRST.start, FIRST.end, inclusive="left").all()
    assert offers[v.TIMESTAMP].is_monotonic_increasing
    assert (offers.groupby("player_id")[v.TIMESTAMP].diff().dropna() > pd.Timedelta("44min")).all()
    assert (offers.groupby("player_id")[v.END].last() == v.TERMINATED).all()
    assert (offers[v.END] == v.TERMINATED).sum() == 500
    np.testing.assert_allclose(np.exp(offers[v.LOG_PROBABILITY]), 1 / 24.5, rtol=1e-6)
    assert set(offers[v.POLICY_VERSION]) == {"random"}
    prices = np.stack(offers[v.ACTION])
    assert prices.shape == (5_000, 1)
    assert ((prices >= 0.5) & (prices <= 25)).all()


def test_a_certain_price_has_no_logged_density():
    assert (
        played(20, policy=RulesPolicy(OfferPrice().rules, OfferPrice.action))["offers"][v.LOG_PROBABILITY].isna().all()
    )
    table = OfferPrice().play(FIRST, RulesPolicy(OfferPrice().rules, OfferPrice.action), 20, 0)["offers"]
    assert table.column(v.LOG_PROBABILITY).null_count == 200


def test_the_policy_saw_the_freshest_observation_before_its_offer():
    policy = Recording()
    logs = played(300, policy=policy)
    ordered = {log: logs[log].sort_values(v.TIMESTAMP) for log in ("offers", "observations")}
    seen = pd.merge_asof(ordered["offers"], ordered["observations"], on=v.TIMESTAMP, by="player_id")
    seen["player"] = seen["player_id"].str[1:].astype(int)
    seen = seen.sort_values(["player", v.TIMESTAMP])
    for feature in FEATURES:
        assert (seen[feature].to_numpy() == policy.seen[feature]).all()
    observations = len(logs["observations"]) - len(seen)
    assert 0.5 < observations / len(seen) < 0.7  # as many rows would mislead: older ones, and some from the future


def test_purchases_follow_their_offer_or_belong_to_none():
    logs = played(1_000)
    offers = logs["offers"].rename(columns={v.TIMESTAMP: "offered"})
    bought = pd.merge_asof(
        logs["purchases"].sort_values(v.TIMESTAMP),
        offers.sort_values("offered"),
        left_on=v.TIMESTAMP,
        right_on="offered",
        by="player_id",
    )
    delay = bought[v.TIMESTAMP] - bought["offered"]
    taken = delay <= TWENTY_MINUTES
    assert not bought[taken].duplicated(["player_id", "offered"]).any()
    np.testing.assert_array_equal(bought["amount"][taken], np.stack(bought[v.ACTION][taken])[:, 0])
    assert 0.02 < (~taken).sum() / len(offers) < 0.04
    assert (delay[~taken] >= pd.Timedelta("25min")).all()
    assert logs["purchases"][v.TIMESTAMP].between(FIRST.start, FIRST.end, inclusive="left").all()


def test_players_pay_as_much_as_the_model_says():
    revenue = []
    for seed in range(3):
        logs = played(3_000, seed=seed)
        revenue.append(earned(logs)["amount"].to_numpy())
    revenue = np.concatenate(revenue)
    error = revenue.std() / np.sqrt(len(revenue))
    assert revenue.mean() == pytest.approx(OfferPrice().world().random_return / 10, abs=6 * error)  # they come in tens


def earned(logs):
    """The offers, with what was paid for each: 0 if nothing within twenty minutes."""
    purchases, offers = (logs[log].sort_values(v.TIMESTAMP) for log in ("purchases", "offers"))
    first = purchases.assign(at=purchases[v.TIMESTAMP])
    paid = pd.merge_asof(offers, first, on=v.TIMESTAMP, by="player_id", direction="forward", tolerance=TWENTY_MINUTES)
    return paid.fillna({"amount": 0.0})


def test_a_random_day_is_enough_to_learn_from():
    """A logistic regression of the purchase, and the price that it expects the most revenue from."""
    logs = played(OfferPrice.units)
    offers = earned(logs)
    seen = pd.merge_asof(offers, logs["observations"].sort_values(v.TIMESTAMP), on=v.TIMESTAMP, by="player_id")

    def inputs(seen, price):
        country, spender, item = (
            np.eye(len(values))[[values.index(name) for name in np.asarray(seen[feature]).tolist()]]
            for feature, values in CATEGORIES.items()
        )
        lost, minutes = np.asarray(seen["just_lost"])[:, None], np.asarray(seen["minutes_played"]) / 60
        powers = np.stack([minutes**n for n in range(1, 6)], axis=1)
        return np.column_stack([np.log(price), country, spender, item, item * lost, powers, seen["battery"]])

    model = LogisticRegression(C=100.0, max_iter=1_000)
    model.fit(inputs(seen, np.stack(offers[v.ACTION])[:, 0]), offers["amount"] > 0)
    grid, anybody = np.geomspace(0.6, 25, 60), OfferPrice().world().reset(3_000, seed=7)
    revenue = [price * model.predict_proba(inputs(anybody, np.full(3_000, price)))[:, 1] for price in grid]
    learned, median = grid[np.argmax(revenue, axis=0)], medians(anybody)
    best, chosen = (price * willingness.buying(price, median) for price in (willingness.best_price(median), learned))
    chance = OfferPrice().world().random_return / 10
    assert (chosen.mean() - chance) / (best.mean() - chance) > 0.95


# --- through Spark -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_day_becomes_transitions_with_prices(spark, pricing, built):
    pricing.simulate(FIRST, RANDOM, 200, seed=0)
    outcome = built(pricing, FIRST)
    assert (outcome.rejected, outcome.duplicates, outcome.transitions, outcome.open) == (0, 0, 2_000, 0)
    read = Table(f"{pricing.tables}/offer_price/{v.TRAJECTORIES_TABLE}").read(spark, windows=[FIRST.ds]).toPandas()
    read[v.TIMESTAMP] = read[v.TIMESTAMP].dt.tz_localize("UTC")
    logs = played(200)
    expected = earned(logs).set_index(["player_id", v.TIMESTAMP])
    expected = expected.loc[list(zip(read[v.ENV_ID], read[v.TIMESTAMP], strict=True))]
    np.testing.assert_array_equal(np.stack(read[v.ACTION]), np.stack(expected[v.ACTION]))
    np.testing.assert_allclose(read[v.REWARD], expected["amount"], rtol=1e-6)
    assert [row["purchase"] for row in read[v.METRICS]] == (expected["amount"] > 0).astype(float).tolist()
    assert (read[v.END] == v.TERMINATED).sum() == read[v.NEXT_ACTION].isna().sum() == 200
