"""A model is trained again from what was recorded, and is the same, or it is said why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from pyspark.sql import SparkSession

from rlbake import vocabulary as v
from rlbake.period.train import train, training_config
from rlbake.registry.versions import ResolvedModel
from rlbake.tracking.__main__ import main
from rlbake.tracking.source_code import MLFLOW_GIT_COMMIT
from tests.period.test_build import Logs, step

QUICK = "steps=40,batch_size=16,n_step=1,agent.layers=[4]"


@pytest.fixture
def logs(spark: SparkSession, tracking_uri: str, tmp_path: Path) -> Logs:
    logs = Logs(tmp_path)
    logs.write(
        step(f"p{i}", f"1 1{hour}:00", x=(7 * i + hour) % 10, action="ab"[(i + hour) % 2], click=(i * hour) % 3)
        for i in range(40)
        for hour in range(3)
    )
    logs.build(1)
    return logs


@pytest.fixture
def model(logs: Logs) -> ResolvedModel:
    return train(logs.period(1), training_config(logs.period(1), set_=QUICK))


def reproduced(model: ResolvedModel, *options: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", model.uri, *options])


def record(model: ResolvedModel, **changed: object) -> None:
    """Makes the run's configuration say something else than what it was trained with."""
    config = json.loads(mlflow.artifacts.load_text(f"runs:/{model.run_id}/config.json"))
    MlflowClient().log_text(model.run_id, json.dumps({**config, **changed}), "config.json")


def test_the_same_model_comes_out_and_another_seed_or_other_code_is_told(model: ResolvedModel) -> None:
    same = reproduced(model)
    assert same.exit_code == 0, same.output
    assert "main.rl.late_logs/1 comes out again: all" in same.output
    (run,) = mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.`{v.TAG_STAGE}` = 'reproduce'", output_format="list"
    )
    assert (run.info.status, run.data.metrics["reproduce/same"]) == ("FINISHED", 1.0)
    assert run.data.tags[v.TAG_MODELS] == model.model_id
    assert len(MlflowClient().search_model_versions("name = 'main.rl.late_logs'")) == 1

    record(model, seed=1)
    other = reproduced(model)
    assert other.exit_code == 1
    assert "main.rl.late_logs/1 does not come out again" in other.output
    assert "numbers differ, by" in other.output
    record(model, seed=0)

    client = MlflowClient()
    client.set_tag(model.run_id, MLFLOW_GIT_COMMIT, "a" * 40)
    client.set_tag(model.run_id, v.TAG_GIT_DIRTY, "true")
    record(model, packages={"tf-agents": "0.0.1", "python": "2.7"})
    refused = reproduced(model)
    assert (refused.exit_code, len(refused.output.splitlines())) == (1, 1)
    for said in (
        "commit aaaaaaaaaa then, none now.",
        "uncommitted changes, which are not recorded",
        "tf-agents 0.0.1 then, 0.18.0 now.",
        "python 2.7 then",
        "--anyway",
    ):
        assert said in refused.output
    run = reproduced(model, "--anyway")
    assert run.exit_code == 0, run.output
    assert "Other code: tf-agents 0.0.1 then, 0.18.0 now." in run.output
    assert "comes out again" in run.output

    record(model, application="")
    unknown = reproduced(model)
    assert (unknown.exit_code, len(unknown.output.splitlines())) == (1, 1)
    assert "did not record application" in unknown.output
    assert "there is no model" in CliRunner().invoke(main, ["reproduce", "models:/main.rl.none/1"]).output


def test_other_data_is_refused_whatever_the_code(logs: Logs, model: ResolvedModel) -> None:
    table = logs.folder / "tables" / "late_logs"
    kept = shutil.move(table, logs.folder / "kept")
    gone = reproduced(model, "--anyway")
    assert (gone.exit_code, len(gone.output.splitlines())) == (1, 1)
    assert "was trained on version 0 of" in gone.output
    assert "which is gone" in gone.output

    logs.write([step("late", "1 10:00")])
    logs.write([step("late", "1 11:00")])
    logs.build(1)
    changed = reproduced(model, "--anyway")
    assert changed.exit_code == 1
    assert "another table stands there" in changed.output

    shutil.rmtree(table)
    shutil.move(kept, table)
    for file in (table / "trajectories").rglob("*.parquet"):
        file.unlink()
    vacuumed = reproduced(model)
    assert vacuumed.exit_code == 1
    assert "cannot be read any more" in vacuumed.output
