"""Logging probabilities: taken as logged, estimated where missing, and doubted where they do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.dataset.transitions import Transitions
from rlbake.errors import DataError, SpecError
from rlbake.evaluation.behavior import FLOOR, fit_behavior
from rlbake.evaluation.propensity import Logging, diagnosed, logging_policy
from rlbake.specs import Binary, Category, Continuous, Discrete, Number

OBSERVATION = (Number("age", optional=True), Category("country", ["DE", "JP", "US"]), Binary("payer"))
ACTION = Discrete(["left", "right", "stay"])
ROWS = 6000


def truth(observations) -> np.ndarray:
    """Germans mostly go left, the Japanese mostly right, all others stay more the older they are."""
    age = np.nan_to_num(observations["age"], nan=0.5)
    german, japanese = observations["country"] == "DE", observations["country"] == "JP"
    chosen = np.stack([0.1 + 0.7 * german, 0.1 + 0.7 * japanese, 0.1 + 0.8 * age * (~german & ~japanese)], axis=1)
    return chosen / chosen.sum(axis=1, keepdims=True)


def logs(rows: int = ROWS, seed: int = 0, mask: np.ndarray | None = None, per_environment: int = 3) -> Transitions:
    random = np.random.default_rng(seed)
    seen = {
        "age": np.where(random.random(rows) < 0.1, np.nan, random.random(rows)).astype(np.float32),
        "country": random.choice(np.array(["DE", "JP", "US"], object), rows),
        "payer": random.random(rows) < 0.5,
    }
    chances = truth(seen) * (1 if mask is None else mask)
    chances /= chances.sum(axis=1, keepdims=True)
    action = (random.random(rows)[:, None] > chances.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    instants = np.arange(rows).astype("datetime64[us]")
    return Transitions(
        env_id=np.array([f"p{row // per_environment}" for row in range(rows)], object),
        timestamp=instants,
        next_timestamp=instants + 1,
        step_type=np.zeros(rows, np.int32),
        end=np.full(rows, v.NOT_ENDED, object),
        observation=seen,
        action=action.astype(np.int32),
        log_probability=np.log(chances[np.arange(rows), action]).astype(np.float32),
        reward=np.zeros(rows),
        discount=np.zeros(rows),
        next_observation=seen,
        next_action_mask=None,
        action_mask=mask,
    )


def unlogged(transitions: Transitions, among=slice(None)) -> Transitions:
    without = transitions.log_probability.copy()
    without[among] = np.nan
    return replace(transitions, log_probability=without)


def policy(transitions: Transitions, seed: int = 0) -> Logging:
    return logging_policy(transitions, observation=OBSERVATION, action=ACTION, seed=seed)


def test_what_was_logged_is_taken():
    transitions = logs()
    found = policy(transitions)
    np.testing.assert_array_equal(found.probability, np.exp(transitions.log_probability.astype(np.float64)))
    assert not found.estimated.any()
    assert found.distribution is None
    told = diagnosed(found, transitions, ACTION)
    assert (told.source, told.estimated, told.policies, told.warnings) == ("logged", 0.0, {"unknown": 1.0}, ())
    assert list(told.by_action) == list(ACTION.names)
    np.testing.assert_allclose(list(told.by_action.values()), 1, atol=0.1)
    assert told.reliability == []


@pytest.fixture(scope="module")
def estimate() -> tuple[Transitions, Logging]:
    transitions = logs()
    return transitions, policy(unlogged(transitions))


def test_what_is_missing_is_estimated(estimate):
    transitions, found = estimate
    assert found.estimated.all()
    assert found.probability.dtype == np.float64
    assert np.abs(found.distribution - truth(transitions.observation)).mean() < 0.05
    np.testing.assert_allclose(found.distribution.sum(axis=1), 1)
    np.testing.assert_array_equal(found.probability, found.distribution[np.arange(ROWS), transitions.action])


def test_an_estimate_is_flagged_and_its_reliability_shown(estimate):
    transitions, found = estimate
    told = diagnosed(found, replace(transitions, policy_version=np.array(["m-1", None] * (ROWS // 2), object)), ACTION)
    assert (told.source, told.estimated, told.policies) == ("estimated", 1.0, {"m-1": 0.5, "unknown": 0.5})
    assert len(told.warnings) == 1
    assert "estimated, not logged" in told.warnings[0]
    assert sum(rows for _, _, rows in told.reliability) == ROWS * 3
    for predicted, happened, rows in told.reliability:
        assert abs(predicted - happened) < 0.02 + 4 * np.sqrt(predicted / rows)
    np.testing.assert_allclose(list(told.by_action.values()), 1, atol=0.1)


def test_no_row_is_estimated_by_a_model_that_has_seen_its_environment():
    """Every environment has one action and a number of its own; whoever had seen it would be certain."""
    transitions = logs(1200, per_environment=40)
    environment = np.arange(1200) // 40
    told_apart = replace(
        transitions,
        observation={**transitions.observation, "age": environment.astype(np.float32)},
        action=(environment * 7 % 3).astype(np.int32),
    )
    assert policy(unlogged(told_apart)).probability.mean() < 0.6
    model = fit_behavior(told_apart, observation=OBSERVATION, action=ACTION, seed=0)
    assert model.probabilities(told_apart.observation)[np.arange(1200), told_apart.action].mean() > 0.6


def test_only_what_is_missing_is_estimated_and_from_those_rows_alone():
    """The logged half always stays, the other half decides at random."""
    transitions, half = logs(), np.arange(ROWS) // 3 % 2 == 0
    random = np.random.default_rng(3).integers(0, 3, ROWS)
    mixed = replace(
        unlogged(transitions, ~half),
        action=np.where(half, 2, random).astype(np.int32),
    )
    mixed.log_probability[half] = np.log(0.9)
    found = policy(mixed)
    np.testing.assert_array_equal(found.estimated, ~half)
    np.testing.assert_allclose(found.probability[half], 0.9, rtol=1e-6)
    np.testing.assert_allclose(found.probability[~half], 1 / 3, atol=0.1)
    told = diagnosed(found, mixed, ACTION)
    assert (told.source, told.estimated) == ("mixed", 0.5)
    assert "50.0% of the logging probabilities are estimated" in told.warnings[0]
    assert np.isnan(found.distribution[half]).all()


def test_a_mask_is_kept_to():
    mask = np.ones((ROWS, 3), bool)
    mask[::2, 0] = False
    transitions = logs(mask=mask)
    found = policy(unlogged(transitions))
    assert (found.distribution[~mask] == 0).all()
    np.testing.assert_allclose(found.distribution.sum(axis=1), 1)
    told = diagnosed(policy(transitions), transitions, ACTION)
    np.testing.assert_allclose(list(told.by_action.values()), 1, atol=0.1)
    assert told.warnings == ()
    forbidden = replace(unlogged(transitions), action=np.zeros(ROWS, np.int32))
    with pytest.raises(DataError, match=r"the logged action was not allowed .* 3,000 of 6,000 rows, for example p0 at"):
        policy(forbidden)


def test_an_action_too_rare_to_be_estimated_has_the_least_probability():
    transitions = logs()
    once = replace(
        unlogged(transitions), action=np.where(np.arange(ROWS) == 5, 1, transitions.action // 2 * 2).astype(np.int32)
    )
    found = policy(once)
    assert found.floored == (1,)
    assert found.probability[5] == pytest.approx(FLOOR, rel=0.01)
    told = diagnosed(found, once, ACTION)
    assert "Too rare to be estimated: right. They are taken to have a probability of 0.001." in told.warnings


def test_deterministic_logging_is_said():
    transitions = logs()
    always = replace(transitions, log_probability=np.zeros(ROWS, np.float32))
    (said,) = diagnosed(policy(always), always, ACTION).warnings
    assert said.startswith("All decisions were deterministic (probability 1): importance sampling says nothing")
    certain = transitions.log_probability.copy()
    certain[: ROWS // 4] = 0
    part = replace(transitions, log_probability=certain)
    assert diagnosed(policy(part), part, ACTION).warnings[0].startswith("25.0% of the decisions were deterministic")


def test_having_no_choice_is_not_deterministic_logging():
    mask = np.ones((ROWS, 3), bool)
    mask[::2] = [False, True, False]
    transitions = logs(mask=mask)
    assert diagnosed(policy(transitions), transitions, ACTION).warnings == ()


def test_wrong_probabilities_are_seen_through():
    transitions = logs()
    swapped = replace(transitions, log_probability=np.full(ROWS, np.log(0.2), np.float32))
    told = diagnosed(policy(swapped), swapped, ACTION)
    assert told.warnings[0].startswith("Done more often than the probabilities say: left (1.")
    assert "look at how `log_probability` is logged" in told.warnings[0]
    high = replace(transitions, log_probability=np.full(ROWS, np.log(0.6), np.float32))
    assert diagnosed(policy(high), high, ACTION).warnings[0].startswith("Done less often than the probabilities say")


@pytest.mark.parametrize("seed", range(5))
def test_right_probabilities_are_believed_even_from_few_chatty_environments(seed):
    """100 decisions of an environment are alike, so 60 environments tell no more than 60 decisions."""
    transitions = logs(60, seed=seed, per_environment=1).take(np.repeat(np.arange(60), 100))
    told = diagnosed(policy(transitions), transitions, ACTION)
    assert not [said for said in told.warnings if "often" in said]


def test_an_action_that_was_never_taken_is_named():
    transitions = logs()
    never = replace(
        transitions, action=np.zeros(ROWS, np.int32), log_probability=np.full(ROWS, np.log(0.99), np.float32)
    )
    told = diagnosed(policy(never), never, ACTION)
    assert told.by_action["right"] == 0
    assert told.warnings == ("Never logged: right, stay. Nothing is known about policies that choose them.",)


def test_the_seed_decides_everything():
    transitions = unlogged(logs(900))
    np.testing.assert_array_equal(policy(transitions, 1).probability, policy(transitions, 1).probability)


def test_what_cannot_be_estimated_is_said():
    few = unlogged(logs(20))
    with pytest.raises(DataError, match=r"cannot be estimated from [0-9] environments, at least 10"):
        policy(few)
    with pytest.raises(SpecError, match="not of Continuous"):
        logging_policy(few, observation=OBSERVATION, action=Continuous([0], [1], ["x"]), seed=0)


def test_part_of_the_rows(estimate):
    transitions, found = estimate
    part = np.array([5, 3])
    taken = found.take(part)
    np.testing.assert_array_equal(taken.probability, found.probability[part])
    assert taken.distribution.shape == (2, 3)
    assert diagnosed(taken, transitions.take(part), ACTION).estimated == 1.0
