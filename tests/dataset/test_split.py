"""Environments are held out whole, always the same ones."""

import numpy as np

from rlbake import vocabulary as v
from rlbake.dataset.snapshot import pin
from rlbake.dataset.split import split_environments
from rlbake.dataset.transitions import Reading, load
from tests.dataset.conftest import ACTION, METRICS, OBSERVATION, row


def read(write, environments, hours=2):
    uri = write([row(env, hour) for env in environments for hour in range(hours)])
    return load(pin(uri, ["2026-01-01"]), Reading(OBSERVATION, ACTION, METRICS, {"click": 1.0}, gamma=0.9))


def test_an_environment_is_on_one_side_with_all_its_rows(write):
    training, holdout = split_environments(read(write, [f"player {i}" for i in range(500)]), 0.2)
    assert len(training) + len(holdout) == 1000
    assert not set(training.env_id) & set(holdout.env_id)
    assert 60 < len(set(holdout.env_id)) < 140
    assert all(len(column) == len(holdout) for column in holdout.observation.values())


def test_the_side_depends_on_nothing_but_the_name(write):
    many = split_environments(read(write, [f"player {i}" for i in range(100)]), 0.3)[1]
    few = split_environments(read(write, [f"player {i}" for i in range(50)], hours=1), 0.3)[1]
    assert set(few.env_id) == {name for name in many.env_id if int(name.split()[1]) < 50}


def test_a_larger_holdout_keeps_the_smaller(write):
    transitions = read(write, [f"player {i}" for i in range(100)])
    small, large = (set(split_environments(transitions, share)[1].env_id) for share in (0.1, 0.4))
    assert small < large


def test_nothing_is_held_out_at_zero(write):
    training, holdout = split_environments(read(write, ["ann", "bob"]), 0.0)
    assert len(training) == 4
    assert len(holdout) == 0


def test_masks_are_split_too(write):
    uri = write([row("ann", h, **{v.NEXT_ACTION_MASK: [h == 0, True, True]}) for h in range(3)])
    transitions = load(pin(uri, ["2026-01-01"]), Reading(OBSERVATION, ACTION, METRICS, {}, gamma=0.9))
    assert transitions.take(np.array([2, 0])).next_action_mask.tolist() == [[False, True, True], [True] * 3]
