"""A clone of the rules learns what they would have done; an on-policy agent what its own version did."""

from dataclasses import replace

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.agents.behavioral_cloning import AGREEMENT
from rlbake.application import Application
from rlbake.dataset.split import split_environments
from rlbake.dataset.transitions import Transitions
from rlbake.errors import ConfigError, SpecError
from rlbake.period.decisions import decided, own
from rlbake.period.period import Period
from rlbake.period.train import training_config
from rlbake.policies.behaviour import RandomPolicy
from rlbake.scenarios.bundle import Bundle
from rlbake.scenarios.message_logs import MessageDay
from rlbake.scenarios.message_timing import MessageTiming
from rlbake.training.fit import STEPS, fit
from rlbake.training.reading import reading

VERSION = "main.rl.message_timing/3"


@pytest.fixture
def period() -> Period:
    application = MessageTiming()
    return Period(application, application.cadence.first, 0, "main.rl.message_timing")


def logged(days: int, players: int) -> Transitions:
    """Random decisions on that many days, the first of which is a Thursday."""
    window, parts = MessageTiming.cadence.first, []
    for number in range(days):
        day = MessageDay(window, number, players, 0)
        chosen = RandomPolicy(MessageTiming.action).decide(day.seen, day.policy_noise)
        parts.append((day.seen, chosen.action, chosen.log_probability))
        window = MessageTiming.cadence.following(window)
    seen = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    rows = days * players
    time = np.arange(rows).astype("datetime64[us]")
    return Transitions(
        env_id=np.tile(np.arange(players).astype(str).astype(object), days),
        timestamp=time,
        next_timestamp=time + 1,
        step_type=np.full(rows, v.MID, np.int32),
        end=np.full(rows, v.NOT_ENDED, object),
        observation=seen,
        action=np.concatenate([part[1] for part in parts]),
        log_probability=np.concatenate([part[2] for part in parts]),
        reward=np.zeros(rows),
        discount=np.zeros(rows),
        next_observation=seen,
        next_action_mask=None,
        policy_version=np.where(np.arange(rows) % 3 == 0, VERSION, v.RANDOM_POLICY).astype(object),
    )


@pytest.mark.slow
def test_a_clone_agrees_with_the_rules_at_default_settings(period):
    """On at least 99 % of the decisions about players that were held out of training."""
    config = training_config(period, agent="behavioral_cloning", set_="agent.clone=rules")
    training, holdout = split_environments(logged(3, 4000), config.holdout)
    training, holdout = decided(training, holdout, period, config, None)
    fitted = fit(
        training, holdout, observation=MessageTiming.observation, action=MessageTiming.action, config=config, seed=0
    )
    assert len(holdout) > 1000
    chosen = fitted.values(fitted.preprocessing.apply(holdout.observation)).numpy().argmax(axis=1)
    assert (chosen == MessageTiming().rules(holdout.observation)).mean() >= 0.99
    assert fitted.metrics[AGREEMENT] >= 0.99
    assert fitted.metrics[STEPS] == config.steps


def test_the_actions_become_those_of_the_rules_and_nothing_else_changes(period):
    rows = logged(1, 50)
    ruled, held = decided(rows, rows.take(np.arange(5)), period, _cloning(period, "rules"), None)
    np.testing.assert_array_equal(ruled.action, MessageTiming().rules(rows.observation))
    np.testing.assert_array_equal(held.action, ruled.action[:5])
    assert (ruled.action != rows.action).any()
    np.testing.assert_array_equal(ruled.env_id, rows.env_id)


def test_a_clone_of_the_logs_learns_what_was_logged(period):
    rows = logged(1, 50)
    assert decided(rows, rows, period, _cloning(period, "logs"), None) == (rows, rows)


def test_rules_that_choose_what_is_not_allowed_are_refused(period):
    rows = logged(1, 50)
    mask = np.ones((50, 24), bool)
    mask[7, MessageTiming().rules(rows.observation)[7]] = False
    with pytest.raises(SpecError, match=r"masked actions in 1 of 50 rows, for example row 7"):
        decided(replace(rows, action_mask=mask), rows, period, _cloning(period, "rules"), None)


def test_rules_over_several_sets_become_combinations():
    application = Bundle()
    period = Period(application, application.cadence.first, 0, "main.rl.bundle")
    rows = replace(logged(1, 20), observation=application.world().reset(20, 0))
    ruled, _ = decided(rows, rows, period, _cloning(period, "rules"), None)
    chosen = application.rules(rows.observation)
    np.testing.assert_array_equal(ruled.action, chosen[:, 0] * application.action.sizes[1] + chosen[:, 1])


def test_without_rules_there_is_nothing_to_clone(period):
    class Ruleless(MessageTiming):
        rules = Application.rules

    rows = logged(1, 50)
    with pytest.raises(ConfigError, match=r"agent\.clone = 'rules': Ruleless does not define rules"):
        decided(rows, rows, replace(period, application=Ruleless()), _cloning(period, "rules"), None)


def test_rules_that_fail_are_told_apart(period):
    class Failing(MessageTiming):
        def rules(self, observations):
            return observations["no_such_feature"]

    rows = logged(1, 50)
    with pytest.raises(ConfigError, match=r"rules\(observations\): .*KeyError: 'no_such_feature'"):
        decided(rows, rows, replace(period, application=Failing()), _cloning(period, "rules"), None)


def test_an_on_policy_agent_gets_what_its_version_decided(period):
    config = training_config(period, agent="ppo")
    assert reading(period.application, config).keeps_policy
    assert not reading(period.application, training_config(period)).keeps_policy
    rows = logged(1, 60)
    further, _ = decided(rows, rows, period, config, VERSION)
    np.testing.assert_array_equal(further.env_id, rows.env_id[::3])
    afresh, _ = decided(rows, rows, period, config, None)
    assert len(afresh) == 40
    assert decided(rows, rows, period, training_config(period), VERSION)[0] is rows


def test_decisions_whose_version_is_not_said_are_left_to_their_propensities():
    rows = logged(1, 60)
    assert own(rows, "main.rl.message_timing/9") is rows
    assert own(replace(rows, policy_version=None), VERSION).policy_version is None


def _cloning(period, whom):
    return training_config(period, agent="behavioral_cloning", set_=f"agent.clone={whom}")
