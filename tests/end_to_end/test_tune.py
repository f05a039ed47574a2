"""Sweeps from the command line: killed and resumed, on a cluster that loses a worker, and what comes out used."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow.entities import Run

from rlbake import vocabulary as v
from rlbake.sweep.objective import DONE, FAILED, STOPPED
from tests.end_to_end.cluster import SHORT_LIVED, Cluster, kill, wait_until
from tests.end_to_end.conftest import Enter

ROOT = Path(__file__).parent.parent.parent
WORLD = ROOT / "tests/sweep/worlds.py"
SPACE = """
gamma: {prior: uniform, low: 0.0, high: 1.0}
agent.learning_rate: {prior: loguniform, low: 5.0e-3, high: 2.0e-2}
"""
TINY = "steps=100,batch_size=64,agent.layers=[16]"
ARGUMENTS = ("--scenarios", "worlds.py:Patient", "--space", "space.yaml", "--set", TINY, "--cycles", "2",
             "--rows", "300", "--seeds", "1", "--held_out", "0")  # fmt: skip
TABLE = ["trial", "status", "gamma", "agent.learning_rate", "score", "level", "speed", "worst"]

ON_CLUSTER = """
import sys
from pyspark.sql import SparkSession
from entry_points.terminal import run
from entry_points.tune import command
settings = dict(setting.split("=", 1) for setting in sys.argv.pop(2).split(","))
SparkSession.builder.master(sys.argv.pop(1)).config(map=settings).getOrCreate()
run(command)
"""
SETTINGS = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.executor.memory": "512m",
    "spark.executor.extraJavaOptions": SHORT_LIVED,
    "spark.ui.enabled": "false",
}


def place(folder: Path, migrated_store: Path) -> Path:
    folder.mkdir()
    shutil.copy(migrated_store, folder / "mlflow.db")
    shutil.copy(WORLD, folder / "worlds.py")
    (folder / "space.yaml").write_text(SPACE)
    return folder


def environment(folder: Path) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return plain | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}


def start(folder: Path, evals: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "entry_points.tune", *ARGUMENTS, "--max_evals", str(evals)],
        cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=interruptible,
    )  # fmt: skip


def interruptible() -> None:
    """Whoever started the tests in the background has made all their processes deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    _, printed = process.communicate(timeout=300)
    assert process.returncode == code, printed
    return printed


def runs(folder: Path, stage: str) -> list[Run]:
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    where = f"tags.`{v.TAG_STAGE}` = '{stage}'"
    return mlflow.search_runs(search_all_experiments=True, filter_string=where, output_format="list")


def ended(folder: Path) -> list[int]:
    found = (run.data.tags.get(v.TAG_TRIAL) for run in runs(folder, "trial"))
    return sorted(int(number) for number in found if number is not None)


def artifact(run: Run, name: str) -> str:
    return mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{name}")


def table(run: Run) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(artifact(run, "trials.csv")))


@pytest.mark.slow
def test_killed_interrupted_and_resumed_it_ends_as_if_nothing_had_happened(
    tracking_uri: str, migrated_store: Path, tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    undisturbed, disturbed = (place(tmp_path / name, migrated_store) for name in ("undisturbed", "disturbed"))
    finish(start(undisturbed, 8))
    (run,) = runs(undisturbed, "tune")
    whole, best = table(run)[TABLE], artifact(run, "best.yaml")

    sweep = start(disturbed, 8)
    processes.append(sweep)
    wait_until(lambda: sweep.poll() is not None or len(ended(disturbed)) >= 2, "two trials had ended")
    assert sweep.poll() is None, sweep.communicate()
    kill(sweep)
    known = ended(disturbed)
    assert known == list(range(len(known)))

    sweep = start(disturbed, 8)
    processes.append(sweep)
    wait_until(lambda: sweep.poll() is not None or len(ended(disturbed)) >= len(known) + 2, "two more had")
    os.kill(sweep.pid, signal.SIGINT)
    printed = finish(sweep, 130)
    assert "Traceback" not in printed
    assert f"Resuming the sweep of run {runs(disturbed, 'tune')[0].info.run_id} after {len(known)} trials" in printed
    assert "The same command goes on from here" in printed
    (interrupted,) = runs(disturbed, "tune")
    assert interrupted.info.status == "KILLED"
    so_far = table(interrupted)
    pd.testing.assert_frame_equal(so_far[TABLE], whole.head(len(so_far)), check_exact=True)
    assert yaml.safe_load(artifact(interrupted, "best.yaml"))["steps"] == 100

    finish(start(disturbed, 8))
    (resumed,) = runs(disturbed, "tune")
    assert resumed.info.run_id == interrupted.info.run_id
    assert resumed.info.status == "FINISHED"
    assert ended(disturbed) == list(range(8))
    pd.testing.assert_frame_equal(table(resumed)[TABLE], whole, check_exact=True)
    assert artifact(resumed, "best.yaml") == best


@pytest.mark.slow
def test_a_cluster_loses_a_worker_and_no_trial(
    cluster: Cluster, migrated_store: Path, tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    folder = place(tmp_path / "sweep", migrated_store)
    workers = [cluster.add_worker(), cluster.add_worker()]
    settings = ",".join(f"{name}={value}" for name, value in SETTINGS.items())
    driver = subprocess.Popen(
        [sys.executable, "-c", ON_CLUSTER, cluster.url, settings, *ARGUMENTS, "--max_evals", "6", "--parallelism", "2"],
        cwd=folder,
        env=cluster.environment | environment(folder) | {"PYSPARK_PYTHON": sys.executable},
        stderr=(folder / "driver.log").open("w"),
        text=True,
        start_new_session=True,
    )
    processes.append(driver)

    def said() -> str:
        return (folder / "driver.log").read_text()

    wait_until(lambda: driver.poll() is not None or len(ended(folder)) >= 1, "a trial had ended")
    assert driver.poll() is None, said()
    wait_until(lambda: cluster.state(workers[0])["coresused"] == 1, "the worker had a trial")
    kill(workers[0].process)
    assert driver.wait(timeout=400) == 0, said()
    wait_until(lambda: cluster.state(workers[0])["state"] == "DEAD", "the master missed the worker")
    (sweep,) = runs(folder, "tune")
    made = table(sweep)
    assert list(made["trial"]) == [1, 2, 3, 4, 5, 6]
    assert set(made["status"]) <= {DONE, STOPPED}, made[["status", "reason"]]
    assert made["gamma"].nunique() == 6
    assert ended(folder) == list(range(6))
    assert "Traceback" not in said()


@pytest.mark.slow
def test_what_a_sweep_finds_is_what_a_training_takes(enter: Enter, tmp_path: Path) -> None:
    shutil.copy(WORLD, tmp_path / "worlds.py")
    (tmp_path / "space.yaml").write_text(SPACE)
    named = {name.removeprefix("--"): value for name, value in zip(ARGUMENTS[::2], ARGUMENTS[1::2], strict=True)}
    tuned = enter("tune", **named | {"max_evals": 12, "held_out": 2, "price_per_hour": 3.6})
    assert tuned.exit_code == 0, tuned.printed
    assert "Ended at step" not in tuned.printed  # of a training, of which there were hundreds
    made = table(tuned.run)
    assert len(made) == 12
    assert tuned.run.data.metrics["tune/price"] == pytest.approx(made["seconds"].sum() / 1000, rel=1e-3)
    assert tuned.run.data.metrics["tune/best"] == made[made["status"] == DONE]["score"].max() == 1.0
    assert tuned.run.data.metrics["tune/held_out/best"] == 1.0
    assert tuned.run.data.metrics["tune/held_out/pairs"] == 4
    names = {file.path for file in mlflow.MlflowClient().list_artifacts(tuned.run.info.run_id)}
    assert names >= {
        "best.yaml", "config.json", "space.json", "trials.csv", "importance.csv", "importance.png", "held_out.csv",
        "parallel_coordinates.html", "parallel_coordinates.png", "learning_curves.html", "learning_curves.png",
    }  # fmt: skip
    best = yaml.safe_load(artifact(tuned.run, "best.yaml"))
    trained = enter(
        "train",
        application="rlbake.scenarios.level_difficulty:LevelDifficulty",
        config=f"runs:/{tuned.run.info.run_id}/best.yaml",
        set="steps=20",
    )
    assert trained.exit_code == 0, trained.printed
    config = json.loads(artifact(trained.run, "config.json"))
    assert config["gamma"] == best["gamma"]
    assert config["agent"]["learning_rate"] == best["agent"]["learning_rate"]
    assert config["agent"]["layers"] == [16]
    assert (config["batch_size"], config["steps"]) == (64, 20)


def test_what_cannot_be_compared_does_not_lose_the_sweep(enter: Enter, tmp_path: Path) -> None:
    """Half of so small a population makes fewer rows than one batch."""
    shutil.copy(WORLD, tmp_path / "worlds.py")
    (tmp_path / "space.yaml").write_text(SPACE)
    named = {name.removeprefix("--"): value for name, value in zip(ARGUMENTS[::2], ARGUMENTS[1::2], strict=True)}
    outcome = enter("tune", **named | {"max_evals": 1, "rows": 130, "held_out": 1})
    assert outcome.exit_code == 0, outcome.printed
    assert "was not compared with the defaults" in outcome.printed
    assert yaml.safe_load(artifact(outcome.run, "best.yaml"))["steps"] == 100


@pytest.mark.slow
def test_logs_are_asked_where_there_are_some(enter: Enter, tmp_path: Path) -> None:
    (tmp_path / "drift.py").write_text(
        "from rlbake.scenarios.drift import Drift\n\n\nclass Few(Drift):\n    units = 400\n"
    )
    (tmp_path / "space.yaml").write_text("agent.learning_rate: {prior: loguniform, low: 1.0e-8, high: 1.0e-2}\n")
    shared = {"application": "drift.py:Few", "space": "space.yaml", "set": "steps=200,agent.layers=[32]"}
    shared |= {"max_evals": 4, "folds": 2, "prune": "false"}
    offline = enter("tune", on="logs", **shared)
    assert offline.exit_code == 0, offline.printed
    assert "Simulating" in offline.printed or "Building first" in offline.printed
    made = table(offline.run)
    assert set(made["status"]) == {DONE}
    assert made["score"].between(0.05, 0.55).all()  # clicks per decision
    assert made["score/drift"].nunique() > 1

    both = enter("tune", scenarios="drift.py:Few", rows=1000, cycles=1, seeds=1, held_out=0, **shared)
    assert both.exit_code == 0, both.printed
    reality = pd.read_csv(io.StringIO(artifact(both.run, "reality_check.csv")))
    assert len(reality) == 4
    assert list(reality["score"]) == sorted(reality["score"], reverse=True)
    assert -1 <= both.run.data.metrics["tune/rank_correlation"] <= 1
    assert "Reality check: rank correlation" in both.printed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"scenarios": "message_timin"}, "Did you mean 'message_timing'"),
        ({"scenarios": ""}, "name at least one"),
        ({"space": "nowhere.yaml"}, "there is no file nowhere.yaml"),
        ({"set": "agent.layer=[16]"}, "agent.layer"),
        ({"max_evals": 0}, "max_evals = 0: must be at least 1"),
        ({"cycles": 0}, "cycles = 0: must be at least 1"),
        ({"algorithm": "tpee"}, "Did you mean 'tpe'"),
        ({"algorithm": "atpe"}, "does not run here"),
        ({"agent": "td3"}, "td3"),
        ({"on": "logs"}, "needs an application"),
        ({"on": "logs", "application": "rlbake.scenarios.offer_price:OfferPrice"}, "Tune on scenarios instead"),
        ({"on": "logs", "folds": 1}, "folds = 1: must be at least 2"),
        ({"config": "runs:/nothing/best.yaml"}, "there is no artifact"),
    ],
)
def test_what_cannot_be_tuned_is_refused_at_once(enter: Enter, tmp_path: Path, wrong: dict, said: str) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    outcome = enter("tune", **{"scenarios": "level_difficulty", "space": "space.yaml", "max_evals": 1, **wrong})
    assert outcome.exit_code == 1
    assert said in outcome.printed
    assert "Traceback" not in outcome.printed
    assert said in str(outcome.failure)


def test_a_space_that_no_training_takes_is_refused_before_any_trial(enter: Enter, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("gamma: {prior: uniform, low: 0, high: 2}\n")
    outcome = enter("tune", scenarios="level_difficulty", space="space.yaml")
    assert outcome.exit_code == 1
    assert "gamma = 2.0" in outcome.printed


def test_where_no_trial_works_the_sweep_fails_and_says_why(enter: Enter, tmp_path: Path) -> None:
    shutil.copy(WORLD, tmp_path / "worlds.py")
    (tmp_path / "space.yaml").write_text(SPACE)
    outcome = enter("tune", scenarios="worlds.py:Broken", space="space.yaml", max_evals=2)
    assert outcome.exit_code == 1
    assert "none of 2 trials was finished. 2 times: " in str(outcome.failure)
    assert "the simulator is out of order" in str(outcome.failure)
    assert outcome.run.info.status == "FAILED"
    failed = mlflow.search_runs([outcome.run.info.experiment_id], f"tags.`{v.TAG_STAGE}` = 'trial'")
    assert list(failed["status"]) == ["FAILED", "FAILED"]
    assert list(failed[f"tags.{v.TAG_TRIAL}.status"]) == [FAILED, FAILED]
    again = enter("tune", scenarios="worlds.py:Broken", space="space.yaml", max_evals=2)
    assert "Resuming" not in again.printed
    assert again.printed.count("the simulator is out of order") > 2
