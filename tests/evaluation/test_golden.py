"""Every estimator against Open Bandit Pipeline and SCOPE-RL on the same rows."""

import numpy as np
import pytest
from scipy import stats

from rlbake.evaluation.estimators import ONE_STEP, SEQUENTIAL, LoggedReturn, LoggedReward
from rlbake.evaluation.intervals import linearised
from rlbake.evaluation.support import support
from tests.evaluation.golden import CASES, every_golden, rows

GOLDEN = [pytest.param(golden, id=f"{golden.case}-{golden.theirs}") for golden in every_golden()]
SEQUENCES = [case for case, found in CASES.items() if found["by"] == "scope-rl"]


@pytest.mark.parametrize("golden", GOLDEN)
def test_the_value_is_the_peers(golden):
    assert golden.value() == pytest.approx(golden.expected["value"], rel=golden.tolerance, abs=0)


@pytest.mark.parametrize("golden", GOLDEN)
def test_each_contributes_what_it_does_there(golden):
    found = golden.ours.contributions(golden.rows)
    assert found.mean() == pytest.approx(golden.value(), rel=1e-12)
    if "per_trajectory" in golden.expected:
        np.testing.assert_allclose(found, golden.expected["per_trajectory"], rtol=golden.tolerance, atol=1e-12)
    theirs = golden.expected.get("se_ddof1", golden.expected.get("se_of_round_rewards_ddof1"))
    if theirs is not None:
        assert found.std(ddof=1) / np.sqrt(len(found)) == pytest.approx(theirs, rel=golden.tolerance, abs=0)
    if "ci" in golden.expected:  # theirs is two-sided at 90 %
        n, expected = len(found), golden.expected["ci"]["ttest"]
        half = stats.t.ppf(0.95, n - 1) * found.std(ddof=1) / np.sqrt(n)
        assert found.mean() - half == pytest.approx(expected["95.0% CI (lower)"], rel=golden.tolerance, abs=1e-8)
        assert found.mean() + half == pytest.approx(expected["95.0% CI (upper)"], rel=golden.tolerance, abs=1e-8)


@pytest.mark.parametrize(
    "golden", [g for g in GOLDEN if "ci" in g.values[0].expected and not g.values[0].theirs.startswith("SN")]
)
def test_the_t_interval_of_a_mean_over_episodes_is_the_peers(golden):
    interval = linearised(golden.ours, golden.ours.components(golden.rows), confidence=0.9)
    expected = golden.expected["ci"]["ttest"]
    assert interval.low == pytest.approx(expected["95.0% CI (lower)"], rel=1e-9)
    assert interval.high == pytest.approx(expected["95.0% CI (upper)"], rel=1e-9)


def test_there_is_a_golden_value_for_every_estimator_but_what_the_peers_lack():
    compared = {golden.ours.name for golden in every_golden()}
    assert {*ONE_STEP, *SEQUENTIAL} - compared == {"logged", "magic"}


@pytest.mark.parametrize("case", SEQUENCES)
def test_what_was_logged(case):
    logged = LoggedReturn(gamma=CASES[case]["gamma"], horizon=CASES[case]["step_per_trajectory"])
    found = linearised(logged, logged.components(rows(case)))
    assert found.value == pytest.approx(CASES[case]["on_policy_behavior_value"], rel=1e-12)


def test_what_was_logged_per_decision():
    found = linearised(LoggedReward(), LoggedReward().components(rows("bandit_binary")))
    assert found.value == pytest.approx(CASES["bandit_binary"]["mean_logged_reward"], rel=1e-12)


def test_support_of_decisions():
    expected, found = CASES["bandit_binary"], support(rows("bandit_binary"), sequential=False)
    assert found.ess == pytest.approx(expected["ess"], rel=1e-9)
    assert found.overlap == pytest.approx(expected["mean_weight"], rel=1e-9)
    assert found.max_weight == pytest.approx(expected["max_weight"], rel=1e-9)


@pytest.mark.parametrize("case", SEQUENCES)
def test_support_of_episodes(case):
    found = support(rows(case), sequential=True)
    assert found.ess == pytest.approx(CASES[case]["ess_traj_weight"], rel=1e-9)
    assert found.max_weight == pytest.approx(CASES[case]["max_traj_weight"], rel=1e-9)


@pytest.mark.parametrize("case", SEQUENCES)
def test_magic_lies_between_its_parts(case):
    given = {"gamma": CASES[case]["gamma"], "horizon": CASES[case]["step_per_trajectory"]}
    parts = {name: make(**given) for name, make in SEQUENTIAL.items()}
    found = {name: linearised(e, e.components(rows(case))) for name, e in parts.items()}
    assert found["magic"].se <= found["sequential_sndr"].se
    assert abs(found["magic"].value - found["fqe"].value) < abs(found["sequential_sndr"].value - found["fqe"].value)
