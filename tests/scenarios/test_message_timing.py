"""Message timing: a best that is reached, logs as messy as real ones, and a join that untangles them."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbake import vocabulary as v
from rlbake.evaluation.simulated import simulate
from rlbake.policies.behaviour import RandomPolicy, RulesPolicy
from rlbake.scenarios import daily_rhythm as rhythm
from rlbake.scenarios.message_timing import MessageTiming
from rlbake.warehouse.table import Table

FIRST = MessageTiming.cadence.window("2026-01-01")
SATURDAY = MessageTiming.cadence.window("2026-01-03")
FEATURES = [feature.name for feature in MessageTiming.observation]
RANDOM = RandomPolicy(MessageTiming.action)
RULES = RulesPolicy(MessageTiming().rules, MessageTiming.action)
DAY = pd.Timedelta("24h")


def bayes(observations):
    """The action of the largest exact value, looked up by what is seen."""
    tables = np.stack([rhythm.values(MessageTiming.reward, weekend).argmax(axis=-1) for weekend in (False, True)])
    names = (rhythm.COUNTRIES, rhythm.AGE_BANDS, rhythm.PLATFORMS, rhythm.CLOCK)
    indices = [
        np.array([values.index(seen) for seen in observations[feature].tolist()])
        for feature, values in zip(FEATURES[:4], names, strict=True)
    ]
    return tables[observations[rhythm.IS_WEEKEND].astype(int), *indices].astype(np.int32)


class Recording:
    """Decides at random and keeps what it was shown."""

    version = "random"

    def decide(self, observations, noise, action_mask=None):
        self.seen, self.decided = observations, RANDOM.decide(observations, noise, action_mask)
        return self.decided


@pytest.fixture
def timing(tmp_path):
    application = MessageTiming()
    application.tables = str(tmp_path / "tables")
    return application


def played(window, units, seed=0, policy=RANDOM):
    return {log: rows.to_pandas() for log, rows in MessageTiming().play(window, policy, units, seed).items()}


# --- the world -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "known"),
    [(RulesPolicy(bayes, MessageTiming.action), "best"), (RANDOM, "random")],
    ids=["best", "random"],
)
def test_best_and_random_are_what_those_policies_earn(policy, known):
    earned = simulate(MessageTiming().world(), policy, reward=MessageTiming.reward, episodes=60_000, seed=5)
    error = earned.returns.std() / np.sqrt(60_000)
    assert abs(earned.mean - getattr(earned, known)) < 4 * error
    assert error < 0.006


def test_a_week_is_five_weekdays_and_a_weekend():
    world = MessageTiming().world()
    weekend = [world.reset(3, seed=0)[rhythm.IS_WEEKEND]]
    ends = []
    for _ in range(world.horizon):
        step = world.step(np.zeros(3, int))
        weekend.append(step.observations[rhythm.IS_WEEKEND])
        ends.append(step.truncated.tolist())
        assert not step.terminated.any()
    assert [bool(w.all()) for w in weekend[:7]] == [False] * 5 + [True] * 2
    assert ends == [[False] * 3] * 6 + [[True] * 3]
    assert all((values == 0).all() for values in world.step(np.zeros(3, int)).metrics.values())


def test_the_world_shows_what_the_specs_say():
    seen = MessageTiming().world().reset(2_000, seed=0)
    assert list(seen) == FEATURES
    for feature in MessageTiming.observation[:4]:
        assert set(seen[feature.name]) == set(feature.values)
    assert seen[rhythm.IS_WEEKEND].dtype == bool
    assert seen[rhythm.DAYS_SINCE_INSTALL].dtype == np.float32
    assert (seen[rhythm.DAYS_SINCE_INSTALL] >= 0).all()


def test_the_rules_are_six_in_the_evening():
    seen = {rhythm.COUNTRY: np.array(["GB", "JP", "US", "NZ", "GB"])}
    assert MessageTiming().rules(seen).tolist() == [18, 9, 23, 6, 18]


# --- the logs ------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), day=st.integers(0, 1000), units=st.integers(1, 40))
def test_a_window_is_a_function_of_its_arguments(seed, day, units):
    window = MessageTiming.cadence.following(FIRST, day)
    once, again = (MessageTiming().play(window, RANDOM, units, seed) for _ in range(2))
    assert all(once[log].equals(again[log]) for log in once)
    other = MessageTiming().play(window, RANDOM, units, seed + 1)
    assert not once["observations"].equals(other["observations"])


def test_one_decision_per_player_and_day():
    decisions = played(SATURDAY, 500)["decisions"]
    assert decisions["player_id"].nunique() == len(decisions) == 500
    assert decisions[v.TIMESTAMP].between(SATURDAY.start, SATURDAY.end, inclusive="left").all()
    assert decisions[v.TIMESTAMP].is_monotonic_increasing
    np.testing.assert_allclose(np.exp(decisions[v.LOG_PROBABILITY]), 1 / 24, rtol=1e-6)
    assert set(decisions[v.POLICY_VERSION]) == {"random"}
    assert set(decisions[v.ACTION]) == set(rhythm.CLOCK)


def test_the_policy_saw_the_freshest_observation_before_its_decision():
    policy = Recording()
    logs = played(SATURDAY, 2_000, policy=policy)
    joined = logs["observations"].merge(logs["decisions"], on="player_id", suffixes=("", "_decided"))
    before = joined[joined[v.TIMESTAMP] <= joined["timestamp_decided"]].sort_values(v.TIMESTAMP)
    assert (before["timestamp_decided"] - before[v.TIMESTAMP]).max() <= pd.Timedelta("12h")
    freshest = before.groupby("player_id").last()
    slots = freshest.index.str.extract(r"p(\d+)-")[0].astype(int).to_numpy()
    for feature in FEATURES:
        assert (freshest[feature].to_numpy() == policy.seen[feature][slots]).all()
    stalest = before.groupby("player_id").first()
    assert (stalest["usual_hour"] != freshest["usual_hour"]).mean() > 0.3  # an older row would mislead
    after = joined[joined[v.TIMESTAMP] > joined["timestamp_decided"]]
    assert len(after) > 500  # and so would one from the future


def test_outcomes_follow_their_decision_and_precede_the_next():
    policy = Recording()
    logs = played(SATURDAY, 5_000, policy=policy)
    events = logs["outcomes"].merge(logs["decisions"], on="player_id", suffixes=("", "_decided"))
    assert len(events) == len(logs["outcomes"])
    delay = events[v.TIMESTAMP] - events["timestamp_decided"]
    assert (delay > pd.Timedelta(0)).all()
    assert (delay < DAY).all()
    assert set(events["event"]) == {"click", "unsubscribe", "uninstall"}
    assert not events.duplicated(["player_id", "event"]).any()
    past_midnight = events[v.TIMESTAMP] >= SATURDAY.end
    assert 0.2 < past_midnight.mean() < 0.8
    clicks = events[events["event"] == "click"]
    sent_at_once = clicks["timestamp_decided"].dt.strftime("%H:00") == clicks[v.ACTION]
    since_full_hour = clicks[v.TIMESTAMP] - clicks[v.TIMESTAMP].dt.floor("h")
    assert (clicks[v.TIMESTAMP].dt.strftime("%H:00") == clicks[v.ACTION])[~sent_at_once].all()
    assert (since_full_hour[~sent_at_once] <= pd.Timedelta("50min")).all()


def test_players_click_as_often_as_the_model_says():
    clicks = sum((played(SATURDAY, 20_000, seed)["outcomes"]["event"] == "click").sum() for seed in range(3))
    expected = rhythm.values({"click": 1.0}, weekend=True).mean(axis=-1).sum()
    assert clicks / 60_000 == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 60_000))


def test_players_keep_their_features_until_they_leave_and_are_replaced():
    days = [MessageTiming.cadence.following(FIRST, n) for n in range(40)]
    players, gone = [], []
    for day in days:
        logs = played(day, 60)
        seen = logs["observations"].groupby("player_id")[["country", "platform", "days_since_install"]].last()
        players.append(seen)
        gone.append(set(logs["outcomes"].query("event == 'uninstall'")["player_id"]))
    left = 0
    for today, tomorrow, leaving in zip(players, players[1:], gone, strict=False):
        assert set(today.index) - set(tomorrow.index) == leaving
        stayed = today.loc[today.index.isin(tomorrow.index)]
        assert (tomorrow.loc[stayed.index, ["country", "platform"]] == stayed[["country", "platform"]]).all(axis=None)
        assert (tomorrow.loc[stayed.index, "days_since_install"] == stayed["days_since_install"] + 1).all()
        new = tomorrow.loc[~tomorrow.index.isin(today.index), "days_since_install"]
        assert len(new) == len(leaving)
        assert (new == 0).all()
        left += len(leaving)
    assert 10 < left < 100  # of 60 places in 39 nights, a stay being 67 days on average


def test_nobody_stays_or_leaves_because_of_a_message():
    for day in (FIRST, SATURDAY):
        at_random, by_rule = (played(day, 3_000, policy=policy)["outcomes"] for policy in (RANDOM, RULES))
        left = [set(outcomes.query("event == 'uninstall'")["player_id"]) for outcomes in (at_random, by_rule)]
        assert left[0] == left[1]
        assert left[0]


# --- through Spark -------------------------------------------------------------------------


def expected_timesteps(logs):
    """The as-of join and the attribution, one decision at a time."""
    by_player = {log: dict(list(logs[log].groupby("player_id"))) for log in ("observations", "outcomes")}
    nothing = logs["outcomes"].iloc[:0]
    for decision in logs["decisions"].to_dict("records"):
        player, at = decision["player_id"], decision[v.TIMESTAMP]
        seen = by_player["observations"][player]
        freshest = seen[seen[v.TIMESTAMP] <= at].sort_values(v.TIMESTAMP).iloc[-1]
        events = by_player["outcomes"].get(player, nothing)
        events = events[(events[v.TIMESTAMP] >= at) & (events[v.TIMESTAMP] <= at + DAY)]["event"].tolist()
        yield {
            **decision,
            **{feature: freshest[feature] for feature in FEATURES},
            **{metric: float(events.count(metric)) for metric in MessageTiming.metrics},
            v.END: v.TERMINATED if "uninstall" in events else v.NOT_ENDED,
        }


def test_timesteps_are_what_was_simulated(spark, timing):
    sunday = MessageTiming.cadence.following(SATURDAY)
    for window in (SATURDAY, sunday):
        timing.simulate(window, RANDOM, 1_500, seed=0)
    for window in (SATURDAY, sunday):
        read = timing.timesteps(spark, window).toPandas().sort_values("player_id", ignore_index=True)
        expected = pd.DataFrame(expected_timesteps(played(window, 1_500))).sort_values("player_id", ignore_index=True)
        assert set(read.columns) == set(expected.columns)
        read[v.TIMESTAMP] = read[v.TIMESTAMP].dt.tz_localize("UTC")
        pd.testing.assert_frame_equal(read[expected.columns], expected, check_dtype=False)
        assert (expected[v.END] == v.TERMINATED).any()
        assert expected["click"].sum() > 100


def test_decisions_wait_for_tomorrow_unless_their_player_left(spark, timing, built):
    sunday = MessageTiming.cadence.following(SATURDAY)
    for window in (SATURDAY, sunday):
        timing.simulate(window, RANDOM, 400, seed=0)
    left = [(played(window, 400)["outcomes"]["event"] == "uninstall").sum() for window in (SATURDAY, sunday)]
    first, second = (built(timing, window) for window in (SATURDAY, sunday))
    assert (first.transitions, first.open) == (left[0], 400 - left[0])
    assert (second.transitions, second.open) == (400 - left[0] + left[1], 400 - left[1])
    table = Table(f"{timing.tables}/message_timing/{v.TRAJECTORIES_TABLE}")
    rows = table.read(spark, windows=[sunday.ds]).toPandas()
    crossing = rows[rows[v.END] == v.NOT_ENDED]
    assert (crossing[v.TIMESTAMP] < pd.Timestamp(sunday.ds)).all()
    assert (crossing[v.TIME_GAP] == 86400).all()
    assert (rows[v.END] == v.TERMINATED).sum() == left[1]


def test_population_is_who_stays_as_of_tomorrow(spark, timing):
    friday = MessageTiming.cadence.window("2026-01-02")
    timing.simulate(friday, RANDOM, 800, seed=0)
    population = timing.population(spark, friday).toPandas().set_index("player_id")
    logs = played(friday, 800)
    gone = set(logs["outcomes"].query("event == 'uninstall'")["player_id"])
    last = logs["observations"].sort_values(v.TIMESTAMP).groupby("player_id")[FEATURES].last()
    assert set(population.index) == set(last.index) - gone
    assert list(population.columns) == FEATURES
    expected = last.loc[population.index]
    assert (population["usual_hour"] == expected["usual_hour"]).all()
    assert population["is_weekend"].all()  # tomorrow is Saturday
    assert not expected["is_weekend"].any()
    assert (population["days_since_install"] == expected["days_since_install"] + 1).all()
    tomorrow = set(played(SATURDAY, 800)["decisions"]["player_id"])
    assert set(population.index) <= tomorrow
    assert SATURDAY.start - friday.start == timedelta(days=1)
