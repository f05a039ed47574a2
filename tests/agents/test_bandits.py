"""Bandits learn what decisions earn: linear ones exactly, neural ones by gradient steps."""

import time
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tf_agents.bandits.agents.neural_linucb_agent import NeuralLinUCBAgent
from tf_agents.networks.sequential import Sequential
from tf_agents.specs.tensor_spec import BoundedTensorSpec
from tf_agents.trajectories import time_step

from rlbake.agents import AGENTS, lin_ucb, linear_thompson
from rlbake.dataset.reading import read
from rlbake.dataset.streamed import Streamed
from rlbake.errors import ConfigError, DataError
from rlbake.learners import linear_bandit
from rlbake.learners.linear_bandit import LinearModel
from rlbake.learners.loop import Part, Rows
from rlbake.policies.export import export_policy
from rlbake.policies.saved import SavedPolicy
from rlbake.scenarios.cartpole import CartPole
from rlbake.specs import Discrete, MultiDiscrete
from rlbake.training.config import nested_config, resolve
from rlbake.training.fit import HOLDOUT_LOSS, LOSS, SPEED, STEPS, VALUE, fit
from rlbake.training.fitted import read_warm_start
from tests.agents.conftest import ACTION, OBSERVATION
from tests.agents.test_cartpole import random_pushes
from tests.agents.test_streamed import SCARCE, as_table, reading

LINEAR = ["lin_ucb", "linear_thompson"]
NEURAL = ["neural_epsilon_greedy", "neural_linucb"]
BANDITS = [*LINEAR, *NEURAL]
QUICK = {"steps": 300, "batch_size": 64}
QUICK_LINUCB = {"tikhonov_weight": 1.0}
QUICK_AGENT = {"layers": [16], "learning_rate": 0.02, "averaging": 0.9, "weight_decay": 0.0}
PLACES = {"x": np.array([-1.0, 0.0, 1.0])}
SIZE, ARMS = 3, 4
COLD = tf.constant(0.0)


@pytest.fixture(autouse=True)
def _quickly_traced(monkeypatch):
    monkeypatch.setattr("rlbake.learners.loop._COMPILED_BELOW", 0)


@pytest.fixture(scope="module")
def world(transitions):
    """Staying earns 0.3 - x / 2 and going |x|, with noise."""
    random = np.random.default_rng(0)
    x, action = random.normal(size=1500), random.integers(0, 2, 1500)
    earned = np.where(action == 1, np.abs(x), 0.3 - x / 2) + 0.1 * random.normal(size=1500)
    return transitions(x, action, earned, x, np.zeros(1500))


def config(name, agent=None, **changed):
    neural = name in NEURAL
    quick = {**(QUICK_AGENT if neural else {}), **(QUICK_LINUCB if name == "neural_linucb" else {})}
    own = {"name": name, **quick, **(agent or {})}
    return resolve({**(QUICK if neural else {}), **changed, "agent": own}, gamma=0.0)


def trained(training, configured, seed=0, holdout=None, action=ACTION, **kwargs):
    holdout = training.take(np.arange(0)) if holdout is None else holdout
    return fit(training, holdout, observation=OBSERVATION, action=action, config=configured, seed=seed, **kwargs)


def values(fitted):
    return fitted.values(fitted.preprocessing.apply(PLACES)).numpy()


def preferred(fitted, mask=None, explore=True, temperature=0.0):
    features = tf.constant(fitted.preprocessing.apply(PLACES))
    actions = fitted.values(features).shape[1]
    mask = tf.ones([3, actions], tf.bool) if mask is None else tf.constant(mask)
    return fitted.head.prefer(features, mask, tf.constant(explore), tf.constant(temperature)).probabilities.numpy()


def drawn_rows(rows=500, seed=1):
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, SIZE)).astype(np.float32)
    action = random.integers(0, ARMS - 1, rows).astype(np.int32)  # the last is never tried
    reward = (features @ random.normal(size=(SIZE, ARMS)))[np.arange(rows), action] + 0.5 + random.normal(size=rows)
    none = tf.zeros([rows, 0], tf.bool)
    earned = tf.constant(reward, tf.float32)
    return Rows(tf.constant(features), none, tf.constant(action), earned, tf.zeros(rows), tf.constant(features), none)


def ridge(rows, arm, penalty, weight=None):
    """(A + λI)⁻¹ and θ of an action, by the book."""
    chosen = rows.action.numpy() == arm
    x = np.column_stack([rows.features.numpy(), np.ones(len(chosen))]).astype(np.float64)[chosen]
    w = np.ones(len(x)) if weight is None else weight[chosen]
    inverse = np.linalg.inv(x.T @ (w[:, None] * x) + penalty * np.eye(SIZE + 1))
    return inverse, inverse @ x.T @ (w * rows.reward.numpy()[chosen])


def learned(module, rows, weight=None, **changed):
    configured = module.Config(**changed)
    made = module.learner(configured, size=SIZE, action=Discrete(list("abcd")), masked=False)
    made.start(configured, 5)
    made.sum_up([Part(rows, None if weight is None else tf.constant(weight))])
    return made


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("module", [lin_ucb, linear_thompson])
def test_estimates_are_ridge_regressions(module, weighted):
    rows = drawn_rows()
    weight = np.random.default_rng(2).random(500) if weighted else None
    made = learned(module, rows, weight, tikhonov_weight=0.7)
    mean, root = made.model.posterior()
    for arm in range(ARMS):
        inverse, theta = ridge(rows, arm, 0.7, weight)
        np.testing.assert_allclose(root[arm].T @ root[arm], inverse, rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(mean[arm], theta, rtol=1e-5, atol=1e-12)
    expected = np.column_stack([rows.features.numpy(), np.ones(500)]) @ mean.T
    np.testing.assert_allclose(made.head().values(rows.features), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made.value(rows.features), expected.max(axis=1), rtol=1e-5, atol=1e-5)
    assert made.variables()["rows"][0] == (rows.action.numpy() == 0).sum()


def test_features_that_say_the_same_are_solved_for_too():
    """A sum of exclusive features that is always 1, like the constant, as of a Category."""
    rows = drawn_rows(3000)
    one_hot = np.eye(SIZE, dtype=np.float32)[np.random.default_rng(0).integers(0, SIZE, 3000)]
    rows = rows._replace(features=tf.constant(one_hot))
    mean, _ = learned(lin_ucb, rows, tikhonov_weight=1e-3).model.posterior()
    for arm in range(ARMS - 1):
        np.testing.assert_allclose(mean[arm], ridge(rows, arm, 1e-3)[1], rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 3.0])
def test_upper_confidence_bounds(alpha):
    rows, seen = drawn_rows(60), drawn_rows(400, seed=9).features
    made = learned(lin_ucb, rows, alpha=alpha, epsilon=0.0)
    x = np.column_stack([seen.numpy(), np.ones(400)])
    solved = [ridge(rows, arm, 1.0) for arm in range(ARMS)]
    bounds = [x @ theta + alpha * np.sqrt(np.einsum("bi,ij,bj->b", x, inverse, x)) for inverse, theta in solved]
    everything = tf.ones([400, ARMS], tf.bool)
    chosen = made.head().prefer(seen, everything, tf.constant(True), COLD).probabilities.numpy()
    np.testing.assert_array_equal(chosen, np.eye(ARMS)[np.argmax(bounds, axis=0)])
    greedy = made.head().prefer(seen, everything, tf.constant(False), COLD).probabilities.numpy()
    np.testing.assert_array_equal(greedy, np.eye(ARMS)[np.argmax([x @ theta for _, theta in solved], axis=0)])
    warm = made.head().prefer(seen, everything, tf.constant(True), tf.constant(0.5)).probabilities.numpy()
    np.testing.assert_allclose(warm, tf.nn.softmax(np.transpose(bounds) / 0.5), rtol=1e-6)


def test_decisions_are_those_of_tf_agents():
    rows, seen = drawn_rows(60), drawn_rows(400, seed=9).features
    made = learned(lin_ucb, rows, epsilon=0.0)
    theirs = made.model._agent.policy.action(time_step.restart(seen, batch_size=400)).action.numpy()
    ours = made.head().prefer(seen, tf.ones([400, ARMS], tf.bool), tf.constant(True), COLD).probabilities.numpy()
    np.testing.assert_array_equal(ours.argmax(axis=1), theirs)


def test_samples_have_the_posterior_s_moments():
    rows = drawn_rows(60)
    made = learned(linear_thompson, rows, samples=40_000, alpha=0.5)
    samples = made.head().samples.numpy()
    for arm in range(ARMS):
        inverse, theta = ridge(rows, arm, 1.0)
        spread = 0.5 * np.sqrt(np.diag(inverse))
        np.testing.assert_allclose((samples[:, arm].mean(axis=0) - theta) / spread, 0, atol=0.025)
        correlation = np.cov(samples[:, arm].T) / np.outer(spread, spread)
        np.testing.assert_allclose(correlation, 0.25 * inverse / np.outer(spread, spread), atol=0.03)


def test_thompson_s_probabilities_are_shares_of_the_samples():
    rows, seen = drawn_rows(40), drawn_rows(200, seed=9).features
    head = learned(linear_thompson, rows, samples=64).head()
    mask = np.random.default_rng(0).random((200, ARMS)) < 0.6
    mask[np.arange(200), np.arange(200) % ARMS] = True
    x = np.column_stack([seen.numpy(), np.ones(200)])
    drawn = np.where(mask[:, None], np.einsum("bd,kad->bka", x, head.samples.numpy()), -np.inf)
    shares = np.eye(ARMS)[drawn.argmax(axis=2)].mean(axis=1)
    found = head.prefer(seen, tf.constant(mask), tf.constant(True), COLD)
    np.testing.assert_array_equal(found.probabilities, shares)
    assert (shares > 0).sum() > 300
    soft = head.prefer(seen, tf.constant(mask), tf.constant(True), tf.constant(0.5)).probabilities.numpy()
    np.testing.assert_allclose(soft, tf.nn.softmax(drawn / 0.5).numpy().mean(axis=1), rtol=1e-9)
    assert (soft[~mask] == 0).all()
    greedy = head.prefer(seen, tf.constant(mask), tf.constant(False), COLD).probabilities.numpy()
    np.testing.assert_array_equal(greedy, np.eye(ARMS)[np.where(mask, head.values(seen), -np.inf).argmax(axis=1)])


def test_thompson_chooses_as_often_as_it_is_right_about():
    """Of two actions, P(better) = Φ(Δ / √(variance of both)), within four standard errors of 20,000 samples."""
    rows = drawn_rows(40)
    rows = rows._replace(action=rows.action % 2)
    seen = drawn_rows(50, seed=9).features
    mask = tf.constant([[True, True, False, False]] * 50)
    head = learned(linear_thompson, rows, samples=20_000).head()
    x = np.column_stack([seen.numpy(), np.ones(50)])
    (first, one), (second, two) = (ridge(rows, arm, 1.0) for arm in (0, 1))
    better = stats.norm.cdf(x @ (one - two) / np.sqrt(np.einsum("bi,ij,bj->b", x, first + second, x)))
    found = head.prefer(seen, mask, tf.constant(True), COLD).probabilities.numpy()[:, 0]
    np.testing.assert_allclose(found, better, atol=4 * np.sqrt(0.25 / 20_000))


@pytest.mark.parametrize("at_once", [99, 250])
def test_rows_are_summed_up_in_pieces(monkeypatch, at_once):
    monkeypatch.setattr(linear_bandit, "_AT_ONCE", at_once)
    test_estimates_are_ridge_regressions(lin_ucb, True)


def test_actions_and_samples_are_looked_at_in_blocks(monkeypatch):
    monkeypatch.setattr(linear_bandit, "_WIDE", 7)
    test_upper_confidence_bounds(0.5)
    test_thompson_s_probabilities_are_shares_of_the_samples()


@pytest.mark.parametrize("half_life", [None, "40s"])
@pytest.mark.parametrize("name", LINEAR)
def test_every_row_counts_once_in_memory_and_streamed(tmp_path, name, half_life):
    snapshot = as_table(random_pushes(300, 0), str(tmp_path / "trajectories"))
    sums = []
    for budget in (None, SCARCE):
        configured = resolve({"agent": name, "recency_half_life": half_life}, gamma=0.0)
        with read(snapshot, reading(configured), holdout=0.2, budget=budget) as (training, holdout):
            assert isinstance(training, Streamed) == (budget is not None)
            fitted = fit(
                training,
                holdout,
                observation=CartPole.observation,
                action=CartPole.action,
                config=configured,
                seed=0,
            )
            sums.append(fitted.variables)
            assert sum(fitted.variables["rows"]) == len(training)
            if budget is None:
                ages = (training.timestamp.max() - training.timestamp) / np.timedelta64(40, "s")
                weight = 0.5**ages if half_life else np.ones(len(training))
                counted = [matrix[-1, -1] for matrix in fitted.variables["a"]]  # of the constant: Σ w
                np.testing.assert_allclose(counted, [weight[training.action == a].sum() for a in (0, 1)])
    for part in ("a", "b"):
        for one, other in zip(sums[0][part], sums[1][part], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)  # float32 features, and transforms streamed


@pytest.mark.parametrize("name", LINEAR)
def test_a_warm_start_goes_on_counting(world, tmp_path, name):
    first, second = world.take(np.arange(600)), world.take(np.arange(600, 1500))
    early = trained(first, config(name))
    early.save(tmp_path)
    both = trained(second, config(name), warm_start=read_warm_start(tmp_path))
    assert sum(both.variables["rows"]) == 1500
    whole = trained(world, config(name), warm_start=replace(read_warm_start(tmp_path), variables=_nothing(early)))
    np.testing.assert_allclose(values(both), values(whole), rtol=1e-5)
    assert np.abs(values(both) - values(early)).max() > 1e-3


def _nothing(fitted):
    """Variables before any row; with the transforms of an early training."""
    return {part: [np.zeros_like(value) for value in group] for part, group in fitted.variables.items()}


@pytest.mark.parametrize("name", NEURAL)
def test_a_network_learns_what_is_not_linear(world, name):
    fitted = trained(world, config(name, steps=1500))
    np.testing.assert_allclose(values(fitted), [[0.8, 1.0], [0.3, 0.0], [-0.2, 1.0]], atol=0.1)
    found = preferred(fitted, explore=False)
    np.testing.assert_array_equal(found, [[0, 1], [1, 0], [0, 1]])


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_agent_learns_what_is_linear(world, name):
    fitted = trained(world, config(name))
    np.testing.assert_allclose(values(fitted)[:, 0], [0.8, 0.3, -0.2], atol=0.03)
    assert values(fitted)[1, 1] > 0.5


def test_a_neural_linucb_is_a_regression_on_its_own_encoding(world):
    """The last layer is the very ridge regression on what the hidden layers make of all rows."""
    fitted = trained(world, config("neural_linucb", {"tikhonov_weight": 0.5}))
    features = fitted.preprocessing.apply(world.observation)
    context = fitted.head.context(tf.constant(features)).numpy()
    for arm in (0, 1):
        x, earned = context[world.action == arm], world.reward[world.action == arm]
        theta = np.linalg.solve(x.T @ x + 0.5 * np.eye(17), x.T @ earned)
        np.testing.assert_allclose(fitted.head.mean[arm], theta, rtol=1e-4, atol=1e-5)
    assert fitted.metrics[LOSS] < 0.05


def test_a_neural_linucb_sums_up_what_tf_agents_does(world):
    """A and b but for the constant, which NeuralLinUCBAgent does not add."""
    fitted = trained(world, config("neural_linucb"))
    hidden = Sequential(fitted.head._encode.layers, input_spec=tf.TensorSpec([1], tf.float32))
    theirs = NeuralLinUCBAgent(
        time_step.time_step_spec(tf.TensorSpec([1], tf.float32)),
        BoundedTensorSpec([], tf.int32, 0, 1),
        hidden,
        encoding_network_num_train_steps=0,
        encoding_dim=16,
        optimizer=tf.keras.optimizers.Adam(),
    )
    features = tf.constant(fitted.preprocessing.apply(world.observation))
    theirs.compute_loss_using_linucb(features, tf.constant(world.action), tf.constant(world.reward))
    for arm in (0, 1):
        np.testing.assert_allclose(fitted.variables["a"][arm][:-1, :-1], theirs.cov_matrix[arm], rtol=1e-6)
        np.testing.assert_allclose(fitted.variables["b"][arm][:-1], theirs.data_vector[arm], rtol=1e-5, atol=1e-5)


def test_a_second_training_of_neural_linucb_sums_up_anew(world, tmp_path):
    first = trained(world, config("neural_linucb"))
    first.save(tmp_path)
    further = trained(world, config("neural_linucb", steps=50), warm_start=read_warm_start(tmp_path))
    assert sum(further.variables["rows"]) == 1500
    assert further.metrics[STEPS] == 350


@pytest.mark.parametrize("name", BANDITS)
def test_the_same_seed_gives_the_same_weights_bit_for_bit(world, monkeypatch, name):
    monkeypatch.setattr("rlbake.learners.loop._COMPILED_BELOW", 10**12)
    first, other, again = (trained(world, config(name), seed) for seed in (3, 4, 3))
    for part, group in first.variables.items():
        for one, two in zip(group, again.variables[part], strict=True):
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(preferred(first), preferred(again))
    differs = (values(first) != values(other)).any() or (preferred(first) != preferred(other)).any()
    assert differs == (name != "lin_ucb")  # which draws nothing


def shape_of(fitted):
    found = values(fitted), preferred(fitted), preferred(fitted, temperature=0.5)
    return np.concatenate([array.ravel() for array in found])


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        *((name, {"recency_half_life": "100us"}) for name in BANDITS),
        *((name, {"agent": {"tikhonov_weight": 300.0}}) for name in (*LINEAR, "neural_linucb")),
        ("lin_ucb", {"agent": {"alpha": 1000.0}}),
        ("lin_ucb", {"agent": {"epsilon": 0.2}}),
        ("linear_thompson", {"agent": {"alpha": 100.0}}),
        ("linear_thompson", {"agent": {"samples": 3, "alpha": 10.0}}),
        ("neural_linucb", {"agent": {"alpha": 1000.0}}),
        *((name, {"steps": 101}) for name in NEURAL),
        *((name, {"batch_size": 65}) for name in NEURAL),
        *((name, {"agent": {"learning_rate": 0.021}}) for name in NEURAL),
        *((name, {"agent": {"layers": [17]}}) for name in NEURAL),
        *((name, {"agent": {"weight_decay": 0.1}}) for name in NEURAL),
        *((name, {"agent": {"gradient_clipping": 0.01}}) for name in NEURAL),
        *((name, {"agent": {"averaging": 0.91}}) for name in NEURAL),
        *((name, {"agent": {"epsilon": 0.2}}) for name in NEURAL),
    ],
)
def test_every_number_matters(world, name, changed):
    short = {"steps": 100} if name in NEURAL else {}
    before = shape_of(trained(world, config(name, **short)))
    after = shape_of(trained(world, config(name, **{**short, **changed})))
    assert (before != after).any()


def test_training_ends_when_what_it_learns_does_not_hold_elsewhere(world):
    elsewhere = replace(world, reward=world.reward + 10)
    for name in NEURAL:
        assert trained(world, config(name, overfit=None), holdout=elsewhere).metrics[STEPS] == 300
        assert trained(world, config(name), holdout=elsewhere).metrics[STEPS] < 300


@pytest.mark.parametrize("name", BANDITS)
def test_the_second_training_does_not_trace_again(world, name):
    trained(world, config(name))
    began = time.process_time()
    trained(world.take(np.arange(1000)), config(name, {"epsilon": 0.3} if name != "linear_thompson" else {}), seed=5)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("name", BANDITS)
def test_what_is_exported_decides_the_same(world, tmp_path, name):
    fitted = trained(world, config(name))
    policy = SavedPolicy(export_policy(fitted, tmp_path), "model/1", explore=True)
    np.testing.assert_allclose(policy.probabilities(PLACES), preferred(fitted), rtol=1e-6)
    np.testing.assert_allclose(policy.values(PLACES), values(fitted), rtol=1e-5, atol=1e-6)
    many = {"x": np.repeat(PLACES["x"], 2000)}
    decided = policy.decide(many, np.tile((np.arange(2000) + 0.5) / 2000, 3))
    np.testing.assert_allclose(decided.action.reshape(3, -1).mean(axis=1), preferred(fitted)[:, 1], atol=1e-3)
    np.testing.assert_allclose(
        np.exp(decided.log_probability), preferred(fitted)[np.repeat(range(3), 2000), decided.action], rtol=1e-6
    )


@pytest.mark.parametrize("name", BANDITS)
def test_a_masked_action_is_never_chosen(world, tmp_path, name):
    mask = np.ones((1500, 2), bool)
    mask[world.action == 0, 1] = np.arange((world.action == 0).sum()) % 2 == 0
    masked = trained(replace(world, action_mask=mask), config(name))
    np.testing.assert_allclose(values(masked), values(trained(world, config(name))), rtol=1e-6)
    policy = SavedPolicy(export_policy(masked, tmp_path), "model/1", explore=True, temperature=0.5)
    only = np.array([[True, False], [False, True], [True, False]])
    for found in (preferred(masked, only), preferred(masked, only, explore=False), policy.probabilities(PLACES, only)):
        np.testing.assert_allclose(found, only)
        assert (found[~only] == 0).all()


@pytest.mark.parametrize("name", BANDITS)
def test_several_choices_at_once_are_one(transitions, name):
    random = np.random.default_rng(0)
    action = MultiDiscrete({"item": ["sword", "cape"], "discount": ["none", "half", "all"]})
    x, chosen = random.normal(size=3000), random.integers(0, 6, 3000)
    best = np.where(x > 0, 5, 1)
    rows = transitions(x, chosen, 1.0 * (chosen == best), x, np.zeros(3000))
    fitted = trained(rows, config(name), action=action)
    assert preferred(fitted, explore=False).argmax(axis=1)[[0, 2]].tolist() == [1, 5]


def test_metrics_of_a_sum(world):
    reported = []
    fitted = trained(world, config("lin_ucb"), holdout=world, on_metrics=lambda *report: reported.append(report))
    assert reported == [(0, fitted.metrics)]
    assert set(fitted.metrics) == {LOSS, HOLDOUT_LOSS, VALUE, STEPS}
    residual = (
        world.reward
        - fitted.values(fitted.preprocessing.apply(world.observation)).numpy()[np.arange(1500), world.action]
    )
    assert fitted.metrics[HOLDOUT_LOSS] == pytest.approx(np.mean(residual**2), rel=1e-5)


def test_neural_linucb_reports_steps_and_then_what_it_sums_up(world):
    reported = []
    fitted = trained(world, config("neural_linucb"), holdout=world, on_metrics=lambda *report: reported.append(report))
    assert [step for step, _ in reported][-2:] == [300, 300]
    assert fitted.metrics == reported[-1][1]
    assert fitted.metrics[SPEED] > 0
    assert fitted.metrics[LOSS] != reported[-2][1][LOSS]


def test_few_rows_are_enough_to_sum_up(world):
    assert sum(trained(world.take(np.arange(3)), config("lin_ucb")).variables["rows"]) == 3
    with pytest.raises(DataError, match="0 transitions"):
        trained(world.take(np.arange(0)), config("lin_ucb"))
    with pytest.raises(DataError, match=r"3 transitions .* one batch of 64"):
        trained(world.take(np.arange(3)), config("neural_linucb"))


@pytest.mark.parametrize("name", BANDITS)
def test_a_bandit_looks_no_step_ahead(name):
    with pytest.raises(ConfigError, match=f"gamma = 0.9: agent '{name}' looks no step ahead.*set=gamma=0.*double_dqn"):
        resolve({"agent": name}, gamma=0.9)
    assert resolve(nested_config(agent=name, set_="gamma=0"), gamma=0.9).gamma == 0
    assert resolve({"agent": name}, gamma=0.0).agent.name == name


@pytest.mark.parametrize(
    ("name", "unread", "given"),
    [
        *((name, "n_step", 5) for name in BANDITS),
        *((name, "gamma_period", "1d") for name in BANDITS),
        *((name, "steps", 5) for name in LINEAR),
        *((name, "batch_size", 5) for name in LINEAR),
        *((name, "overfit", None) for name in LINEAR),
    ],
)
def test_what_is_not_read_is_not_to_be_set(name, unread, given):
    with pytest.raises(ConfigError, match=f"{unread} = {given!r}: agent '{name}' does not read {unread}"):
        resolve({"agent": name, unread: given}, gamma=0.0)
    untouched = resolve({"agent": name}, gamma=0.0)
    assert resolve(vars(untouched) | {"agent": name}, gamma=0.0) == untouched


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ({"name": "lin_ucb", "alpha": -1}, "agent.alpha = -1: .*greater than or equal to 0"),
        ({"name": "lin_ucb", "tikhonov_weight": 0}, "agent.tikhonov_weight = 0: .*greater than 0"),
        ({"name": "linear_thompson", "samples": 0}, "agent.samples = 0: .*greater than or equal to 1"),
        ({"name": "linear_thompson", "epsilon": 0.1}, "agent.epsilon = 0.1: there is no such field"),
        ({"name": "neural_linucb", "layers": []}, "agent.layers = .*at least 1"),
    ],
)
def test_a_mistake_is_named(agent, said):
    with pytest.raises(ConfigError, match=said):
        resolve({"agent": agent}, gamma=0.0)


def test_a_model_learns_nothing_from_nothing():
    model = LinearModel(lin_ucb.LinearUCBAgent, SIZE, ARMS)
    model.sum_up([])
    assert all((a.numpy() == 0).all() for a in model.variables()["a"])


@pytest.mark.parametrize("name", BANDITS)
def test_every_bandit_is_known(name):
    assert not AGENTS[name].FACTS.foresight
