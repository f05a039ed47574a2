"""Fitted Q evaluation finds the exact values of small worlds, of the policy that it is asked about."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.dataset.transitions import Transitions
from rlbake.errors import DataError, RlbakeError, SpecError
from rlbake.evaluation.q_model import fit_q, needs_policy
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Category, Continuous, Discrete

STATES, ACTIONS, ROWS = np.array(["a", "b", "c", "d"], object), 3, 9600
OBSERVATION, ACTION = (Category("state", list(STATES)),), Discrete(["x", "y", "z"])

_random = np.random.default_rng(5)
REWARDS = 100 + 20 * _random.normal(size=(4, ACTIONS))
POLICY = _random.dirichlet(np.ones(ACTIONS), 4)  # π(a | s)
FOLLOWING = _random.choice([-1, 0, 1, 2, 3], (4, ACTIONS, 20), p=[0.05, 0.5, 0.2, 0.15, 0.1])
"""Twenty outcomes of each action in each state, equally likely: the next state, or -1 where it ends."""


def exact(gamma: float, policy: np.ndarray = POLICY) -> np.ndarray:
    """Q = R + γ P π Q, solved: float64 [state, action]."""
    moves = (FOLLOWING[..., None] == np.arange(4)).mean(axis=2)
    onward = np.einsum("sat,tb->satb", moves, policy).reshape(12, 12)
    return np.linalg.solve(np.eye(12) - gamma * onward, REWARDS.ravel()).reshape(4, 3)


def played(gamma: float, rows: int = ROWS) -> Transitions:
    """Every outcome as often as every other, so that the rows hold the world exactly."""
    state, action, outcome = (index.ravel() for index in np.indices((4, ACTIONS, 20)))
    state, action, outcome = (np.resize(index, rows) for index in (state, action, outcome))
    following = FOLLOWING[state, action, outcome]
    ended = following < 0
    instants = np.arange(rows).astype("datetime64[us]")
    return Transitions(
        env_id=np.arange(rows).astype(str).astype(object),
        timestamp=instants,
        next_timestamp=np.where(ended, np.datetime64("NaT", "us"), instants + 1),
        step_type=np.full(rows, v.MID, np.int32),
        end=np.where(ended, v.TERMINATED, v.NOT_ENDED).astype(object),
        observation={"state": STATES[state]},
        action=action.astype(np.int32),
        log_probability=np.full(rows, -np.log(ACTIONS), np.float32),
        reward=REWARDS[state, action],
        discount=np.where(ended, 0.0, gamma),
        next_observation={"state": np.where(ended, "", STATES[following]).astype(object)},
        next_action_mask=None,
        episode=instants,
    )


def target(policy: np.ndarray = POLICY):
    return lambda observations, mask: policy[np.searchsorted(STATES.astype(str), observations["state"].astype(str))]


def fitted(
    transitions: Transitions, policy: np.ndarray = POLICY, folds: int = 1, fold_of=None, seed: int = 0, **kwargs
):
    fold_of = np.full(len(transitions), -1) if fold_of is None else fold_of
    return fit_q(
        transitions, target(policy), observation=OBSERVATION, action=ACTION, folds=folds, fold_of=fold_of, seed=seed,
        **{"steps": 2000, **kwargs},
    )  # fmt: skip


@pytest.mark.parametrize(("gamma", "within"), [(0.0, 0.08), (0.5, 0.08), (0.9, 0.2)])
def test_values_of_a_small_world(gamma, within):
    """They lie between 78 and 149 without a look ahead, and near 700 with the longest."""
    found = fitted(played(gamma)).values({"state": STATES})
    assert found.dtype == np.float64
    assert np.abs(found - exact(gamma)).mean() < within * exact(gamma).std()


def test_another_policy_has_other_values_without_another_trace():
    transitions, always = played(0.5), np.tile([0.0, 0.0, 1.0], (4, 1))
    fitted(transitions, steps=500)
    began = time.process_time()
    found = fitted(transitions, always, steps=1000).values({"state": STATES})
    assert time.process_time() - began < 4  # a trace and its compilation alone take longer
    assert np.abs(found - exact(0.5, always)).mean() < np.abs(found - exact(0.5)).mean() / 2


def test_without_a_discount_nobody_is_asked():
    def refuses(observations, mask):
        raise AssertionError("asked")

    transitions = played(0.0)
    assert not needs_policy(transitions)
    assert needs_policy(played(0.1))
    fit_q(
        transitions, refuses, observation=OBSERVATION, action=ACTION, folds=1,
        fold_of=np.full(ROWS, -1), seed=0, steps=10,
    )  # fmt: skip


def test_a_fold_is_valued_by_those_that_have_not_seen_it():
    """Fold 0 earns 0 and fold 1 earns 100, so each is predicted to earn what the other does."""
    transitions, fold = played(0.0, 2000), np.arange(2000) % 2
    model = fitted(replace(transitions, reward=100.0 * fold), folds=2, fold_of=fold)
    found = model.values({"state": STATES}, np.array([0, 1, 0, -1]))
    np.testing.assert_allclose(found[:3], [[100] * 3, [0] * 3, [100] * 3], atol=5)
    np.testing.assert_allclose(found[3], 50, atol=5)
    np.testing.assert_array_equal(found[3], model.values({"state": STATES})[3])


def test_rows_of_no_fold_teach_all():
    transitions, fold = played(0.0, 2000), np.where(np.arange(2000) < 1000, -1, np.arange(2000) % 2)
    model = fitted(
        replace(transitions, reward=np.where(fold < 0, 40.0, 0.0) + 60.0 * (fold == 1)), folds=2, fold_of=fold
    )
    found = model.values({"state": STATES[:2]}, np.array([0, 1])).mean(axis=1)
    np.testing.assert_allclose(found, [(1000 * 40 + 500 * 60) / 1500, 1000 * 40 / 1500], atol=6)


def test_the_seed_decides_everything():
    transitions = played(0.5, 1000)
    first, again, other = (fitted(transitions, steps=100, seed=s).values({"state": STATES}) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_exported_model_says_the_same(tmp_path):
    model = fitted(played(0.0, 1000), folds=2, fold_of=np.arange(1000) % 2, steps=100)
    model.export(tmp_path / "q")
    loaded = tf.saved_model.load(str(tmp_path / "q"))
    said = loaded.signatures["serving_default"](state=tf.constant(STATES))["values"].numpy()
    assert said.dtype == np.float64
    np.testing.assert_allclose(said, model.values({"state": STATES}), rtol=1e-6)


def test_probability_beyond_the_mask_is_refused():
    transitions = played(0.5, 500)
    mask = np.ones((500, ACTIONS), bool)
    mask[transitions.discount > 0, 1] = False
    with pytest.raises(DataError, match=r"gives probability to actions that are not allowed in 4\d\d of 4\d\d rows"):
        fitted(replace(transitions, next_action_mask=mask), steps=10)


def test_what_cannot_be_fitted_is_said():
    transitions = played(0.5, 100)
    with pytest.raises(DataError, match="fold 0 of 1 holds all 100 rows"):
        fitted(transitions, fold_of=np.zeros(100, int))
    with pytest.raises(DataError, match=r"probabilities of the policy do not sum to 1"):
        fitted(transitions, 2 * POLICY)
    with pytest.raises(DataError, match=r"shape \[\d+, 2\] where \[\d+, 3\]"):
        fitted(transitions, POLICY[:, :2])
    with pytest.raises(SpecError, match="cannot act on Continuous"):
        fit_q(
            transitions, target(), observation=OBSERVATION, action=Continuous([0], [1], ["x"]), folds=1,
            fold_of=np.full(100, -1), seed=0,
        )  # fmt: skip
    with pytest.raises(RlbakeError, match="diverged"):
        fitted(replace(transitions, discount=np.full(100, 50.0), next_observation=transitions.observation))
