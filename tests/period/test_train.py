"""What the configuration says about rows reaches those who read them."""

from datetime import timedelta

import pytest

from rlbake.errors import ConfigError
from rlbake.period.period import Period
from rlbake.period.train import training_config
from rlbake.scenarios.message_timing import MessageTiming
from rlbake.training.reading import reading


@pytest.fixture
def period() -> Period:
    application = MessageTiming()
    return Period(application, application.cadence.first, 0, "main.rl.message_timing")


def test_the_application_decides_where_nothing_is_set(period):
    read = reading(period.application, training_config(period))
    assert {m: w for m, w in read.reward.items() if w} == {m: w for m, w in MessageTiming.reward.items() if w}
    assert (read.gamma, read.gamma_period) == (MessageTiming.gamma, None)
    assert tuple(read.observation) == tuple(MessageTiming.observation)


def test_what_is_set_is_read(period):
    metric, other = MessageTiming.metrics[0], MessageTiming.metrics[1:]
    config = training_config(period, set_=f"reward.{metric}=7,gamma=0.3,gamma_period=2d,n_step=4")
    read = reading(period.application, config)
    assert read.reward[metric] == 7
    assert all(read.reward[name] == MessageTiming.reward.get(name, 0) for name in other)
    assert (read.gamma, read.gamma_period, read.n_step) == (0.3, timedelta(days=2), 4)


def test_an_unknown_metric_is_named_with_the_nearest(period):
    with pytest.raises(ConfigError, match=r"reward.clik = 2: there is no such metric. Did you mean 'click'"):
        training_config(period, set_="reward.clik=2")
