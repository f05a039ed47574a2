"""Who becomes champion, who does not, and what the registry says afterwards."""

from __future__ import annotations

import mlflow
import pytest
from mlflow.tracking import MlflowClient

import rlbake.registry.promote as promotion
from rlbake import vocabulary as v
from rlbake.errors import ConfigError, GateRefused, NotFoundError, StorageError
from rlbake.registry.promote import Promotion, champion_of, promote
from rlbake.registry.versions import ResolvedModel
from rlbake.tracking.runs import stage_run
from tests.registry.conftest import NAME, Register, evaluate


def _aliases() -> dict[str, str]:
    return {alias: str(number) for alias, number in MlflowClient().get_registered_model(NAME).aliases.items()}


def _promote(model: ResolvedModel, **options: float) -> tuple[Promotion, str]:
    with stage_run("promote", application="demo") as run:
        return promote(NAME, str(model.version), run=run, **options), run.run_id


def test_the_first_agent_better_than_chance_becomes_champion(registered: Register) -> None:
    model = registered(100.0)
    assert _aliases() == {v.CHALLENGER: "1"}
    done, run_id = _promote(model)
    assert done.champion == champion_of(NAME) == model
    assert (done.replaced, done.forced) == (None, False)
    assert _aliases() == {v.CHAMPION: "1"}
    metrics = mlflow.get_run(run_id).data.metrics
    assert metrics == {"gate/evidence": 1, "gate/better_than_random": 1, "gate/not_worse_than_champion": 1}
    assert MlflowClient().get_model_version(NAME, "1").tags == {v.TAG_GATE_RUN: run_id, v.TAG_FORCED: "false"}


def test_an_agent_at_least_as_good_replaces_the_champion(registered: Register) -> None:
    _promote(registered(100.0))
    done, _ = _promote(registered(100.0))
    assert done.replaced == "1"
    assert _aliases() == {v.CHAMPION: "2", v.PREVIOUS: "1"}
    assert MlflowClient().get_model_version(NAME, "2").tags[v.TAG_REPLACED] == "1"


def test_a_worse_agent_is_refused_and_nothing_else_moves(registered: Register) -> None:
    _promote(registered(100.0))
    _promote(registered(120.0))
    worse = registered(119.9)
    registered(500.0)  # a later challenger, not asked about
    with pytest.raises(GateRefused, match=r"109\.9 is below that of the champion main\.rl\.demo/2") as refused:
        _promote(worse)
    assert "main.rl.demo/3 does not become champion" in str(refused.value)
    assert _aliases() == {v.CHAMPION: "2", v.PREVIOUS: "1", v.CHALLENGER: "3"}


def test_a_refusal_is_on_the_run(registered: Register) -> None:
    model = registered(25.0)
    with pytest.raises(GateRefused), stage_run("promote", application="demo") as run:
        promote(NAME, str(model.version), run=run)
    ended = mlflow.get_run(run.run_id)
    assert ended.info.status == "FAILED"
    assert "below chance" in ended.data.tags[v.TAG_FAILURE]
    assert ended.data.metrics["gate/better_than_random"] == 0
    assert ended.data.metrics["gate/evidence"] == 1
    assert MlflowClient().get_model_version(NAME, "1").tags[v.TAG_GATE_RUN] == run.run_id


def test_every_reason_is_given(registered: Register) -> None:
    _promote(registered(100.0))
    with pytest.raises(GateRefused, match=r"(?s)below chance.*below that of the champion"):
        _promote(registered(10.0))


def test_missing_evidence_is_a_refusal_on_either_side(registered: Register) -> None:
    with pytest.raises(GateRefused, match=r"main\.rl\.demo/1 has no simulated return: evaluate it first"):
        _promote(registered(None))
    _promote(registered(None), force=True)
    with pytest.raises(GateRefused, match=r"no simulated return of main\.rl\.demo/2\. Evaluate both"):
        _promote(registered(100.0))


def test_a_margin_raises_the_bar_or_lowers_it(registered: Register) -> None:
    _promote(registered(100.0))
    better, slightly_worse = registered(104.0), registered(97.0)
    with pytest.raises(GateRefused, match=r"90 \+ 5"):
        _promote(better, margin=5.0)
    _promote(slightly_worse, margin=-5.0)
    assert _aliases()[v.CHAMPION] == "3"


def test_force_overrules_the_gate_and_says_so(registered: Register) -> None:
    _promote(registered(100.0))
    done, run_id = _promote(registered(30.0), force=True)
    assert done.forced
    assert _aliases() == {v.CHAMPION: "2", v.PREVIOUS: "1"}
    tags = MlflowClient().get_model_version(NAME, "2").tags
    assert tags == {v.TAG_GATE_RUN: run_id, v.TAG_FORCED: "true", v.TAG_REPLACED: "1"}
    assert mlflow.get_run(run_id).data.metrics["gate/not_worse_than_champion"] == 0


def test_the_latest_evaluation_counts(registered: Register) -> None:
    _promote(registered(100.0))
    model = registered(50.0)
    with pytest.raises(GateRefused):
        _promote(model)
    evaluate(model, 150.0)
    _promote(model)
    assert _aliases()[v.CHAMPION] == "2"


def test_promoting_the_champion_changes_nothing(registered: Register) -> None:
    _promote(registered(100.0))
    model = registered(110.0)
    _promote(model)
    before = _aliases()
    done, _ = _promote(model)
    assert done == Promotion(model, None, (), forced=False)
    assert _aliases() == before


def test_a_champion_that_changes_meanwhile_stops_the_move(
    registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    _promote(registered(100.0))
    registered(110.0)
    third = registered(120.0)
    judge = promotion.judge

    def judged_slowly(contest: object) -> object:
        MlflowClient().set_registered_model_alias(NAME, v.CHAMPION, "2")  # somebody else is faster
        return judge(contest)

    monkeypatch.setattr(promotion, "judge", judged_slowly)
    with pytest.raises(StorageError, match="changed from 1 to 2"):
        _promote(third)
    assert _aliases()[v.CHAMPION] == "2"
    assert v.PREVIOUS not in _aliases()


def test_an_alias_may_name_the_challenger(registered: Register) -> None:
    registered(100.0)
    with stage_run("promote", application="demo") as run:
        promote(NAME, "challenger", run=run)
    assert _aliases() == {v.CHAMPION: "1"}


def test_an_unknown_version_and_a_wrong_margin_are_user_errors(registered: Register) -> None:
    model = registered(100.0)
    with (
        pytest.raises(NotFoundError, match=r"models:/main\.rl\.demo/7.*latest 1"),
        stage_run("p", application="d") as run,
    ):
        promote(NAME, "7", run=run)
    with pytest.raises(ConfigError, match="margin nan"):
        _promote(model, margin=float("nan"))
