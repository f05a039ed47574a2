"""A training goes on from a registered version: the run says so, lineage and reproduction follow, mistakes are told."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient
from pyspark.sql import SparkSession
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlbake import vocabulary as v
from rlbake.errors import ConfigError, NotFoundError
from rlbake.period.train import train, training_config
from rlbake.quiet import tensorflow as tf
from rlbake.registry.versions import ResolvedModel, policy_dir
from rlbake.specs import Discrete, Number
from rlbake.tracking.__main__ import main
from rlbake.training.fitted import read_warm_start
from tests.period.test_build import APPLICATION, Logs, step

NAME = "main.rl.late_logs"
QUICK = "steps=45,batch_size=16,n_step=1,holdout=0,agent.layers=[4]"


@pytest.fixture
def logs(spark: SparkSession, tracking_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Logs:
    caplog.set_level(logging.INFO, "rlbake")
    logs = Logs(tmp_path)
    logs.write(
        step(f"p{i}", f"1 1{hour}:00", x=(7 * i + hour) % 10, action="ab"[(i + hour) % 2], click=(i * hour) % 3)
        for i in range(40)
        for hour in range(3)
    )
    logs.build(1)
    return logs


def trained(logs: Logs, set_: str = QUICK, agent: str | None = None, **options: str) -> ResolvedModel:
    period = logs.period(1)
    return train(period, training_config(period, agent, set_=set_), **options)


def said(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_training_goes_on_and_lineage_and_reproduction_follow(logs: Logs, caplog: pytest.LogCaptureFixture) -> None:
    first = trained(logs)
    second = trained(logs, warm_start=f"models:/{NAME}@challenger")
    third = trained(logs, warm_start=f"runs:/{second.run_id}")
    once = trained(logs, set_=QUICK.replace("45", "90"))
    before, after = (read_warm_start(policy_dir(model)) for model in (second, once))
    assert (before.steps, after.steps) == (90, 90)
    for one, two in zip(before.variables["network"], after.variables["network"], strict=True):
        np.testing.assert_array_equal(one, two)
    assert "Warm start from main.rl.late_logs/1." in caplog.text

    run = MlflowClient().get_run(second.run_id)
    assert run.data.params["cfg.warm_start.model"] == f"{NAME}/1"
    assert run.data.params["cfg.warm_start.model_id"] == first.model_id
    assert [given.model_id for given in run.inputs.model_inputs] == [first.model_id]
    assert run.data.metrics["train/steps"] == 90
    assert {seen.step for seen in MlflowClient().get_metric_history(second.run_id, "train/loss")} <= {*range(46, 91)}
    assert MlflowClient().get_run(first.run_id).data.params["cfg.warm_start"] == "null"

    lines = said("lineage", third.uri).splitlines()
    parent = next(i for i, line in enumerate(lines) if f"started from {NAME}/2: logged model {second.model_id}" in line)
    assert f"└─ started from {NAME}/1: logged model {first.model_id}, run {first.run_id}" in lines[parent + 1]
    assert f"train 2026-01-01: run {second.run_id}" in said(first.uri).split("used by")[1]

    assert f"{NAME}/2 comes out again" in said("reproduce", second.uri)
    MlflowClient().delete_model_version(NAME, "1")
    assert f"{NAME}/2 comes out again" in said("reproduce", second.uri)
    MlflowClient().delete_logged_model(first.model_id)
    gone = CliRunner().invoke(main, ["reproduce", second.uri])
    assert gone.exit_code == 1
    assert f"{NAME}/2 went on from {NAME}/1, which is gone" in gone.output
    assert f"started from logged model {first.model_id}, which is gone" in said("lineage", second.uri)


def test_a_clone_becomes_double_dqn(logs: Logs, caplog: pytest.LogCaptureFixture) -> None:
    clone = trained(logs, QUICK.replace("n_step=1,", ""), agent="behavioral_cloning")
    begun = trained(logs, QUICK.replace("steps=45", "steps=1"), agent="double_dqn", warm_start=clone.uri)
    assert "Starting from the network of a behavioral_cloning agent" in caplog.text
    cloned, network = (read_warm_start(policy_dir(model)).variables["network"] for model in (clone, begun))
    for one, two in zip(cloned, network, strict=True):
        np.testing.assert_allclose(one, two, atol=0.005)  # one step of Adam's
    assert MlflowClient().get_run(begun.run_id).data.metrics["train/steps"] == 1
    assert f"started from {NAME}/1" in said(begun.uri)
    assert f"{NAME}/2 comes out again" in said("reproduce", begun.uri)


def test_what_cannot_be_gone_on_from_is_told_before_anything_is_trained(logs: Logs) -> None:
    trained(logs)
    period = logs.period(1)
    changed = {"observation": (Number("y"),), "action": Discrete(["a", "c"]), "tables": period.application.tables}
    application = type("Other", (type(period.application),), changed)()
    config = training_config(period, set_=QUICK.replace("[4]", "[5]"))
    with pytest.raises(
        ConfigError, match=r"features x -> y; actions b -> c; agent\.layers \[4\] -> \[5\]\. Train with"
    ):
        train(replace(period, application=application), config, warm_start=f"models:/{NAME}/1")
    with pytest.raises(ConfigError, match=r"agent\.layers \[4\] -> \[5\]\. Set agent\.layers=\[4\], or"):
        train(period, config, warm_start=f"models:/{NAME}/1")
    for reference, problem in (
        (f"models:/{NAME}/7", f"there is no model models:/{NAME}/7. {NAME} has 1 version"),
        (f"models:/{NAME}@champion", "its aliases are: challenger = 1"),
        ("models:/main.rl.none/1", "Known: main.rl.late_logs"),
        (f"runs:/{'0' * 32}", "There is no such run"),
        ("yesterday's", "names no model: write models:/<name>@<alias>"),
    ):
        with pytest.raises(NotFoundError) as refused:
            train(period, training_config(period, set_=QUICK), warm_start=reference)
        assert problem in str(refused.value)
    MlflowClient().delete_model_version(NAME, "1")
    with pytest.raises(NotFoundError, match=f"there is no model models:/{NAME}/1"):
        train(period, training_config(period, set_=QUICK), warm_start=f"models:/{NAME}/1")
    runs = mlflow.search_runs(
        search_all_experiments=True, filter_string=f"tags.`{v.TAG_STAGE}` = 'train'", output_format="list"
    )
    assert len(runs) == 1


def test_tensorboard_reads_the_metrics_that_mlflow_has(logs: Logs, tmp_path: Path) -> None:
    model = trained(logs, tensorboard=str(tmp_path / "events"))
    client = MlflowClient()
    for place in (
        tmp_path / "events" / model.run_id,
        mlflow.artifacts.download_artifacts(f"runs:/{model.run_id}/tensorboard"),
    ):
        read = EventAccumulator(str(place), size_guidance={"tensors": 0}).Reload()
        written = {
            name: [(event.step, tf.make_ndarray(event.tensor_proto).item()) for event in read.Tensors(name)]
            for name in read.Tags()["tensors"]
        }
        assert {"train/loss", "train/steps", "train/value", "time/train_s", "memory/read_peak_mb"} <= written.keys()
        for name, events in written.items():
            logged = [(seen.step, seen.value) for seen in client.get_metric_history(model.run_id, name)]
            np.testing.assert_allclose(sorted(set(events)), sorted(set(logged)), rtol=1e-6, err_msg=name)
    assert json.loads(mlflow.artifacts.load_text(f"runs:/{model.run_id}/config.json"))["seed"] == 0


def test_logs_of_rules_alone_hold_double_dqn_to_them(spark: SparkSession, tracking_uri: str, tmp_path: Path) -> None:
    logs = Logs(tmp_path, APPLICATION.replace("LateLogs", "OfRules"))
    logs.write(
        step(f"p{i}", f"1 1{hour}:00", x=i % 10, action="ab"[i % 10 > 4], click=1)
        for i in range(40)
        for hour in range(3)
    )
    logs.build(1)
    held, free = (trained(logs, QUICK + set_) for set_ in ("", ",agent.conservatism=0"))
    metrics = [MlflowClient().get_run(model.run_id).data.metrics.get("train/conservatism") for model in (held, free)]
    assert metrics == [0.01, None]
    networks = [read_warm_start(policy_dir(model)).variables["network"] for model in (held, free)]
    assert any(not np.array_equal(one, two) for one, two in zip(*networks, strict=True))
    assert f"{NAME}/1 comes out again" in said("reproduce", held.uri)
