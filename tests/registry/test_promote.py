"""Who becomes champion, who does not, and what the registry says afterwards."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient

import rlbake.registry.promote as promotion
from rlbake import vocabulary as v
from rlbake.errors import ConfigError, GateRefused, NotFoundError, StorageError
from rlbake.evaluation.evaluation import CHAMPION, LOGGED
from rlbake.registry.config import read_gate
from rlbake.registry.evidence import latest_evaluation, store_evaluation
from rlbake.registry.promise import Promise, promise_kept_by
from rlbake.registry.promote import Promotion, champion_of
from rlbake.registry.versions import ResolvedModel, resolve
from rlbake.tracking.runs import StageRun, stage_run
from tests.registry.conftest import CADENCE, NAME, Register, aliases, around, evaluate, good, promoted, tags

PROMISE = Promise("sndr", 0.12, 0.12 - 0.01, 0.12 + 0.01, "reward per decision", 0.9, "2026-01-30")


def test_the_first_champion_bears_what_it_was_promised_to_earn(registered: Register) -> None:
    model = registered()
    evaluate(model)
    assert aliases() == {v.CHALLENGER: "1"}
    done, run_id = promoted(model)
    assert done.champion == champion_of(NAME) == model
    assert (done.replaced, done.forced, done.moved, done.refused) == (None, False, True, ())
    assert aliases() == {v.CHAMPION: "1"}
    assert set(tags("1")) == {v.TAG_GATE_RUN, v.TAG_FORCED, v.TAG_PROMISE}
    assert tags("1")[v.TAG_GATE_RUN] == run_id
    assert promise_kept_by(MlflowClient().get_model_version(NAME, "1")) == PROMISE
    record = json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/gate.json"))
    assert (record["challenger"], record["champion"]) == ("main.rl.demo/1", None)
    assert record["config"]["min_ess"] == 100
    assert [rule["name"] for rule in record["rules"] if not rule["passed"]] == []


def test_a_better_one_replaces_the_champion_and_says_whom(champion: ResolvedModel, registered: Register) -> None:
    model = registered()
    evaluate(model)
    done, _ = promoted(model)
    assert done.replaced == "1"
    assert aliases() == {v.CHAMPION: "2", v.PREVIOUS: "1"}
    assert tags("2")[v.TAG_REPLACED] == "1"


def test_a_refused_one_is_the_challenger_and_nothing_else_moves(champion: ResolvedModel, registered: Register) -> None:
    worse = registered()
    evaluate(worse, differences={CHAMPION: around(-0.1)})
    registered()  # a later challenger, not asked about
    with pytest.raises(GateRefused), stage_run("promote", application="demo"):
        promoted(worse)
    assert aliases() == {v.CHAMPION: "1", v.CHALLENGER: "2"}
    assert set(tags("2")) == {v.TAG_GATE_RUN}


def test_what_the_simulated_world_promised_is_in_its_own_unit(registered: Register) -> None:
    model = registered()
    evaluate(model)
    promoted(model, {"primary": "simulated"})
    kept = promise_kept_by(MlflowClient().get_model_version(NAME, "1"))
    assert kept == Promise("simulated", 50.0, 48.0, 52.0, "return per simulated episode", 1.0, "2026-01-30")


def test_force_is_recorded_where_nobody_can_overlook_it(
    champion: ResolvedModel, registered: Register, caplog: pytest.LogCaptureFixture
) -> None:
    model = registered()
    evaluate(model, differences={CHAMPION: around(-0.1)})
    with caplog.at_level(logging.WARNING, "rlbake"):
        done, run_id = promoted(model, force=True)
    assert (done.forced, done.moved) == (True, True)
    assert aliases() == {v.CHAMPION: "2", v.PREVIOUS: "1"}
    assert tags("2")[v.TAG_FORCED] == "true"
    run = mlflow.get_run(run_id)
    assert run.data.tags[v.TAG_FORCED] == "true"
    assert run.data.metrics["gate/better"] == 0
    described = MlflowClient().get_model_version(NAME, "2").description
    for said in (described, run.data.tags["mlflow.note.content"], caplog.text):
        assert f"FORCED by run {run_id}: main.rl.demo/2 is champion against the gate: main.rl.demo/2 earns -0.1" in said


def test_force_promotes_even_without_evidence_and_then_promises_nothing(registered: Register) -> None:
    done, _ = promoted(registered(), force=True)
    assert done.forced
    assert v.TAG_PROMISE not in tags("1")


def test_force_is_not_noted_where_it_was_not_needed(registered: Register) -> None:
    model = registered()
    evaluate(model)
    done, run_id = promoted(model, force=True)
    assert not done.forced
    assert tags("1")[v.TAG_FORCED] == "false"
    assert v.TAG_FORCED not in mlflow.get_run(run_id).data.tags


@pytest.mark.parametrize("difference", [0.1, -0.1])
def test_a_dry_run_judges_and_moves_nothing(champion: ResolvedModel, registered: Register, difference: float) -> None:
    model = registered()
    evaluate(model, differences={CHAMPION: around(difference)})
    registered()
    before = aliases(), tags("1"), tags("2")
    done, run_id = promoted(model, dry_run=True)
    assert (aliases(), tags("1"), tags("2")) == before
    assert (done.moved, done.champion, done.replaced, bool(done.refused)) == (False, model, "1", difference < 0)
    run = mlflow.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["gate/better"] == float(difference > 0)


def test_the_latest_evaluation_counts_if_its_run_finished(champion: ResolvedModel, registered: Register) -> None:
    model = registered()
    evaluate(model, differences={CHAMPION: around(-1.0)})
    evaluate(model, decisions=2)
    assert latest_evaluation(model).decisions == 2
    with pytest.raises(RuntimeError), stage_run("evaluate", application="demo") as run:
        _broken(run, model)
    assert latest_evaluation(model).decisions == 2
    assert promoted(model)[0].moved
    assert latest_evaluation(registered()) is None


def _broken(run: StageRun, model: ResolvedModel) -> None:
    store_evaluation(run, replace(good(model), decisions=1))
    raise RuntimeError


def test_promoting_the_champion_changes_nothing(champion: ResolvedModel) -> None:
    before = aliases(), tags("1")
    done, _ = promoted(champion)
    assert done == Promotion(champion, None, (), (), forced=False, moved=False)
    assert (aliases(), tags("1")) == before


@pytest.mark.parametrize(
    ("alias", "said"),
    [(v.CHAMPION, "the champion of main.rl.demo changed from 2 to 3"), (v.PREVIOUS, "the previous .* from 1 to 3")],
)
def test_aliases_that_change_meanwhile_stop_the_move(
    champion: ResolvedModel, registered: Register, monkeypatch: pytest.MonkeyPatch, alias: str, said: str
) -> None:
    for _ in range(3):
        evaluate(registered())
    promoted(resolve("2", name=NAME))
    fourth = resolve("4", name=NAME)
    judge = promotion.judge

    def judged_slowly(*contest: Any) -> Any:
        MlflowClient().set_registered_model_alias(NAME, alias, "3")  # somebody else is faster
        return judge(*contest)

    monkeypatch.setattr(promotion, "judge", judged_slowly)
    with pytest.raises(StorageError, match=said):
        promoted(fourth, force=True)
    now = {v.CHAMPION: "2", v.PREVIOUS: "1", v.CHALLENGER: "4", alias: "3"}
    assert aliases() == now
    assert tags("4") == {}


def test_somebody_who_moves_it_in_the_same_moment_is_noticed(
    champion: ResolvedModel, registered: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(registered())
    third = registered()
    evaluate(third)
    move = MlflowClient.set_registered_model_alias

    def overtaken(self: MlflowClient, name: str, alias: str, version: str) -> None:
        move(self, name, alias, version)
        if alias == v.CHAMPION:
            move(self, name, alias, "2")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", overtaken)
    with pytest.raises(StorageError, match="changed from 3 to 2 while they were moved"):
        promoted(third)


def test_an_unknown_version_or_one_of_another_model_is_a_user_error(registered: Register) -> None:
    elsewhere = registered("dev.rl.demo")
    registered()
    with (
        pytest.raises(NotFoundError, match=r"models:/main\.rl\.demo/7.*latest 1"),
        stage_run("promote", application="demo") as run,
    ):
        promotion.promote(NAME, "7", run=run, config=read_gate(), cadence=CADENCE, newest=CADENCE.first)
    with pytest.raises(ConfigError, match=r"dev\.rl\.demo/1 is no version of main\.rl\.demo: copy it"):
        promoted(elsewhere)


def test_an_evaluation_that_cannot_be_read_is_one_line(registered: Register, tmp_path: Path) -> None:
    model = registered()
    with stage_run("evaluate", application="demo") as run:
        run.log_text('{"model": "old"}', "evaluation.json")
        run.tag({v.TAG_EVALUATION: model.model_id})
    with pytest.raises(StorageError, match=r"written by another version of rlbake.*Evaluate it again"):
        promoted(model)


def test_evaluations_survive_infinite_and_missing_numbers(registered: Register) -> None:
    model = registered()
    kept = evaluate(model, kl=float("inf"), flips=None, differences={LOGGED: around(float("-inf"))})
    assert latest_evaluation(model) == kept
