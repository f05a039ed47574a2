"""What is missing in the table is learned from, travels with the model, and is decided on where there is no rlbake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException

from rlbake import vocabulary as v
from rlbake.dataset.snapshot import pin
from rlbake.dataset.transitions import Reading, load
from rlbake.errors import DataError
from rlbake.policies.exploration import Exploration
from rlbake.policies.export import export_policy
from rlbake.policies.saved import SavedPolicy
from rlbake.scoring import worker
from rlbake.scoring.shipment import pack
from rlbake.specs import Binary, Category, Number
from rlbake.tracking.model import log_agent
from rlbake.training.config import resolve
from rlbake.training.fit import fit
from tests.dataset.conftest import ACTION, METRICS, row, write

__all__ = ["write"]  # a fixture

OBSERVATION = (
    Number("level", optional=True),
    Binary("payer", optional=True),
    Category("country", ["US", "DE"], optional=True),
)
ROWS, MEDIAN = 1500, 20.0
BEST = {"low": "wait", "high": "offer", "missing": "gift"}
CASES = {
    "low": {"level": 2.0, "payer": None, "country": "US"},
    "high": {"level": 200.0, "payer": True, "country": None},
    "missing": {"level": None, "payer": False, "country": "DE"},
}


def logged() -> list[dict]:
    """Decisions that end at once. The best action depends on a skewed level, or on its being missing."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(ROWS):
        level = None if rng.random() < 0.3 else float(np.float32(rng.lognormal(np.log(MEDIAN), 2)))
        case = "missing" if level is None else "low" if level < MEDIAN else "high"
        action = int(rng.integers(3))
        seen = {
            "level": level,
            "payer": [True, False, None][rng.integers(3)],
            "country": ["US", "DE", None][rng.integers(3)],
        }
        earned = {"click": float(ACTION.names[action] == BEST[case]), "unsubscribe": 0.0}
        rows.append(row(f"p{i}", 0, end=v.TERMINATED, observation=seen, action=action, metrics=earned))
    return rows


@pytest.fixture
def policy_dir(write, tmp_path) -> Path:
    reading = Reading(observation=OBSERVATION, action=ACTION, metrics=METRICS, reward={"click": 1.0}, gamma=0.9)
    training = load(pin(write(logged()), ["2026-01-01"]), reading)
    config = resolve(
        {"steps": 1500, "batch_size": 64, "overfit": None, "agent": {"layers": [32], "learning_rate": 0.01}}, gamma=0.9
    )
    fitted = fit(training, training, observation=OBSERVATION, action=ACTION, config=config, seed=0)
    assert fitted.preprocessing.identified["level"].name == "box_cox"
    assert fitted.preprocessing.size == 1 + 1 + 2 + 3
    return export_policy(fitted, tmp_path / "policy")


PREDICT = """
import json, sys
for name in ("rlbake", "pyspark", "tf_agents", "tf_keras"):
    sys.modules[name] = None
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
cases = json.loads(sys.argv[2])
decided = [list(model.predict(cases)["action"]), list(model.predict(pandas.DataFrame(cases))["action"])]
decided.append([model.predict({k: x for k, x in case.items() if x is not None})["action"][0] for case in cases])
sys.stdout.write(json.dumps(decided))
"""


def test_from_the_table_to_a_clean_process(policy_dir, tracking_uri, tmp_path):
    saved = SavedPolicy(policy_dir, "model/1")
    columns = {name: np.array([case[name] for case in CASES.values()], object) for name in CASES["low"]}
    decided = [ACTION.names[i] for i in saved.decide(columns, np.zeros(3)).action]
    assert decided == [BEST[case] for case in CASES]

    shipped = pack(policy_dir, observation=OBSERVATION, action=ACTION, exploration=Exploration(explore=False))
    flat = {f"feature_{i}": pa.array(list(columns[name])) for i, name in enumerate(columns)}
    batch = pa.RecordBatch.from_pydict({**flat, "noise": pa.array(np.zeros(3))})
    (scored,) = worker.decider(shipped)(iter([batch]))
    assert [ACTION.names[i] for i in scored.column("action_index").to_pylist()] == decided

    with mlflow.start_run(experiment_id="0"):  # whichever one an earlier test has set is not in this store
        info = log_agent(policy_dir, application="messages")
    assert not any(column.required for column in info.signature.inputs)
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, info.model_uri, json.dumps(list(CASES.values()))],
        env={k: x for k, x in os.environ.items() if k not in ("TF_USE_LEGACY_KERAS", "PYTHONPATH")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [decided] * 3
    with pytest.raises(MlflowException, match="not finite: level"):
        mlflow.pyfunc.load_model(info.model_uri).predict({**CASES["low"], "level": float("inf")})


def test_what_is_not_optional_is_refused_from_the_table_on(write):
    reading = Reading(observation=(Number("level"),), action=ACTION, metrics=METRICS, reward={"click": 1.0}, gamma=0.9)
    with pytest.raises(DataError, match=r"observation\.level is missing"):
        load(pin(write(logged()), ["2026-01-01"]), reading)
