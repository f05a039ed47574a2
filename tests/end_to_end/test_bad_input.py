"""Every mistake a user can make ends in one clear line, exit code 1 and a tagged run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Enter

ROOT = Path(__file__).parent.parent.parent

LAMPS = """
import rlbake
from pyspark.sql import functions as F

class Lamp(rlbake.Application):
    name = "lamp"
    keys = ("lamp_id",)
    cadence = rlbake.Cadence(start="2026-01-01")
    observation = (rlbake.Number("brightness"),)
    action = rlbake.Discrete(["off", "on"])
    metrics = ("comfort",)
    reward = {"comfort": 1.0}

    def timesteps(self, spark, window):
        rows = spark.range(ROWS).select(
            F.concat(F.lit("lamp-"), "id").alias("lamp_id"),
            F.timestamp_micros(F.lit(int(window.start.timestamp() * 1e6)) + F.col("id")).alias("timestamp"),
            F.lit(0.5).alias("brightness"),
            F.lit("on").alias("action"),
            F.lit(1.0).alias("comfort"),
            F.lit("terminated").alias("end"),
        )
        return rowsCHANGE
"""


def lamps(folder: Path, change: str = "", rows: int = 10) -> str:
    path = folder / "lamps.py"
    path.write_text(LAMPS.replace("CHANGE", change).replace("ROWS", str(rows)))
    return f"{path}:Lamp"


def assert_refused(outcome, *says: str) -> None:
    assert outcome.exit_code == 1
    assert "Traceback" not in outcome.printed
    (line,) = [x for x in outcome.printed.splitlines() if x.startswith("Error: ")]
    for text in says:
        assert text in line
    assert outcome.failure is not None
    assert outcome.failure in line


def test_an_unknown_application(enter: Enter):
    assert_refused(
        enter("train", application="rlbake.scenarios.cartpole:CartPool"), "CartPool", "Did you mean 'CartPole'"
    )


def test_an_application_file_with_a_syntax_error(enter: Enter, tmp_path: Path):
    (tmp_path / "broken.py").write_text("class Broken(:\n")
    assert_refused(enter("train", application="broken.py:Broken"), "broken.py, line 1", "invalid syntax")


@pytest.mark.parametrize(
    ("entry_point", "parameters", "says"),
    [
        ("train", {"seed": "abc"}, ["--seed", "abc"]),
        ("simulate", {"days": 0}, ["--days", "0"]),
        ("promote", {"margin": "wide"}, ["--margin", "wide"]),
        ("promote", {"force": "perhaps"}, ["--force", "perhaps"]),
        ("train", {"agent": "doubel_dqn"}, ["doubel_dqn", "Did you mean 'double_dqn'"]),
        ("train", {"set": "agent.learning_rte=1e-3"}, ["learning_rte", "learning_rate"]),
        ("train", {"set": "agent.learning_rate=fast"}, ["agent.learning_rate", "fast"]),
        ("train", {"set": "batch_size=0"}, ["batch_size", "0"]),
        ("train", {"config": "no/such.yaml"}, ["no/such.yaml"]),
    ],
)
def test_a_parameter_of_the_wrong_type_range_or_name(enter: Enter, entry_point, parameters, says):
    assert_refused(enter(entry_point, **parameters), *says)


@pytest.mark.parametrize(
    ("date", "says"),
    [("soon", "ISO 8601"), ("2025-12-31", "before the first window"), ("2126-01-01", "not complete yet")],
)
def test_an_unknown_date(enter: Enter, tmp_path: Path, date, says):
    assert_refused(enter("build_trajectories", application=lamps(tmp_path), date=date), date, says)


def test_a_window_with_no_rows(enter: Enter, tmp_path: Path):
    outcome = enter("build_trajectories", application=lamps(tmp_path, rows=0), date="2026-01-05")
    assert_refused(outcome, "no rows", "2026-01-05")
    assert outcome.run.info.status == "FAILED"
    assert not (tmp_path / "tables/lamp/trajectories/_delta_log").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('.drop("comfort")', ["comfort"]),
        ('.withColumn("brightness", F.lit("bright"))', ["brightness", "STRING"]),
        ('.withColumn("action", F.when(F.col("lamp_id") == "lamp-7", "onn").otherwise("on"))', ["onn", "lamp-7"]),
        ('.withColumn("comfort", F.lit(None).cast("double"))', ["comfort", "10"]),
        (".no_such_method()", ["timesteps", "no_such_method"]),
        ('.withColumn("x", F.col("no_such_column"))', ["timesteps", "no_such_column"]),
    ],
)
def test_logs_that_break_the_contract(enter: Enter, tmp_path: Path, change, says):
    outcome = enter("build_trajectories", application=lamps(tmp_path, change), date="2026-01-05")
    assert_refused(outcome, *says)
    assert not (tmp_path / "tables/lamp/timesteps/_delta_log").exists()
    assert not (tmp_path / "tables/lamp/trajectories/_delta_log").exists()


@pytest.mark.parametrize("entry_point", ["simulate", "train"])
def test_tables_that_cannot_be_written(enter: Enter, tmp_path: Path, entry_point):
    (tmp_path / "occupied").write_text("a file, not a folder")
    assert_refused(enter(entry_point, tables="occupied/tables"), "occupied/tables", "cannot write")


def test_a_tracking_server_that_cannot_be_reached(tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "entry_points.train"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "127.0.0.1:9" in line
    assert "MLFLOW_TRACKING_URI" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("models:/main.rl.cartpole/7", "main.rl.cartpole"),
        ("models:/main.rl.cartpole@champion", "main.rl.cartpole"),
        ("cartpole", "models:/"),
        ("models:/m-0123456789abcdef0123456789abcdef", "m-0123456789abcdef0123456789abcdef"),
    ],
)
@pytest.mark.parametrize(("entry_point", "option"), [("evaluate", "model"), ("score", "model"), ("simulate", "policy")])
def test_a_model_that_does_not_exist(enter: Enter, entry_point, option, model, says):
    assert_refused(enter(entry_point, **{option: model}), says)
