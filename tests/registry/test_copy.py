"""The same model under another name."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import ConfigError, NotFoundError
from rlbake.registry.copy import copy_version
from rlbake.registry.evidence import latest_evaluation
from rlbake.registry.versions import ResolvedModel, register, resolve
from rlbake.tracking.lineage import walk
from rlbake.tracking.model import log_agent
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect
from tests.registry.conftest import NAME, Register, aliases, evaluate, promoted, tags
from tests.tracking.conftest import policy_dir as exported  # noqa: F401 (a fixture)

PROD = "prod.rl.demo"


def test_a_copy_is_the_same_model_with_its_evidence_but_not_its_decisions(champion: ResolvedModel) -> None:
    copied = copy_version("models:/main.rl.demo@champion", PROD)
    assert (copied.name, copied.version, copied.model_id) == (PROD, "1", champion.model_id)
    assert copied.run_id == champion.run_id
    assert tags("1", PROD) == {v.TAG_COPIED_FROM: "main.rl.demo/1"}
    assert aliases(PROD) == {v.CHALLENGER: "1"}
    assert aliases() == {v.CHAMPION: "1"}
    assert latest_evaluation(copied) == latest_evaluation(champion)
    assert walk(copied.uri).training.run_id == champion.run_id
    done, _ = promoted(copied, name=PROD)  # it was evaluated where there was no champion, and here is none
    assert done.moved
    assert aliases(PROD) == {v.CHAMPION: "1"}


def test_it_is_copied_once(champion: ResolvedModel, registered: Register) -> None:
    first = copy_version(champion.uri, PROD)
    other = copy_version(registered().uri, PROD)
    assert other.version == "2"
    assert copy_version(champion.uri, PROD) == first


def test_what_was_shown_against_one_champion_counts_for_no_other(champion: ResolvedModel, registered: Register) -> None:
    copy = copy_version(champion.uri, PROD)
    promoted(copy, name=PROD)
    better = registered()
    evaluate(better)  # against main's champion, which is the same model as prod's
    assert promoted(copy_version(better.uri, PROD), name=PROD)[0].replaced == "1"


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("models:/main.rl.demo/1", ConfigError, "is a version of main.rl.demo already"),
        ("models:/main.rl.demo/9", NotFoundError, "there is no model"),
        ("models:/dev.rl.demo@champion", NotFoundError, "there is no model"),
        ("dev.rl.demo/1", NotFoundError, "names no model"),
    ],
)
def test_a_source_that_is_none(registered: Register, source: str, error: type[Exception], said: str) -> None:
    registered()
    with pytest.raises(error, match=said):
        copy_version(source, NAME)


def test_a_logged_model_without_a_name_is_no_source(registered: Register) -> None:
    with pytest.raises(ConfigError, match="is no registered version"):
        copy_version(f"models:/{registered().model_id}", PROD)


def test_a_copy_decides_alike_under_its_own_name(tracking_uri: str, exported: Path) -> None:  # noqa: F811
    connect()
    with stage_run("train", application="demo"):
        info = log_agent(exported, application="demo")
    origin = register(info, NAME)
    copied = copy_version(origin.uri, PROD)
    here, there = (mlflow.pyfunc.load_model(model.uri) for model in (origin, copied))
    decided, again = here.predict(here.input_example), there.predict(there.input_example)
    assert decided["action"].tolist() == again["action"].tolist()
    assert decided["log_probability"].tolist() == again["log_probability"].tolist()
    assert again["policy_version"].tolist() == ["prod.rl.demo/1"]
    MlflowClient().delete_registered_model(NAME)  # dev may be tidied up
    assert resolve("1", name=PROD).model_id == origin.model_id
    assert len(mlflow.pyfunc.load_model(copied.uri).predict(here.input_example)) == 1
