"""PPO and REINFORCE learn from what their own policy did, over periods, and refuse what others did."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.agents import AGENTS
from rlbake.dataset.streamed import Streamed
from rlbake.dataset.transitions import Transitions
from rlbake.errors import ConfigError, DataError, SpecError
from rlbake.learners.on_policy import ENTROPY
from rlbake.policies.behaviour import RandomPolicy
from rlbake.policies.export import export_policy
from rlbake.policies.policy import Policy
from rlbake.policies.saved import SavedPolicy
from rlbake.quiet import tensorflow as tf
from rlbake.scenarios.cartpole import CartPole
from rlbake.specs import Action, Continuous, Discrete, MultiDiscrete, Number
from rlbake.training.checkpoint import Checkpoint, read_checkpoint
from rlbake.training.config import resolve
from rlbake.training.fit import STEPS, VALUE, fit
from rlbake.training.fitted import FittedAgent, read_warm_start
from rlbake.training.passes import in_memory, refuse_stale
from rlbake.world import Observations, World

ON_POLICY = [name for name, module in AGENTS.items() if module.FACTS.on_policy]
OBSERVATION = (Number("x"),)
ACTION = Discrete(["left", "right"])
PRICE = Continuous([0.0], [10.0], ["price"])
QUICK = {"layers": [16], "learning_rate": 0.01}
HOUR = np.timedelta64(1, "h")


def config(name, agent=None, gamma=0.9, **changed):
    given = {"batch_size": 64, **changed, "agent": {"name": name, **QUICK, **(agent or {})}}
    return resolve(given, gamma=gamma)


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """Compiling a loop takes longer than the few steps here."""
    monkeypatch.setattr("rlbake.learners.loop._COMPILED_BELOW", 0)


class Walks(NamedTuple):
    """A line of places 0 … 4, entered at 2: who comes to 4 has won 1, who comes to 0 nothing; 6 steps at most."""

    played: int = 300

    def logs(self, policy: Policy, gamma: float, seed: int) -> Transitions:
        random, columns = np.random.default_rng(seed), []
        place, alive = np.full(self.played, 2), np.ones(self.played, bool)
        for step in range(6):
            decided = policy.decide({"x": place.astype(np.float32)}, random.random(self.played))
            following = place + 2 * decided.action - 1
            ended, cut = (following % 4 == 0), np.full(self.played, step == 5)
            row = [
                np.arange(self.played), np.full(self.played, step), place, decided.action, decided.log_probability,
                following == 4, following, np.where(ended, v.TERMINATED, np.where(cut, v.TRUNCATED, v.NOT_ENDED)),
            ]  # fmt: skip
            columns.append([column[alive] for column in row])
            place, alive = following, alive & ~ended
        walk, step, place, action, log_probability, reward, following, end = map(
            np.concatenate, zip(*columns, strict=True)
        )
        order = np.lexsort((step, walk))
        start = np.datetime64("2026-01-01", "us")
        rows = Transitions(
            env_id=walk.astype(str).astype(object),
            timestamp=start + step * HOUR,
            next_timestamp=start + (step + 1) * HOUR,
            step_type=np.where(step == 0, v.FIRST, v.MID).astype(np.int32),
            end=end.astype(object),
            observation={"x": place.astype(np.float32)},
            action=action.astype(np.int32),
            log_probability=log_probability.astype(np.float32),
            reward=reward.astype(np.float64),
            discount=np.where(end == v.TERMINATED, 0.0, gamma),
            next_observation={"x": following.astype(np.float32)},
            next_action_mask=None,
            episode=np.full(len(walk), start),
        )
        return rows.take(order)


def one_decision(action, log_probability, reward, x=None, mask=None):
    """Episodes of a single decision."""
    rows = len(reward)
    start, x = np.datetime64("2026-01-01", "us"), np.zeros(rows) if x is None else x
    return Transitions(
        env_id=np.arange(rows).astype(str).astype(object),
        timestamp=np.full(rows, start),
        next_timestamp=np.full(rows, np.datetime64("NaT", "us")),
        step_type=np.full(rows, v.FIRST, np.int32),
        end=np.full(rows, v.TERMINATED, object),
        observation={"x": np.asarray(x, np.float32)},
        action=action,
        log_probability=log_probability,
        reward=np.asarray(reward, np.float64),
        discount=np.zeros(rows),
        next_observation={"x": np.asarray(x, np.float32)},
        next_action_mask=mask,
        action_mask=mask,
        episode=np.full(rows, start),
    )


def trained(training, configured, action: Action = ACTION, seed=0, **kwargs) -> FittedAgent:
    nobody = training.take(np.arange(0))
    given = {"observation": OBSERVATION, "action": action, "config": configured, "seed": seed} | kwargs
    return fit(training, given.pop("holdout", nobody), **given)


def saved(fitted, folder) -> SavedPolicy:
    export_policy(fitted, folder)
    return SavedPolicy(folder, "it", explore=True)


def chances(fitted, x, actions=2):
    features = fitted.preprocessing.apply({"x": np.asarray(x, np.float32)})
    mask = tf.ones([len(x), actions], tf.bool)
    return fitted.head.prefer(features, mask, tf.constant(True), tf.constant(0.0)).probabilities.numpy()


@pytest.fixture(scope="module")
def random_walks():
    return Walks().logs(RandomPolicy(ACTION), 0.9, 0)


@pytest.mark.parametrize("name", ON_POLICY)
def test_over_periods_the_return_grows(name, tmp_path):
    """Half of the random walks that end win; the value of the start is γ when going straight to the right."""
    policy: Policy = RandomPolicy(ACTION)
    won, warm = [], None
    for period in range(5):
        logs = Walks().logs(policy, 0.9, period)
        won.append(logs.reward.sum() / 300)
        fitted = trained(logs, config(name), seed=period, warm_start=warm)
        policy, warm = saved(fitted, tmp_path / str(period)), read_warm_start(tmp_path / str(period))
    assert won[0] < 0.55
    assert won[-1] > 0.9
    assert won[-1] >= won[1] > won[0]
    assert (chances(fitted, [1, 2, 3])[:, 1] > 0.8).all()


@pytest.mark.parametrize("name", ON_POLICY)
def test_the_start_is_uniform_over_what_is_allowed(name):
    action = Discrete(["a", "b", "c"])
    made = AGENTS[name].learner(AGENTS[name].Config(layers=(8,)), size=1, action=action, masked=True)
    made.start(AGENTS[name].Config(layers=(8,)), 1)
    mask = tf.constant([[True, True, True], [True, False, True]])
    found = made.head().prefer(tf.constant([[0.3], [7.0]]), mask, tf.constant(True), tf.constant(0.0)).probabilities
    np.testing.assert_allclose(found, [[1 / 3] * 3, [0.5, 0, 0.5]], atol=1e-7)


@pytest.mark.parametrize("name", ON_POLICY)
def test_the_start_over_numbers_is_as_good_as_uniform(name):
    random = np.random.default_rng(0)
    decided = RandomPolicy(PRICE).decide({}, random.random(2000))
    logs = one_decision(decided.action, decided.log_probability, np.zeros(2000))
    assert trained(logs, config(name, {"epochs": 1}), PRICE).metrics[STEPS] > 0


@pytest.mark.parametrize("name", ON_POLICY)
def test_numbers_over_periods(name, tmp_path):
    """A price earns less the further it is from 7."""
    policy: Policy = RandomPolicy(PRICE)
    earned, warm, random = [], None, np.random.default_rng(0)
    for period in range(6):
        decided = policy.decide({"x": np.zeros(1500)}, random.random(1500))
        reward = -np.abs(decided.action[:, 0] - 7)
        earned.append(reward.mean())
        logs = one_decision(decided.action, decided.log_probability, reward)
        fitted = trained(logs, config(name, {"entropy": 0.0}), PRICE, seed=period, warm_start=warm)
        policy, warm = saved(fitted, tmp_path / str(period)), read_warm_start(tmp_path / str(period))
    assert earned[0] < -2.5
    assert earned[-1] > -1.5
    greedy = SavedPolicy(tmp_path / "5", "it", explore=False).decide({"x": np.zeros(1)}, np.zeros(1))
    assert greedy.action[0, 0] == pytest.approx(7, abs=1)


@pytest.mark.parametrize("name", ON_POLICY)
def test_what_was_cut_off_counts_on_and_what_ended_does_not(name, random_walks):
    """Of walks that are cut after every step, nothing but the value of where they led tells who will win."""
    cut = replace(
        random_walks,
        end=np.where(random_walks.end == v.TERMINATED, v.TERMINATED, v.TRUNCATED).astype(object),
    )
    lost = replace(cut, discount=np.zeros(len(cut)))
    valued = {"epochs": 1, "value_epochs": 30, "learning_rate": 0.003}
    further, ended = (trained(rows, config(name, valued)) for rows in (cut, lost))
    assert ended.metrics[VALUE] == pytest.approx(cut.reward.mean(), abs=0.04)
    assert further.metrics[VALUE] > 2 * cut.reward.mean()


@pytest.mark.parametrize("name", ON_POLICY)
def test_a_gap_in_an_episode_is_bridged_by_the_value(name, random_walks):
    """Rows that are missing end the chain; they are no end of the world."""
    kept = random_walks.take(np.flatnonzero(random_walks.observation["x"] != 3))
    assert np.isfinite(trained(kept, config(name)).metrics[VALUE])


@pytest.mark.parametrize("name", ON_POLICY)
def test_masked_actions_are_never_chosen(name):
    random, rows = np.random.default_rng(0), 1000
    mask = np.ones((rows, 3), bool)
    mask[::2, 2] = False
    decided = RandomPolicy(Discrete(["a", "b", "c"])).decide({}, random.random(rows), mask)
    earned = np.array([0.0, 1.0, 5.0])[decided.action]
    logs = one_decision(decided.action, decided.log_probability, earned, mask=mask)
    fitted = trained(logs, config(name), Discrete(["a", "b", "c"]))
    features = fitted.preprocessing.apply({"x": np.zeros(2, np.float32)})
    allowed = tf.constant([[True, True, False], [True, True, True]])
    found = fitted.head.prefer(features, allowed, tf.constant(True), tf.constant(0.0)).probabilities.numpy()
    assert found[0, 2] == 0
    assert found[1].argmax() == 2
    assert found[0].argmax() == 1


def test_logs_of_the_next_version_are_its_own_and_older_ones_are_stale(random_walks, tmp_path):
    fitted = trained(random_walks, config("ppo", {"epochs": 30}))
    policy = saved(fitted, tmp_path)
    warm = read_warm_start(tmp_path)
    with pytest.raises(DataError, match=r"stale.*worth only \d+%.*warm_start=models:.*double_dqn"):
        trained(random_walks, config("ppo"), warm_start=warm)
    trained(Walks().logs(policy, 0.9, 1), config("ppo"), warm_start=warm)
    with pytest.raises(DataError, match="stale"):
        trained(Walks().logs(policy, 0.9, 1), config("ppo"))


def test_decisions_of_unknown_probability_are_refused(random_walks):
    unknown = replace(random_walks, log_probability=np.where(np.arange(len(random_walks)) < 3, np.nan, np.log(0.5)))
    with pytest.raises(DataError, match=r"3 of .*log_probability is missing"):
        trained(unknown, config("ppo"))


def test_certain_decisions_are_not_an_open_policys_own():
    """Where rules decided, every weight is the same: Kish's effective sample size alone would let them pass."""
    with pytest.raises(DataError, match="stale"):
        refuse_stale(np.zeros(100), np.full(100, np.log(0.5)))
    refuse_stale(np.full(100, np.log(0.5)), np.full(100, np.log(0.5)))
    with pytest.raises(DataError, match="worth only 0%"):
        refuse_stale(np.full(100, -700.0), np.zeros(100))


def test_rows_that_do_not_fit_in_memory_are_refused(tmp_path):
    streamed = Streamed(tmp_path, (), (), None, 2_000_000_000, np.datetime64("NaT"), (False, False))
    with pytest.raises(ConfigError, match=r"2GB.*on-policy.*memory"):
        in_memory(streamed)


@pytest.mark.parametrize("name", ON_POLICY)
@pytest.mark.parametrize("unread", [{"steps": 100}, {"recency_half_life": "1d"}, {"n_step": 3}])
def test_what_does_not_apply_is_refused(name, unread):
    with pytest.raises(ConfigError, match=next(iter(unread))):
        config(name, **unread)


@pytest.mark.parametrize("name", ON_POLICY)
def test_rows_without_episodes_are_refused(name, random_walks):
    with pytest.raises(DataError, match="episodes"):
        trained(replace(random_walks, episode=None), config(name))


CHANGES = (
    {"epochs": 3},
    {"value_epochs": 3},
    {"layers": [17]},
    {"learning_rate": 0.011},
    {"trace": 0.5},
    {"entropy": 0.1},
    {"closeness": 0.9999},
)


@pytest.mark.parametrize(
    ("name", "changed"),
    [*((name, changed) for name in ON_POLICY for changed in CHANGES), ("ppo", {"clipping": 0.05})],
)
def test_every_number_changes_the_policy(name, changed, random_walks):
    basis = {"epochs": 2, "closeness": 0.0}
    before, after = (trained(random_walks, config(name, {**basis, **agent})) for agent in ({}, changed))
    assert (chances(before, [2]) != chances(after, [2])).any()


@pytest.mark.parametrize("name", ON_POLICY)
def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_nothing_is_traced_again(name, random_walks):
    configured = config(name, {"epochs": 2})
    first, other = (trained(random_walks, configured, seed=seed) for seed in (3, 4))
    made = AGENTS[name].learner(configured.agent, size=1, action=ACTION, masked=False)
    trained(random_walks.take(np.arange(600)), configured)  # so that the number of rows is known to vary
    traces = made.loop._chunk.experimental_get_tracing_count()
    again = trained(random_walks, configured, seed=3)
    trained(random_walks.take(np.arange(500)), config(name, {"learning_rate": 0.1, "entropy": 0.3, "trace": 0.2}))
    assert made.loop._chunk.experimental_get_tracing_count() == traces
    for part, group in first.variables.items():
        for one, two in zip(group, again.variables[part], strict=True):
            np.testing.assert_array_equal(one, two)
    assert any((a != b).any() for a, b in zip(first.variables["network"], other.variables["network"], strict=True))


@pytest.mark.parametrize("name", ON_POLICY)
def test_a_training_that_was_cut_short_ends_as_if_it_had_not_been(name, random_walks, tmp_path):
    configured = config(name, {"epochs": 7})
    moments: list[Checkpoint] = []
    undisturbed = trained(random_walks, configured, on_chunk=lambda moment: moments.append(moment()))
    assert len(moments) > 1
    moments[0].write(tmp_path / "cut.npz")
    continued = trained(random_walks, configured, checkpoint=read_checkpoint(tmp_path / "cut.npz"))
    for part, group in undisturbed.variables.items():
        for one, two in zip(group, continued.variables[part], strict=True):
            np.testing.assert_array_equal(one, two)


def test_what_is_reported(random_walks):
    holdout = Walks(played=50).logs(RandomPolicy(ACTION), 0.9, 9)
    fitted = trained(random_walks, config("ppo", {"epochs": 3}), holdout=holdout)
    assert 0 < fitted.metrics[ENTROPY] < np.log(2)
    assert fitted.metrics[STEPS] == 3 * -(-len(random_walks) // 64)
    assert 0.2 < fitted.metrics[VALUE] < 0.8


def test_actions_must_be_of_a_kind_that_can_be_drawn(random_walks):
    with pytest.raises(SpecError, match="combinations"):
        trained(random_walks, config("ppo"), MultiDiscrete({f"set{i}": [str(j) for j in range(20)] for i in range(4)}))


def played(world: World, policy: Policy, carts: int, seed: int, gamma: float) -> tuple[Transitions, float]:
    """Episodes that a policy plays side by side, and their mean length."""
    random, columns = np.random.default_rng(seed), []
    observed: Observations = world.reset(carts, seed)
    alive, start = np.ones(carts, bool), np.datetime64("2026-01-01", "us")
    for second in range(world.horizon):
        decided = policy.decide(observed, random.random(carts))
        step = world.step(decided.action)
        end = np.where(step.terminated, v.TERMINATED, np.where(step.truncated, v.TRUNCATED, v.NOT_ENDED))
        row = [
            np.arange(carts), np.full(carts, second), decided.action, decided.log_probability, end,
            *observed.values(), *step.observations.values(),
        ]  # fmt: skip
        columns.append([column[alive] for column in row])
        observed, alive = step.observations, alive & ~(step.terminated | step.truncated)
    cart, second, action, log_probability, end, *states = map(np.concatenate, zip(*columns, strict=True))
    names, time = list(observed), start + second * np.timedelta64(1, "s")
    rows = Transitions(
        env_id=cart.astype(str).astype(object),
        timestamp=time,
        next_timestamp=time + np.timedelta64(1, "s"),
        step_type=np.where(second == 0, v.FIRST, v.MID).astype(np.int32),
        end=end.astype(object),
        observation=dict(zip(names, states[:4], strict=True)),
        action=action.astype(np.int32),
        log_probability=log_probability.astype(np.float32),
        reward=np.ones(len(cart)),
        discount=np.where(end == v.TERMINATED, 0.0, gamma),
        next_observation=dict(zip(names, states[4:], strict=True)),
        next_action_mask=None,
        episode=np.full(len(cart), start),
    )
    return rows.take(np.lexsort((second, cart))), len(cart) / carts


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_POLICY)
def test_the_loop_balances_the_pole(name, tmp_path):
    """Logs by the current version, then an update from them, at default settings: the loop that rlbake is for."""
    policy: Policy = RandomPolicy(CartPole.action)
    lengths, warm, world = [], None, CartPole().world()
    for period in range(4):
        logs, length = played(world, policy, 200, period, CartPole.gamma)
        lengths.append(length)
        configured = resolve({"agent": name}, gamma=CartPole.gamma)
        fitted = trained(
            logs, configured, CartPole.action, seed=period, warm_start=warm, observation=CartPole.observation
        )
        policy, warm = saved(fitted, tmp_path / str(period)), read_warm_start(tmp_path / str(period))
    greedy = SavedPolicy(tmp_path / "3", "it", explore=False)
    assert lengths[0] < 30
    assert lengths[-1] > 80
    assert played(world, greedy, 100, 99, CartPole.gamma)[1] > 120
