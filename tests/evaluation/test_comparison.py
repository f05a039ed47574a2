"""Candidates on the same held-out decisions, in a world whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.dataset.transitions import Transitions
from rlbake.errors import ConfigError
from rlbake.evaluation.candidates import Candidate
from rlbake.evaluation.comparison import PER_DECISION, PER_EPISODE, compare
from rlbake.evaluation.evaluation import AGENT, CHAMPION, FIXED, LOGGED
from rlbake.specs import Binary, Category, Discrete, Number

OBSERVATION = (Binary("sun"), Category("country", ["US", "DE"]), Number("noise"))
ACTION = Discrete(["beach", "museum"])
DAY = np.datetime64("2026-01-01", "us")
HOUR = np.timedelta64(3600, "s")


def logged(environments: int, steps: int, seed: int, gamma: float) -> tuple[Transitions, np.ndarray]:
    """Whoever goes to the beach with sun, or to the museum without, is happy, but for a fifth of the times."""
    random = np.random.default_rng(seed)
    rows = environments * steps
    step = np.tile(np.arange(steps), environments)
    sun, country = random.random(rows) < 0.5, random.choice(["US", "DE"], rows)
    action = (random.random(rows) < 0.4).astype(np.int32)
    happy = ((action == 0) == sun) ^ (random.random(rows) < 0.2)
    last = step == steps - 1
    time = DAY + step * HOUR
    seen = {"sun": sun, "country": country.astype(object), "noise": random.normal(size=rows).astype(np.float32)}
    follows = np.minimum(np.arange(rows) + 1, rows - 1)
    transitions = Transitions(
        env_id=np.repeat([f"p{seed}-{n}" for n in range(environments)], steps).astype(object),
        timestamp=time,
        next_timestamp=np.where(last, np.datetime64("NaT"), time + HOUR),
        step_type=np.where(step == 0, v.FIRST, v.MID).astype(np.int32),
        end=np.where(last, v.TERMINATED, v.NOT_ENDED).astype(object),
        observation=seen,
        action=action,
        log_probability=np.log(np.where(action == 1, 0.4, 0.6)).astype(np.float32),
        reward=happy.astype(float),
        discount=np.where(last, 0.0, gamma),
        next_observation={name: column[follows] for name, column in seen.items()},
        next_action_mask=None,
        episode=np.full(rows, DAY),
        metrics={"happy": happy.astype(float), "coins": 3.0 * action},
    )
    return transitions, np.exp(transitions.log_probability.astype(np.float64))


def chooses(*, beach_with_sun: float, beach_without: float) -> Candidate:
    def probabilities(observations, mask):
        beach = np.where(observations["sun"], beach_with_sun, beach_without)
        return np.stack([beach, 1 - beach], axis=1)

    return Candidate("", probabilities)


def named(name: str, candidate: Candidate) -> Candidate:
    return Candidate(name, candidate.probabilities)


WISE, FOOLISH = chooses(beach_with_sun=0.9, beach_without=0.1), chooses(beach_with_sun=0.1, beach_without=0.9)
MUSEUM = chooses(beach_with_sun=0.0, beach_without=0.0)
EVERYBODY = [named(AGENT, WISE), named(CHAMPION, FOOLISH), named(FIXED, MUSEUM)]


def compared(gamma: float, everybody=EVERYBODY, **options):
    training, _ = logged(300, 4, 1, gamma)
    holdout, propensity = logged(300, 4, 2, gamma)
    return compare(
        training, holdout, everybody, propensity=propensity, observation=OBSERVATION, action=ACTION,
        **options,
    ), holdout  # fmt: skip


@pytest.fixture(scope="module")
def one_step():
    return compared(0.0, metrics=("happy", "coins"))


@pytest.fixture(scope="module")
def sequential():
    return compared(0.5)


def test_values_per_decision(one_step):
    found, holdout = one_step
    assert (found.unit, found.primary, found.environments) == (PER_DECISION, "dr", 300)
    # right in 9 of 10 choices, of which a fifth goes wrong: 0.9 * 0.8 + 0.1 * 0.2
    for name, truth in ((AGENT, 0.74), (CHAMPION, 0.26), (FIXED, 0.5)):
        figure = found.estimates[name]["dr"]
        assert figure.low < truth < figure.high
        assert figure.high - figure.low < 0.15
    assert found.estimates[LOGGED][LOGGED].value == pytest.approx(holdout.reward.mean())
    assert set(found.estimates[AGENT]) > {"ips", "snips", "dm", "dr", "sndr", "switch_dr"}


def test_differences_are_paired(one_step):
    found, _ = one_step
    against = found.differences[CHAMPION]
    assert against.value == pytest.approx(found.estimates[AGENT]["dr"].value - found.estimates[CHAMPION]["dr"].value)
    assert against.low < 0.48 < against.high
    assert set(found.differences) == {CHAMPION, FIXED, LOGGED}


def test_every_metric_is_an_outcome_of_its_own(one_step):
    found, _ = one_step
    assert found.metrics["happy"][AGENT].value == pytest.approx(found.estimates[AGENT]["dr"].value, abs=0.02)
    coins = found.metric_differences["coins"]  # both go to the museum half of the time
    assert coins.low < 0 < coins.high
    assert set(found.metrics["coins"]) == {AGENT, CHAMPION}


def test_segments_tell_parts_apart(one_step):
    found, holdout = one_step
    parts = {(s.feature, s.part): s for s in found.segments}
    assert set(parts) == {("sun", "false"), ("sun", "true"), ("country", "DE"), ("country", "US")}
    assert parts["sun", "true"].decisions + parts["sun", "false"].decisions == len(holdout)
    assert parts["sun", "true"].values[AGENT].low < 0.74 < parts["sun", "true"].values[AGENT].high
    assert parts["sun", "true"].difference.low > 0


def test_chosen_segments_and_quarters_of_a_number():
    found, holdout = compared(0.0, [named(AGENT, WISE)], segments=("noise",))
    assert [s.feature for s in found.segments] == ["noise"] * 4
    assert all(s.part.startswith("[") for s in found.segments)
    assert sum(s.decisions for s in found.segments) == len(holdout)
    assert set(found.segments[0].values) == {AGENT, LOGGED}  # there is no champion


def test_whole_episodes_where_steps_look_ahead(sequential):
    found, holdout = sequential
    assert (found.unit, found.primary) == (PER_EPISODE, "sequential_sndr")
    factor = 1 + 0.5 + 0.25 + 0.125
    for name, truth in ((AGENT, 0.74), (CHAMPION, 0.26)):
        figure = found.estimates[name]["sequential_dr"]
        assert figure.low < truth * factor < figure.high
    discounts = np.tile([1, 0.5, 0.25, 0.125], 300)
    assert found.estimates[LOGGED][LOGGED].value == pytest.approx((holdout.reward * discounts).sum() / 300)
    assert found.support[AGENT].ess < 300  # of episodes


def test_segments_of_episodes_go_by_how_they_begin(sequential):
    found, holdout = sequential
    begins = holdout.observation["country"][::4]
    parts = {s.part: s.decisions for s in found.segments if s.feature == "country"}
    assert parts == {name: 4 * int((begins == name).sum()) for name in ("DE", "US")}


def test_nothing_is_gained_over_oneself():
    found, _ = compared(0.0, [named(AGENT, WISE), named(CHAMPION, WISE)])
    difference = found.differences[CHAMPION]
    assert (difference.value, difference.low, difference.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_another_primary_and_an_unknown_one():
    assert compared(0.0, [named(AGENT, WISE)], primary="snips")[0].primary == "snips"
    with pytest.raises(
        ConfigError,
        match=r"primary 'snip': there is no such estimator of the reward per decision\. Did you mean 'snips'",
    ):
        compared(0.0, [named(AGENT, WISE)], primary="snip")
