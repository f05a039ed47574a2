"""The truth table of the gate: an agent that passes everything, and for each rule one that fails that rule alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlflow
import pytest

from rlbake import vocabulary as v
from rlbake.errors import GateRefused
from rlbake.evaluation.evaluation import AGENT, CHAMPION, LOGGED, RULES, Figure, Simulated
from rlbake.registry.gate import RULES as ALL
from rlbake.registry.versions import ResolvedModel
from tests.registry.conftest import SUPPORT, Register, aliases, around, evaluate, good, promoted

RULE_NAMES = [name for name, _ in ALL]
WORLD = Simulated(mean=50.0, low=48.0, high=52.0, best=100.0, random=10.0, score=0.44)


def weak(who: str = AGENT, **changed: Any) -> dict[str, Any]:
    """The support of challenger and champion, one of them changed."""
    return {AGENT: SUPPORT, CHAMPION: SUPPORT} | {who: replace(SUPPORT, **changed)}


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "compared with an earlier champion": (
        "evidence", {"champion": "main.rl.demo/0", "champion_id": "m-0"}, {},
        r"main.rl.demo/2 was compared with main.rl.demo/0, and the champion is main.rl.demo/1 now",
    ),
    "the logs refuse": (
        "support", {"refusals": ("No weight can be computed.",)}, {}, "No weight can be computed",
    ),
    "heavy tail": ("support", {"support": weak(tail=0.71)}, {}, r"shape 0\.71, above 0\.7"),
    "heavy tail of the champion": ("support", {"support": weak(CHAMPION, tail=0.9)}, {}, "of the champion decide"),
    "an interval that promises nothing": (
        "support", {"differences": {CHAMPION: Figure(0.03, 0.02, 0.04, claims_coverage=False)}}, {}, "does not claim",
    ),
    "doubts": (
        "support", {"support": weak(CHAMPION, warnings=("One decision has 12% of all weight.",))}, {},
        r"cannot tell what main.rl.demo/2 earns. Of the champion: One decision has 12% of all weight\.",
    ),
    "few environments": ("environments", {"environments": 29}, {}, "29 environments were held out, fewer than 30"),
    "small ess": ("ess", {"support": weak(ess=29.9)}, {}, r"size of the agent is 29\.9, below 100"),
    "small ess of the champion": ("ess", {"support": weak(CHAMPION, ess=3.0)}, {}, "size of the champion is 3, below"),
    "little overlap": ("overlap", {"support": weak(overlap=0.4)}, {}, r"logs of the agent is 0\.4, below 0\.8"),
    "estimated propensities": (
        "propensities", {"propensities": replace(good(ResolvedModel("n", "1", "m-1", "", "", "")).propensities,
                                                 source="estimated", estimated=1.0)}, {}, "100.0% of the logging",
    ),
    "certain logging": ("propensities", {"support": weak(deterministic=0.6)}, {}, r"60\.0% of the logged decisions"),
    "unknown propensities": ("propensities", {"propensities": None}, {}, "nothing is known about the logged prob"),
    "old windows": ("fresh", {"windows": ("2026-01-26", "2026-01-27")}, {}, "2026-01-27, is 4 periods older"),
    "no windows": ("fresh", {"windows": ()}, {}, "not known which windows"),
    "maybe worse": (
        "better", {"differences": {CHAMPION: around(0.009)}}, {},
        r"\+0\.009 reward per decision compared with the champion main.rl.demo/1, at least -0\.001 .* below the margin",
    ),
    "not by the margin": ("better", {}, {"margin": 0.021}, r"at least \+0\.02 .* below the margin 0\.021"),
    "not compared": ("better", {"differences": {LOGGED: around(0.03)}}, {}, "was not compared with the champion"),
    "compared by something else": ("better", {}, {"primary": "snips"}, "compared by sndr, and the gate asks for snips"),
    "a guardrail that must rise": (
        "guardrails", {}, {"guardrails": {"click": {"limit": 0.021}}}, r"lower bound 0\.02 is below the limit 0\.021",
    ),
    "a guardrail that must not rise": (
        "guardrails", {}, {"guardrails": {"unsubscribe": {"better": "lower", "limit": 0.0009}}},
        r"unsubscribe compared with the champion .* upper bound 0\.001 is above the limit 0\.0009",
    ),
    "a guardrail's value": (
        "guardrails", {}, {"guardrails": {"unsubscribe": {"of": "value", "better": "lower", "limit": 0.0029}}},
        r"unsubscribe of main.rl.demo/2 is 0\.002, and its upper bound 0\.003 is above",
    ),
    "an unknown guardrail": ("guardrails", {}, {"guardrails": {"clik": {"limit": 0}}}, "Did you mean 'click'"),
    "worse in the simulated world": (
        "simulation", {"simulated": replace(WORLD, mean=46.9)}, {}, r"returns 46\.9 .* below the champion's .* 47",
    ),
    "not played": ("simulation", {"simulated": None}, {}, "main.rl.demo/2 has not been played"),
    "champion not played": ("simulation", {"champion_simulated": None}, {}, "champion .* has not been played"),
    "drifted": ("drift", {"drift": {"x": 0.26, "y": 0.1}}, {}, r"x has drifted most .* 0\.26, above 0\.25"),
    "drift that is no number": ("drift", {"drift": {"x": float("nan"), "y": 0.1}}, {}, "x has drifted most"),
    "unknown drift": ("drift", {"drift": None}, {}, "the drift of the inputs .* is not known"),
    "does not load": (
        "environment", {"loads": False, "loads_message": "no module named x."}, {}, "does not work in .* named x",
    ),
    "not tried": ("environment", {"loads": None}, {}, "has not been tried in a fresh environment"),
    "tried elsewhere": ("environment", {"loads_in": "process"}, {}, "has not been tried in a fresh environment"),
    "too many flips": (
        "change", {}, {"max_flips": 0.19}, r"in 20\.0% of cases, more than the budget 0\.19",
    ),
    "too far away": ("change", {"kl": float("inf")}, {"max_kl": 5.0}, "by inf nats, more than the budget 5"),
    "unknown change": ("change", {"flips": None}, {"max_flips": 0.5}, r"not known how much .* \(flips\)"),
}  # fmt: skip


def judged(run_id: str) -> dict[str, float]:
    metrics = mlflow.get_run(run_id).data.metrics
    return {key.removeprefix("gate/"): value for key, value in metrics.items() if key.startswith("gate/")}


def test_there_is_a_case_for_every_rule() -> None:
    assert {rule for rule, *_ in CASES.values()} == set(RULE_NAMES)


@pytest.mark.parametrize("rule", RULE_NAMES)
def test_an_agent_that_fails_one_rule_is_stopped_by_that_one(
    champion: ResolvedModel, registered: Register, rule: str
) -> None:
    model = registered()
    for name, (failing, changes, gate, said) in CASES.items():
        if failing != rule:
            continue
        evaluate(model, **changes)
        with pytest.raises(GateRefused, match=said) as refused:
            promoted(model, gate)
        assert str(refused.value).startswith("main.rl.demo/2 does not become champion: "), name
        (run,) = mlflow.search_runs(
            search_all_experiments=True, order_by=["start_time DESC"], max_results=1, output_format="list"
        )
        assert judged(run.info.run_id) == {known: float(known != rule) for known in RULE_NAMES}, name
        assert run.info.status == "FAILED"
        assert run.data.tags[v.TAG_FAILURE] == str(refused.value)
        assert aliases() == {v.CHAMPION: "1", v.CHALLENGER: "2"}


@pytest.mark.parametrize("gate", [
    {},
    {"margin": 0.0199, "max_flips": 0.2, "max_kl": 0.1, "max_drift": 0.05, "max_age": 1, "min_ess": 900},
    {"max_drift": 0.03, "ignored_drift": ["y"], "loads_in": "process"},
    {"max_drift": 0.0, "ignored_drift": ["x", "y"]},
    {"guardrails": {"click": {"limit": 0.0199},
                    "unsubscribe": {"of": "value", "better": "lower", "limit": 0.003}}},
    {"primary": "simulated", "margin": 1.0},
])  # fmt: skip
def test_one_that_passes_them_all_becomes_champion(
    champion: ResolvedModel, registered: Register, gate: dict[str, Any]
) -> None:
    model = registered()
    evaluate(model)
    _, run_id = promoted(model, gate)
    assert judged(run_id) == dict.fromkeys(RULE_NAMES, 1.0)
    assert aliases() == {v.CHAMPION: "2", v.PREVIOUS: "1"}


def test_without_an_evaluation_nothing_passes_and_it_says_what_to_run(registered: Register) -> None:
    model = registered()
    with pytest.raises(GateRefused) as refused:
        promoted(model)
    assert str(refused.value) == (
        "main.rl.demo/1 does not become champion: main.rl.demo/1 has not been evaluated: run mlflow run . -e evaluate "
        "-P model=models:/main.rl.demo/1."
    )


def test_every_reason_is_given(champion: ResolvedModel, registered: Register) -> None:
    model = registered()
    evaluate(model, differences={CHAMPION: around(-1.0)}, environments=3, loads=False, loads_message="it crashes.")
    with pytest.raises(GateRefused, match=r"(?s)3 environments.*below the margin.*it crashes"):
        promoted(model)


@pytest.mark.parametrize(
    ("differences", "baseline", "passes"),
    [
        ({LOGGED: around(0.01), RULES: around(-1.0)}, "logged", True),
        ({LOGGED: around(0.0099), RULES: around(1.0)}, "logged", False),
        ({LOGGED: around(-1.0), RULES: around(0.01)}, "rules", True),
        ({LOGGED: around(1.0)}, "rules", False),
    ],
)
def test_the_first_champion_must_beat_the_baseline(
    registered: Register, differences: dict[str, Figure], baseline: str, passes: bool
) -> None:
    model = registered()
    evaluate(model, differences=differences)
    if passes:
        assert promoted(model, {"baseline": baseline})[0].moved
    else:
        with pytest.raises(GateRefused, match=f"{baseline} decisions"):
            promoted(model, {"baseline": baseline})


NO_LOGS: dict[str, Any] = {
    "primary": "simulated", "support": {}, "propensities": None, "environments": 0, "decisions": 0, "estimates": {},
    "differences": {}, "metrics": {}, "metric_differences": {}, "refusals": ("There are no logs.",),
}  # fmt: skip


def test_where_the_simulated_world_decides_nothing_is_asked_of_the_logs(registered: Register) -> None:
    first = registered()
    evaluate(first, **NO_LOGS)
    done, run_id = promoted(first)
    assert judged(run_id) == dict.fromkeys(RULE_NAMES, 1.0)
    said = {result.name: result.message for result in done.results}
    for rule in ("support", "propensities", "environments", "ess", "overlap", "guardrails"):
        assert "the simulated world decides" in said[rule]
    second = registered()
    evaluate(second, **NO_LOGS, simulated=replace(WORLD, mean=48.9, low=46.9))
    with pytest.raises(GateRefused, match=r"lower bound 46\.9 is below that of the champion .* margin, 47 \+ 0\."):
        promoted(second)
    promoted(second, {"margin": -0.2})


def test_in_the_simulated_world_the_first_champion_must_beat_chance(registered: Register) -> None:
    model = registered()
    evaluate(model, **NO_LOGS, simulated=replace(WORLD, mean=12.0, low=9.9))
    with pytest.raises(GateRefused, match=r"lower bound 9\.9 is below chance"):
        promoted(model)


def test_guardrails_hold_in_the_simulated_world_too(registered: Register) -> None:
    model = registered()
    evaluate(model, primary="simulated")
    with pytest.raises(GateRefused, match=r"click compared with the logs is 0.03"):
        promoted(model, {"guardrails": {"click": {"limit": 0.5}}})


def test_what_an_application_does_not_have_is_said_and_passes(registered: Register) -> None:
    model = registered()
    evaluate(model, simulated=None)
    said = {result.name: result.message for result in promoted(model)[0].results}
    assert said["simulation"] == "demo has no simulated world."
    assert said["drift"] == "there is no champion whose inputs could have drifted."
    assert said["change"] == "there is no champion to differ from."


def test_doubts_can_be_passed_over(champion: ResolvedModel, registered: Register) -> None:
    model = registered()
    evaluate(model, support=weak(warnings=("One decision has 12% of all weight.",)))
    done, _ = promoted(model, {"allow_doubts": True})
    said = {result.name: result.message for result in done.results}
    assert "trusted all the same (allow_doubts). Of the agent: One decision" in said["support"]


UNTOLD = {**NO_LOGS, "primary": ""}


@pytest.mark.parametrize("gate", [{}, {"primary": "dr"}])
def test_what_the_logs_cannot_tell_is_said_once(champion: ResolvedModel, registered: Register, gate) -> None:
    model = registered()
    evaluate(model, **UNTOLD)
    with pytest.raises(GateRefused) as refused:
        promoted(model, gate)
    said = "the logs cannot tell what main.rl.demo/2 earns: There are no logs."
    assert str(refused.value) == f"main.rl.demo/2 does not become champion: {said}"


def test_the_simulated_world_decides_where_the_logs_cannot_tell(champion: ResolvedModel, registered: Register) -> None:
    model = registered()
    gate = {"primary": "simulated", "guardrails": {"click": {"limit": 0.0}}}
    evaluate(model, **UNTOLD, simulated=None)
    with pytest.raises(GateRefused, match="not been played in a simulated world, and the logs cannot tell what"):
        promoted(model, {"primary": "simulated"})
    evaluate(model, **UNTOLD)
    with pytest.raises(GateRefused, match=r"champion: guardrail click: the logs cannot tell .* There are no logs\.$"):
        promoted(model, gate)
    assert promoted(model, {"primary": "simulated"})[0].moved
