"""Rows are drawn in proportion to their errors, and what they teach stays unbiased."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from rlbake.learners.loop import REFRESHED, draw
from rlbake.learners.priorities import NEVER_DRAWN, Priorities, Prioritisation, importance, priority, refreshed
from rlbake.training.fit import fit
from rlbake.training.replay import InMemory
from tests.agents.conftest import ACTION, OBSERVATION
from tests.agents.test_loop import learner, random_rows
from tests.agents.test_replay import columns, on_disk
from tests.agents.test_training import config, values

ARGUMENTS = ("checkpoint", "on_chunk")  # of fit
ERRORS = np.array([0.0, 0.1, 0.1, 2.0, 5.0], np.float32)


def powered(errors, exponent) -> np.ndarray:
    return priority(tf.constant(errors, tf.float32), tf.constant(exponent, tf.float64)).numpy()


@pytest.mark.parametrize("exponent", [0.0, 0.6, 1.0])
def test_draws_are_proportional_to_the_power_of_the_error(exponent):
    expected = (ERRORS + ERRORS.mean() / 100) ** exponent
    drawn = draw((400, 500), tf.constant([1, 2]), 5, tf.cumsum(powered(ERRORS, exponent))).numpy()
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=5) / 200_000, expected / expected.sum(), atol=0.005)


def test_what_was_never_drawn_counts_as_much_as_the_largest_error():
    known = powered(np.append(ERRORS, NEVER_DRAWN), 0.6)
    assert known[-1] == known[:-1].max()
    np.testing.assert_array_equal(powered(np.full(3, NEVER_DRAWN), 0.6), powered([1, 1, 1], 0.6))
    assert (powered([0, 0, 0], 0.6) > 0).all()


@pytest.mark.parametrize("weight", [None, np.array([4.0, 3.0, 2.0, 1.0, 1.0])])
def test_the_weighted_estimate_of_the_mean_loss_is_unbiased(weight):
    loss = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    prior = powered(ERRORS, 0.6)
    drawn = draw((400, 500), tf.constant([1, 2]), 5, tf.cumsum(prior if weight is None else weight * prior)).numpy()
    factor = importance(tf.gather(prior, drawn), tf.constant(1.0, tf.float64)).numpy()
    assert (factor * loss[drawn]).mean() == pytest.approx(np.average(loss, weights=weight), rel=0.02)
    biased = importance(tf.gather(prior, drawn), tf.constant(0.0, tf.float64)).numpy()
    assert (biased == 1).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 9, width=32)), min_size=1, max_size=30), st.integers(0, 30))
def test_the_latest_error_of_a_row_counts(learned, count):
    drawn, found = (np.array(column) for column in zip(*learned, strict=True))
    expected = ERRORS.copy()
    for row, error in learned[:count]:
        expected[row] = error
    got = refreshed(ERRORS, drawn.astype(np.int32), found.astype(np.float32), min(count, len(learned)))
    np.testing.assert_array_equal(got, expected)


def drawn_by(rows: int, exponent: float = 0.6) -> Priorities:
    return Priorities(np.full(rows, NEVER_DRAWN, np.float32), None, Prioritisation(exponent, 1.0))


@pytest.mark.parametrize("compiled_below", [0, 10**12])
def test_errors_are_those_of_the_n_step_target(monkeypatch, compiled_below):
    monkeypatch.setattr("rlbake.learners.loop._COMPILED_BELOW", compiled_below)
    rows, priorities = random_rows(50, False), drawn_by(50)
    made = learner("double_dqn", False, learning_rate=1e-12, weight_decay=0.0)
    made.run(rows, batch_size=8, first_step=0, steps=3, seed=0, cumulative=priorities)
    here, there = made.network(rows.features)[0].numpy(), made.network(rows.next_features)[0].numpy()
    target = rows.reward.numpy() + rows.discount.numpy() * there.max(axis=1)
    expected = np.abs(target - here[np.arange(50), rows.action.numpy()])
    known = priorities.errors.numpy() != NEVER_DRAWN
    assert 0 < known.sum() <= 24
    np.testing.assert_allclose(priorities.errors.numpy()[known], expected[known], rtol=1e-4)


def test_errors_decide_what_is_drawn_after_so_many_steps():
    """A chunk that is cut where errors take effect learns the same, so nothing but the errors is carried on."""
    rows, learned = random_rows(400, False), []
    for lengths in ((2 * REFRESHED,), (REFRESHED, REFRESHED), (REFRESHED - 1, REFRESHED + 1)):
        priorities, made, first = drawn_by(400), learner("double_dqn", False), 0
        for steps in lengths:
            made.run(rows, batch_size=8, first_step=first, steps=steps, seed=0, cumulative=priorities)
            first += steps
        learned.append((made.network.get_weights()[0], priorities.errors.numpy()))
    for whole, cut, elsewhere in zip(*learned, strict=True):
        np.testing.assert_array_equal(whole, cut)
        assert (whole != elsewhere).any()


def test_priorities_and_their_correction_change_what_is_learned_and_repeat_bit_for_bit(walk):
    learned = [
        values(trained(walk(0.9), priority=priority, priority_correction=correction))
        for priority, correction in ((0.0, 1.0), (0.6, 1.0), (0.5, 1.0), (0.6, 0.9), (0.6, 1.0))
    ]
    for one in range(4):
        for other in range(one):
            assert (learned[one] != learned[other]).any()
    np.testing.assert_array_equal(learned[4], learned[1])


def trained(training, steps=150, **agent):
    kwargs = {name: agent.pop(name) for name in ARGUMENTS if name in agent}
    configured = config(agent, steps=steps)
    nothing = training.take(np.arange(0))
    return fit(training, nothing, observation=OBSERVATION, action=ACTION, config=configured, seed=0, **kwargs)


def test_a_training_that_was_cut_short_ends_as_it_would_have(walk):
    moments = []
    whole = trained(walk(0.9), steps=150, priority=0.6, on_chunk=lambda moment: moments.append(moment()))
    resumed = trained(walk(0.9), steps=150, priority=0.6, checkpoint=moments[0])
    np.testing.assert_array_equal(values(resumed), values(whole))
    assert (moments[0].replay["error"] != NEVER_DRAWN).any()


def test_rare_rewards_are_learned_sooner(transitions):
    """At x = 1, in 4 of 2,000 rows, going earns 10; nothing is earned anywhere else."""
    rows = 2000
    x, action = (np.arange(rows) % 250 == 0).astype(float), np.arange(rows) // 250 % 2
    world = transitions(x, action, 10 * x * action, x, np.zeros(rows))
    missed = [abs(values(trained(world, steps=300, priority=alpha))[1, 1] - 10) for alpha in (0.0, 0.6)]
    assert missed[1] < 0.5 * missed[0]


def learn_from(segment) -> None:
    """Every row's error becomes its number, as if it had been learned from."""
    segment.cumulative.errors = tf.cast(segment.rows.action, tf.float32)


def test_errors_stay_with_their_rows_while_working_sets_come_and_go(tmp_path):
    replay = on_disk(tmp_path, [300, 120, 40, 250, 90], 310, 4000, prioritisation=Prioritisation(0.6, 1.0))
    sets = 0
    for segment in replay.segments(0, 4000):
        errors, number = segment.cumulative.errors.numpy(), segment.rows.action.numpy()
        assert ((errors == NEVER_DRAWN) | (errors == number)).all()
        learn_from(segment)
        sets += 1
    assert sets > 3
    np.testing.assert_array_equal(replay.state()["error"], np.arange(800))


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_replay_goes_on_where_its_state_was_taken(tmp_path, kind):
    def replay(folder):
        prioritisation = Prioritisation(0.6, 1.0)
        if kind == "memory":
            return InMemory(columns(0, 90), prioritisation)
        (tmp_path / folder).mkdir()
        return on_disk(tmp_path / folder, [30, 40, 20], 50, 400, prioritisation=prioritisation)

    first, again = replay("first"), replay("again")
    for segment in first.segments(0, 60):
        learn_from(segment)
    again.restore(first.state())
    for one, other in zip(first.segments(60, 340), again.segments(60, 340), strict=True):
        np.testing.assert_array_equal(one.rows.action, other.rows.action)
        np.testing.assert_array_equal(one.cumulative.errors, other.cumulative.errors)


def test_the_draw_follows_weights_and_priorities():
    weighted = columns(0, 90, weighted=True)
    weight = weighted["weight"].copy()
    priorities = next(InMemory(weighted, Prioritisation(0.6, 1.0)).segments(0, 1)).cumulative
    np.testing.assert_array_equal(priorities.weight, weight)
