"""What decisions rest on is found; what they ignore counts nothing."""

import numpy as np
import pytest

from rlbake.evaluation.importance import importance, plot, table
from rlbake.features.identify import Transform
from rlbake.features.preprocessing import Preprocessing
from rlbake.learners.heads import Chosen, ContinuousHead, ValueHead
from rlbake.learners.networks import dense_network
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Binary, Category, Continuous, Discrete, Number
from rlbake.training.config import resolve
from rlbake.training.fitted import FittedAgent

OBSERVATION = (Number("ignored"), Number("level"), Binary("paid"), Category("country", ["DE", "US"]))
ROWS = 400


@pytest.fixture(scope="module")
def observations():
    random = np.random.default_rng(0)
    return {
        "ignored": random.normal(size=ROWS).astype(np.float32),
        "level": random.normal(size=ROWS).astype(np.float32),
        "paid": random.random(ROWS) < 0.5,
        "country": np.where(random.random(ROWS) < 0.5, "DE", "US").astype(object),
    }


def agent(action, head) -> FittedAgent:
    standard = {name: Transform("standard", 0.0, 1.0) for name in ("ignored", "level")}
    return FittedAgent(OBSERVATION, action, resolve({}, gamma=0.9), Preprocessing(OBSERVATION, standard), head, {}, {})


def valued(kernel) -> FittedAgent:
    network = dense_network((), 5, 2)  # ignored, level, paid, DE, US
    network.set_weights([np.array(kernel, np.float32), np.zeros(2, np.float32)])
    return agent(Discrete(["stay", "go"]), ValueHead(network, 0.1))


def test_a_feature_that_decides_alone(observations):
    """Going is worth `level`: shuffled, the sign is another in half of the rows, where |level| = √(2/π) is lost."""
    found = importance(valued([[0, 0], [0, 1], [0, 0], [0, 0], [0, 0]]), observations, None, seed=0)
    assert found[0].feature == "level"
    assert found[0].flips == pytest.approx(0.5, abs=0.06)
    assert found[0].value_lost == pytest.approx(0.5 * np.sqrt(2 / np.pi), abs=0.06)
    assert {(one.flips, one.value_lost) for one in found[1:]} == {(0.0, 0.0)}


def test_order_and_categories(observations):
    """In the US going is worth 2 + level, elsewhere level - 2; whether somebody paid moves a little."""
    found = importance(valued([[0, 0], [0, 1], [0, 0.2], [0, -2], [0, 2]]), observations, None, seed=0)
    assert [one.feature for one in found] == ["country", "level", "paid", "ignored"]
    assert found[0].flips == pytest.approx(0.5, abs=0.06)
    again = importance(valued([[0, 0], [0, 1], [0, 0.2], [0, -2], [0, 2]]), observations, None, seed=0)
    assert again == found


def test_what_is_not_allowed_cannot_flip(observations):
    only_stay = np.tile([True, False], (ROWS, 1))
    found = importance(valued([[0, 0], [0, 1], [0, 0], [0, 0], [0, 0]]), observations, only_stay, seed=0)
    assert {one.flips for one in found} == {0.0}


class Price(ContinuousHead):
    """Half the level, at most 1 away from 0."""

    def choose(self, features, uniform, explore, temperature):
        return Chosen(tf.clip_by_value(features[:, 1:2] / 2, -1.0, 1.0), tf.fill([len(features)], float("nan")))


def test_numbers_flip_when_they_move(observations):
    found = importance(agent(Continuous([-1], [1], ["price"]), Price()), observations, None, seed=0)
    assert found[0].feature == "level"
    assert 0.8 < found[0].flips < 1  # √2 deviations of 0.5 against a twentieth of 2: P(|z| > 0.14) = 0.89
    assert {one.value_lost for one in found} == {None}
    assert {one.flips for one in found[1:]} == {0.0}


def test_table_and_plot(observations):
    found = importance(valued([[0, 0], [0, 1], [0, 0], [0, 0], [0, 0]]), observations, None, seed=0)
    assert list(table(found).columns) == ["feature", "flips", "value_lost"]
    drawn = str(plot(found))
    assert drawn.startswith("<svg")
    for feature in OBSERVATION:
        assert feature.name in drawn
