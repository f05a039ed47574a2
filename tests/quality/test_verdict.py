"""What is good, what needs attention, and what is a problem: on either side of every threshold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rlbake import vocabulary as v
from rlbake.quality.report import Joined, QualityReport, Rejection
from rlbake.quality.verdict import ATTENTION, GOOD, PROBLEM, findings, headline
from rlbake.specs import Continuous, Discrete, MultiDiscrete
from tests.quality.reports import HOURS, ROWS, empty, labels, messy, number, report, shop, window


def level(made: QualityReport, said: str) -> str:
    """Of the one finding that says so."""
    (found,) = [finding for finding in findings(made) if said in finding.what.replace("\N{NO-BREAK SPACE}", " ")]
    return found.level


def says(made: QualityReport, said: str) -> bool:
    return any(said in finding.what.replace("\N{NO-BREAK SPACE}", " ") for finding in findings(made))


def test_a_shop_in_order():
    found = findings(report())
    assert {finding.level for finding in found} == {GOOD}
    assert headline(found) == "Nothing in this data needs attention."
    assert [finding.what.replace("\N{NO-BREAK SPACE}", " ") for finding in found] == [
        "None of 20,000 rows was rejected.",
        "Of what is not left open, every decision can be trained on.",
        "Propensities are known for every decision.",
        "Every action was taken.",
        "No feature is missing in more than 12.5 % of the rows.",
    ]


def test_the_worst_comes_first():
    made = replace(messy(), windows=(*messy().windows, window(rejected=2_000)))
    found = findings(made)
    assert [finding.level for finding in found] == sorted(
        (finding.level for finding in found), key=[PROBLEM, ATTENTION, GOOD].index
    )
    assert headline(found).startswith("1\N{NO-BREAK SPACE}problem to solve before trusting this data; ")


@pytest.mark.parametrize(("rejected", "expected"), [(1, ATTENTION), (200, ATTENTION), (201, PROBLEM)])
def test_rejected_rows(rejected, expected):
    rejection = Rejection("null_key", "NULL key", "player", rejected, (), "")
    made = report(windows=(window(rejected=rejected),), rejections=(rejection,))
    assert level(made, "of the rows were rejected") == expected
    assert says(made, "the most frequent reason: NULL key")


@pytest.mark.parametrize(("lost", "told"), [(202, False), (203, True)])
def test_lost_decisions(lost, told):
    made = report(windows=(window(unobserved=100, timed_out=lost - 100),))
    assert says(made, "can never be trained on") == told


@pytest.mark.parametrize(("open_", "told"), [(3 * ROWS, False), (3 * ROWS + 1, True)])
def test_decisions_left_open(open_, told):
    assert says(report(windows=(window(open=open_),)), "of the decisions are left open") == told


def test_only_the_last_window_leaves_decisions_open():
    assert report(windows=(window(open=ROWS), window(open=ROWS))).open_share == pytest.approx(1 / 3)


def test_no_transition_at_all():
    assert level(empty(), "There is no transition: 20,000 decisions left open.") == PROBLEM


def test_stray_final_observations():
    assert not says(report(windows=(window(stray=200),)), "follow no decision")
    assert level(report(windows=(window(stray=201),)), "follow no decision") == ATTENTION


def test_missing_windows():
    assert level(report(missing=("2026-01-02",)), "1 window had no rows at all: 2026-01-02.") == ATTENTION


def test_joined_logs():
    assert level(report(joined=Joined(1_000, 0, 0)), "A decision was found for every outcome.") == GOOD
    assert level(report(joined=Joined(1_000, 10, 0)), "A decision was found for 99.0 % of the outcomes.") == GOOD
    assert level(report(joined=Joined(1_000, 11, 0)), "belong to no decision (11 of 1,000)") == ATTENTION
    assert level(report(joined=Joined(0, 0, 201)), "201 decisions had no observation") == ATTENTION


def propensities(values: np.ndarray, rows: int = ROWS) -> QualityReport:
    return report(profiles={**shop(), v.LOG_PROBABILITY: number(np.log(values), rows)})


def test_unknown_propensities():
    assert not says(propensities(np.full(ROWS - 200, 0.5)), "is unknown")
    assert level(propensities(np.full(ROWS - 201, 0.5)), "propensity of 1.0 % of the decisions is unknown") == ATTENTION
    assert level(propensities(np.zeros(0)), "The propensity of every decision is unknown.") == ATTENTION


def test_rare_propensities():
    half, two_percent = np.full(ROWS, 0.5), np.arange(ROWS) % 50 == 0
    assert says(propensities(np.where(two_percent, 0.001, half)), "of the known propensities are below 0.01")
    assert not says(propensities(np.where(two_percent, 0.01, half)), "of the known propensities are below")


def test_decisions_without_exploration():
    first = np.arange(ROWS) % 10
    assert says(propensities(np.where(first < 6, 1.0, 0.5)), "of the decisions were certain")
    assert not says(propensities(np.where(first < 4, 1.0, 0.5)), "were certain")


def test_a_density_is_neither_rare_nor_certain():
    for density in (0.001, 1.0, 9.0):
        profiles = {**shop(), v.LOG_PROBABILITY: number(np.full(ROWS, np.log(density)))}
        made = report(profiles=profiles, action=Continuous([0.0], [9.0], ["price"]))
        assert says(made, "Propensities are known for every decision.")
        assert not says(made, "propensities are below")
        assert not says(made, "were certain")


def test_actions_never_taken():
    made = report(action=Discrete([*HOURS, "never"]))
    assert level(made, "1 action never taken: never.") == ATTENTION
    profiles = {**shop(), "action.tone": labels({"warm": ROWS})}
    made = report(profiles=profiles, action=MultiDiscrete({"tone": ["warm", "dry"]}))
    assert level(made, "1 action never taken: tone: dry.") == ATTENTION


def test_rewards_of_zero():
    assert level(report(profiles={**shop(), "reward": number(np.zeros(ROWS))}), "Every reward is 0.") == ATTENTION


@pytest.mark.parametrize(("missing", "told"), [(4_000, False), (4_001, True)])
def test_missing_features(missing, told):
    made = report(profiles={**shop(), "observation.age": number(np.arange(ROWS - missing), ROWS)})
    assert says(made, "1 feature missing in more than 20 % of the rows: age (20.0 %).") == told


@pytest.mark.parametrize(("gap", "told"), [(36_000.0, False), (36_100.0, True)])
def test_long_time_gaps(gap, told):
    gaps = np.where(np.arange(ROWS) % 20 == 0, gap, 3_600.0)
    made = report(profiles={**shop(), "time_gap": number(gaps)})
    assert says(made, "of the time gaps are more than 10 times as long as the median of 1 h") == told


def test_drift():
    before = {"reference": shop(1), "relative_to": "the window before, 2025-12-31"}
    assert level(report(**before), "No column has drifted from the window before, 2025-12-31.") == GOOD
    made = report(profiles=shop(older=4.0), **before)
    assert level(made, "1 column has changed somewhat since the window before, 2025-12-31: age (0.1") == ATTENTION
    made = report(profiles=shop(older=9.0), **before)
    assert level(made, "1 column has changed much since the window before, 2025-12-31: age (") == ATTENTION
    assert made.metrics()["max_psi"] == made.drift["observation.age"].psi >= 0.25


def test_too_few_rows_to_tell_drift_from_chance():
    few = {"observation.age": number(np.arange(100.0))}
    made = report(profiles={**shop(), **few}, reference={"observation.age": number(np.arange(100.0) + 500)})
    assert made.drift["observation.age"].psi > 1
    assert not says(made, "changed")
