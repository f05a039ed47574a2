"""The walk from a model to its sources and from sources to models, over real runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

import rlbake
from rlbake.errors import NotFoundError
from rlbake.tracking.__main__ import main
from rlbake.tracking.dataset import Source, TrajectoryDataset
from rlbake.tracking.lineage import trained_from_build, trained_on, walk
from rlbake.tracking.model import log_agent
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect

NAME = "main.rl.demo"
SOURCES = [Source(kind, f"/logs/{kind}", rows, "2026-01-01") for kind, rows in (("decisions", 100), ("outcomes", 40))]


@pytest.fixture(autouse=True)
def _store(tracking_uri: str) -> None:
    connect()


def _build(window: str) -> str:
    with stage_run("build_trajectories", application="demo", window=window) as run:
        run.log_sources([Source(s.name, s.location, s.rows, window) for s in SOURCES])
    return run.run_id


def _train(policy_dir: Path, dataset: TrajectoryDataset, started_from: str | None = None) -> str:
    with stage_run("train", application="demo", window=dataset.windows[-1]) as run:
        run.log_input(dataset, "training")
        if started_from:
            run.log_model_input(started_from)
        info = log_agent(policy_dir, application="demo")
    mlflow.register_model(info.model_uri, NAME)
    return info.model_id


def _dataset(windows: list[str], builds: list[str], digest: str = "a" * 32) -> TrajectoryDataset:
    return TrajectoryDataset(
        "demo.trajectories", uri="/t", version=0, windows=windows, digest=digest, rows=100, build_runs=builds
    )


def test_back_from_a_registered_version_to_the_sources(policy_dir: Path) -> None:
    builds = [_build("2026-01-01"), _build("2026-01-02")]
    dataset = _dataset(["2026-01-01", "2026-01-02"], builds)
    model_id = _train(policy_dir, dataset)
    MlflowClient().set_registered_model_alias(NAME, "champion", "1")
    lineage = walk(f"models:/{NAME}@champion")
    assert (lineage.model.name, lineage.model.version, lineage.model.model_id) == (NAME, "1", model_id)
    assert lineage.aliases == ("champion",)
    assert lineage.training is not None
    assert (lineage.training.stage, lineage.training.window) == ("train", "2026-01-02")
    (node,) = lineage.datasets
    assert node.context == "training"
    assert node.dataset.manifest() == dataset.manifest()
    assert [build.run_id for build in node.builds] == builds
    assert list(node.builds[0].sources) == SOURCES
    assert [source.window for source in node.builds[1].sources] == ["2026-01-02"] * 2


def test_forward_from_a_build_to_every_model_and_from_a_model_to_its_uses(policy_dir: Path) -> None:
    many = [f"{i:032x}" for i in range(30)]  # more than an input tag holds
    first, second, unused = _build("2026-01-01"), _build("2026-01-02"), _build("2026-01-03")
    a = _train(policy_dir, _dataset(["2026-01-01"], [first]))
    b = _train(policy_dir, _dataset(["2026-01-01"], [*many, first]))
    c = _train(policy_dir, _dataset(["2026-01-02"], [first, second], digest="c" * 32), started_from=a)
    with stage_run("evaluate", application="demo") as evaluation:
        evaluation.log_model_input(a)
        evaluation.log_model_input(b)
    with stage_run("score", application="demo", window="2026-01-03") as scoring:
        scoring.log_model_input(a)
        scoring.log_model_input(a)
    with stage_run("evaluate", application="demo") as measured:
        measured.metrics({"sim/mean_return": 3.0}, model_id=a)
    assert [model.model_id for model in trained_from_build(first)] == [a, b, c]
    assert [model.model_id for model in trained_from_build(second)] == [c]
    assert trained_from_build(unused) == ()
    assert [model.versions for model in trained_on(_dataset(["2026-01-01"], []))] == [(f"{NAME}/1",), (f"{NAME}/2",)]
    of_a = walk(f"models:/{a}")
    assert [run.stage for run in of_a.uses] == ["train", "evaluate", "score", "evaluate"]
    assert [run.run_id for run in of_a.uses[1:]] == [evaluation.run_id, scoring.run_id, measured.run_id]
    assert [model.model_id for model in of_a.siblings] == [b]
    assert of_a.aliases == ()
    (parent,) = walk(f"models:/{c}").started_from
    assert (parent.model_id, parent.model.versions, parent.started_from) == (a, (f"{NAME}/1",), ())
    assert [model.model_id for model in walk(f"models:/{c}").siblings] == []


def test_what_is_gone_is_said_to_be_gone(policy_dir: Path) -> None:
    model_id = _train(policy_dir, _dataset(["2026-01-01"], ["f" * 32]))
    (build,) = walk(f"models:/{model_id}").datasets[0].builds
    assert (build.run, build.sources) == (None, ())
    shown = CliRunner().invoke(main, [f"models:/{model_id}"])
    assert f"built by run {'f' * 32}, which is gone" in shown.output


def test_the_tree_is_printed_in_a_process_of_its_own(policy_dir: Path, tracking_uri: str) -> None:
    build = _build("2026-01-01")
    model_id = _train(policy_dir, _dataset(["2026-01-01"], [build]))
    MlflowClient().set_registered_model_alias(NAME, "champion", "1")
    with stage_run("score", application="demo", window="2026-01-02") as scoring:
        scoring.log_model_input(model_id)
    done = subprocess.run(
        [sys.executable, "-m", "rlbake.tracking", f"models:/{NAME}@champion"],
        env={**os.environ, "MLFLOW_TRACKING_URI": tracking_uri, "PYTHONPATH": str(Path(rlbake.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    source = MlflowClient().get_logged_model(model_id).artifact_location
    training = MlflowClient().get_logged_model(model_id).source_run_id
    assert done.stdout.splitlines() == [
        f"main.rl.demo/1 (champion): logged model {model_id}",
        f"├─ artifacts in {source}",
        f"├─ trained by train 2026-01-01: run {training}",
        f"│  └─ training on demo.trajectories: 100 transitions of 2026-01-01, digest {'a' * 32}",
        "│     ├─ version 0 of /t",
        f"│     └─ built by build_trajectories 2026-01-01: run {build}",
        "│        ├─ read decisions: 100 rows of /logs/decisions, 2026-01-01",
        "│        └─ read outcomes: 40 rows of /logs/outcomes, 2026-01-01",
        "└─ used by",
        f"   └─ score 2026-01-02: run {scoring.run_id}",
    ]
    shown = CliRunner().invoke(main, [build])
    assert shown.output.splitlines() == [
        f"run {build}: models trained on what it built: 1",
        f"└─ main.rl.demo/1: logged model {model_id}, run {training}",
    ]


def test_an_unknown_model_or_run_is_one_line_and_a_failure() -> None:
    for reference in (f"models:/{NAME}@champion", "0" * 32, "main.rl.demo"):
        shown = CliRunner().invoke(main, [reference])
        assert shown.exit_code == 1
        assert shown.output.startswith("Error: ")
        assert len(shown.output.splitlines()) == 1
    with pytest.raises(NotFoundError, match="no run"):
        trained_from_build("0" * 32)
