"""Agents over numbers find known best actions, repeat themselves bit for bit, and every configured number matters."""

import time
from dataclasses import replace

import numpy as np
import pytest

from rlbake.agents import AGENTS
from rlbake.errors import RlbakeError, SpecError
from rlbake.policies.export import export_policy
from rlbake.policies.saved import SavedPolicy
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Continuous, Discrete, Number
from rlbake.training.config import resolve
from rlbake.training.fit import HOLDOUT_LOSS, LOSS, VALUE, fit
from rlbake.training.fitted import read_warm_start

NAMES = ("ddpg", "td3", "sac", "cql_sac")
OBSERVATION = (Number("x", transform="raw"), Number("late", transform="raw"))
PRICE = Continuous([0.0], [10.0], ["price"])
QUICK = {"steps": 1000, "batch_size": 64, "n_step": 1}
QUICK_AGENT = {
    "layers": [32],
    "actor_learning_rate": 0.003,
    "critic_learning_rate": 0.01,
    "weight_decay": 0.0,
    "target_update_tau": 0.02,
    "averaging": 0.99,
}


def config(name, agent=None, gamma=0.0, **changed):
    own = {"temperature_learning_rate": 0.01, "target_entropy": -2.0} if name.endswith("sac") else {}
    return resolve({**QUICK, **changed, "agent": {"name": name, **QUICK_AGENT, **own, **(agent or {})}}, gamma=gamma)


def trained(rows, configured, seed=0, holdout=None, action=PRICE, **kwargs):
    holdout = rows.take(np.arange(0)) if holdout is None else holdout
    return fit(rows, holdout, observation=OBSERVATION, action=action, config=configured, seed=seed, **kwargs)


def chosen(fitted, places):
    """Greedy actions [B, n] at (x, late)."""
    x, late = np.array(places, np.float64).T
    uniform = tf.zeros([len(places), len(fitted.action.names)], tf.float64)
    features = fitted.preprocessing.apply({"x": x, "late": late})
    return fitted.head.choose(features, uniform, tf.constant(False), tf.constant(0.0)).action.numpy()


def best(fitted, places):
    """The one number [B] of them."""
    return chosen(fitted, places)[:, 0]


@pytest.fixture(scope="module")
def priced(transitions):
    """Rows of a world with two features and a price; `discount` 0 where it ends."""

    def build(x, late, price, reward, next_x, next_late, discount):
        rows = transitions(x, np.zeros(len(x)), reward, next_x, discount)
        return replace(
            rows,
            observation={"x": np.asarray(x, np.float32), "late": np.asarray(late, np.float32)},
            next_observation={"x": np.asarray(next_x, np.float32), "late": np.asarray(next_late, np.float32)},
            action=np.asarray(price, np.float32)[:, None],
        )

    return build


@pytest.fixture(scope="module")
def bandit(priced):
    """A price earns 1 - ((p - best) / 5)², give or take 0.5, where the best is 3 at x = 0 and 7 at x = 1."""
    random = np.random.default_rng(0)
    x, price = np.arange(2000) % 2, random.uniform(0, 10, 2000)
    reward = 1 - ((price - 3 - 4 * x) / 5) ** 2 + random.normal(0, 0.5, 2000)
    none = np.zeros(2000)
    return priced(x, none, price, reward, none, none, none)


@pytest.fixture(scope="module")
def investment(priced):
    """What is paid early, p / 10, becomes x of the late decision, which earns 3 x (1 - ((p - 5) / 5)²).

    So the best late price is 5; the best early one is 10 and worth 3 gamma - 1, if gamma is above 1/3, else 0.
    """

    def build(gamma, rows=2000):
        random = np.random.default_rng(1)
        late, price = np.arange(rows) % 2, random.uniform(0, 10, rows)
        x = np.where(late, random.random(rows), 0)
        reward = np.where(late, 3 * x * (1 - ((price - 5) / 5) ** 2), -price / 10)
        return priced(x, late, price, reward, np.where(late, 0, price / 10), 1 - late, np.where(late, 0, gamma))

    return build


@pytest.mark.parametrize("name", NAMES)
def test_the_best_price_of_a_bandit_is_found_through_noise(bandit, name):
    fitted = trained(bandit, config(name))
    np.testing.assert_allclose(best(fitted, [(0, 0), (1, 0)]), [3, 7], atol=0.7)
    assert fitted.metrics[VALUE] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_what_follows_counts_as_much_as_gamma_says(investment, name):
    patient, greedy = (trained(investment(gamma), config(name, gamma=gamma)) for gamma in (0.9, 0.0))
    np.testing.assert_allclose(best(patient, [(1, 1), (0, 0)]), [5, 10], atol=1)
    np.testing.assert_allclose(best(greedy, [(1, 1), (0, 0)]), [5, 0], atol=1)


@pytest.mark.parametrize(("name", "compiled_below"), [*((name, 10**12) for name in NAMES), ("cql_sac", 0)])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(investment, monkeypatch, name, compiled_below):
    monkeypatch.setattr("rlbake.learners.loop._COMPILED_BELOW", compiled_below)
    rows, quick = investment(0.9), config(name, gamma=0.9, steps=60)
    first, other, again = (trained(rows, quick, seed).variables for seed in (3, 4, 3))
    for part, group in first.items():
        for one, two in zip(group, again[part], strict=True):
            np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(first["network"], other["network"], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_training_that_was_cut_ends_as_if_it_had_not_been(investment, name):
    """Draws too are those of the step, not of the process."""
    rows, quick, checkpoints = investment(0.9), config(name, gamma=0.9, steps=150), []
    whole = trained(rows, quick, on_chunk=lambda moment: checkpoints.append(moment()))
    trained(rows, quick, seed=1)
    further = trained(rows, quick, checkpoint=checkpoints[0])
    for one, two in zip(whole.variables["network"], further.variables["network"], strict=True):
        np.testing.assert_array_equal(one, two)


OF_ALL = [
    {"actor_learning_rate": 0.0031},
    {"critic_learning_rate": 0.011},
    {"weight_decay": 0.01},
    {"target_update_period": 2},
    {"target_update_tau": 0.03},
    {"gradient_clipping": 0.01},
    {"averaging": 0.5},
]
OF_ONE = {
    "ddpg": [],
    "td3": [{"policy_delay": 3}, {"policy_noise": 0.3}, {"policy_noise_clip": 0.1}],
    "sac": [{"temperature_learning_rate": 0.02}, {"target_entropy": -1.0}],
    "cql_sac": [{"conservatism": 0.2}],
}


@pytest.mark.parametrize("name", NAMES)
def test_every_hyperparameter_changes_what_is_learned(investment, name):
    rows, places = investment(0.9), [(0.0, 0), (0.5, 1)]
    before = best(trained(rows, config(name, gamma=0.9, steps=30)), places)
    for changed in (*OF_ALL, *OF_ONE[name]):
        after = best(trained(rows, config(name, changed, gamma=0.9, steps=30)), places)
        assert (before != after).any(), changed


@pytest.mark.parametrize("changed", [{"layers": [16]}, {"samples": 2}])
def test_so_do_those_that_change_the_graph(investment, monkeypatch, changed):
    monkeypatch.setattr("rlbake.learners.loop._COMPILED_BELOW", 0)  # tracing alone is faster for so few steps
    before, after = (
        best(trained(investment(0.9), config("cql_sac", agent, gamma=0.9, steps=30)), [(0, 0)])
        for agent in ({}, changed)
    )
    assert (before != after).any()


@pytest.mark.parametrize("name", ["ddpg", "td3"])
def test_exploration_is_what_the_policy_explores_with(bandit, name):
    head = trained(bandit, config(name, {"exploration": 0.3}, steps=1)).head
    uniform = tf.constant([[0.25], [0.75]], tf.float64)
    drawn = [head.choose(tf.zeros([2, 2]), uniform, tf.constant(True), tf.constant(t)).action for t in (0.01, 1.0)]
    narrow, wide = (float(price[1, 0] - price[0, 0]) for price in drawn)
    assert narrow == pytest.approx(2 * 0.6745 * 0.003 * 5, rel=0.01)  # quartiles of a normal distribution
    assert wide > 50 * narrow


@pytest.mark.parametrize(("target", "entropy"), [(-1.0, -1.0), (None, -2.0)])
def test_target_entropy_is_what_the_policy_explores_with(bandit, target, entropy):
    """-log p of what is drawn, on the scale from -1 to 1, is on average the target; by default -2 per number."""
    head = trained(bandit, config("sac", {"target_entropy": target}, steps=2000)).head
    uniform = (tf.range(500, dtype=tf.float64)[:, None] + 0.5) / 500
    explored = head.choose(tf.zeros([500, 2]), uniform, tf.constant(True), tf.constant(0.0))
    assert -np.mean(explored.log_probability) - np.log(5) == pytest.approx(entropy, abs=0.4)


@pytest.mark.slow
def test_several_numbers_are_decided_on_at_once(bandit):
    """A second one, in other bounds, is best at -20 wherever."""
    second = np.random.default_rng(3).uniform(-40, 40, len(bandit))
    rows = replace(
        bandit,
        action=np.stack([bandit.action[:, 0], second], axis=1).astype(np.float32),
        reward=bandit.reward - ((second + 20) / 15) ** 2,
    )
    fitted = trained(rows, config("cql_sac"), action=Continuous([0.0, -40.0], [10.0, 40.0], ["price", "heat"]))
    both = chosen(fitted, [(0, 0), (1, 0)])
    np.testing.assert_allclose(both[:, 0], [3, 7], atol=1.5)
    np.testing.assert_allclose(both[:, 1], -20, atol=8)


def test_conservatism_stays_where_the_logs_have_been(priced):
    """Prices around 3 were tried, and earned the more the higher; nobody knows what far higher ones would."""
    price, none = np.random.default_rng(2).normal(3, 0.7, 2000), np.zeros(2000)
    rows = priced(none, none, price, price / 5, none, none, none)
    bold, careful = (trained(rows, config("cql_sac", {"conservatism": weight})) for weight in (0.0, 1.0))
    assert best(bold, [(0, 0)])[0] > 6
    assert best(careful, [(0, 0)])[0] == pytest.approx(3, abs=1)


@pytest.mark.parametrize("name", NAMES)
def test_the_second_training_does_not_trace_again(bandit, investment, name):
    trained(bandit, config(name, steps=60))
    other = {name: 2 * value for name, value in QUICK_AGENT.items() if name not in ("layers", "averaging")}
    began = time.process_time()
    trained(investment(0.5, rows=640), config(name, {**other, "averaging": 0.5}, gamma=0.5, steps=70), seed=5)
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_policy_decides_the_same(bandit, tmp_path, name):
    fitted = trained(bandit, config(name, steps=100))
    policy = SavedPolicy(export_policy(fitted, tmp_path), "model/1")
    decided = policy.decide({"x": np.array([0.0, 1.0]), "late": np.array([0.0, 0.0])}, np.array([0.2, 0.7]))
    np.testing.assert_allclose(decided.action[:, 0], best(fitted, [(0, 0), (1, 0)]), rtol=1e-6)
    assert decided.action.dtype == np.float32
    assert np.isnan(decided.log_probability).all()
    explored = SavedPolicy(tmp_path, "model/1", explore=True).decide(
        {"x": np.zeros(5000), "late": np.zeros(5000)}, np.random.default_rng(0).random(5000)
    )
    assert ((explored.action >= 0) & (explored.action <= 10)).all()
    order = np.argsort(explored.action[:, 0])
    price, density = explored.action[order, 0], np.exp(explored.log_probability[order])
    assert np.trapezoid(density, price) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_fitted_agent_is_left_alone_by_the_next_training(bandit, name):
    first = trained(bandit, config(name, steps=60))
    before = best(first, [(0, 0), (1, 0)])
    trained(bandit, config(name, steps=70), seed=1)
    np.testing.assert_array_equal(best(first, [(0, 0), (1, 0)]), before)


@pytest.mark.parametrize("name", NAMES)
def test_a_warm_start_goes_on_where_training_stopped(bandit, tmp_path, name):
    trained(bandit, config(name)).save(tmp_path)
    further = trained(bandit, config(name, steps=50), seed=9, warm_start=read_warm_start(tmp_path))
    fresh = trained(bandit, config(name, steps=50), seed=9)
    errors = [np.abs(best(fitted, [(0, 0), (1, 0)]) - [3, 7]).max() for fitted in (further, fresh)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("name", NAMES)
def test_divergence_is_told(bandit, name):
    broken = replace(bandit, reward=np.full(len(bandit), 1e38))
    with pytest.raises(RlbakeError, match=r"diverged within .* loss nan"):
        trained(broken, config(name, {"critic_learning_rate": 1e38}, steps=200), holdout=bandit)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_error_of_the_values(bandit, name):
    """Which noise keeps above its variance, 1/4 per critic; so held-out rows compare with known ones."""
    fitted = trained(bandit, config(name), holdout=bandit.take(np.arange(200)))
    critics = 2 if name == "td3" else 1  # TD3's critics are summed, those of SAC averaged
    for loss in (fitted.metrics[LOSS], fitted.metrics[HOLDOUT_LOSS]):
        assert 0.2 * critics < loss < 0.4 * critics


@pytest.mark.parametrize("name", NAMES)
def test_named_actions_are_refused(walk, name):
    named = Discrete(["stay", "go"])
    with pytest.raises(SpecError, match=f"'{name}' decides on Continuous actions, not on Discrete. These do: .*dqn"):
        fit(walk(0.5), walk(0.5), observation=OBSERVATION, action=named, config=config(name), seed=0)
    assert AGENTS[name].FACTS.actions == (Continuous,)
