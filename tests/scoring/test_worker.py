"""What travels to the executors: it needs nothing of rlbake there, and says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark import cloudpickle

from rlbake.policies.exploration import Exploration
from rlbake.scoring import score, worker  # score registers the worker to travel by value
from rlbake.scoring.shipment import pack
from tests.scoring.conftest import ACTION, OBSERVATION

EXECUTOR = """
import pickle, sys
import pyarrow as pa
shipped, batch = pickle.load(open(sys.argv[1], "rb"))
(first,), (second,) = shipped(iter([batch])), shipped(iter([batch.slice(3, 4)]))
assert not [name for name in sys.modules if name.startswith("rlbake.")]
assert first.slice(3, 4).equals(second)
print(first.num_rows, first.schema.names)
"""


def batch(rows: int) -> pa.RecordBatch:
    rng = np.random.default_rng(1)
    return pa.RecordBatch.from_pydict(
        {
            "key_0": pa.array(np.arange(rows)),
            "feature_0": pa.array(rng.integers(0, 100, rows), pa.float32()),
            "feature_1": pa.array(rng.normal(size=rows), pa.float32()),
            "feature_2": pa.array(rng.random(rows) < 0.5),
            "feature_3": pa.array(rng.choice(["US", "DE", "JP"], rows)),
            "noise": pa.array(rng.random(rows)),
        }
    )


@pytest.fixture
def policy(policy_dir) -> worker.Policy:
    return pack(policy_dir, observation=OBSERVATION, action=ACTION, exploration=Exploration(temperature=0.05))


def test_it_runs_quietly_where_there_is_no_rlbake(policy, tmp_path: Path):
    shipped = tmp_path / "shipped.pickle"
    shipped.write_bytes(cloudpickle.dumps((worker.decider(policy), batch(20))))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "TF_" not in name}
    done = subprocess.run(
        [sys.executable, "-I", "-c", EXECUTOR, str(shipped)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    kept = ["key_0", *(f"feature_{n}" for n in range(4))]
    assert done.stdout == f"20 {[*kept, 'action_index', 'log_probability']}\n"


def test_a_row_is_decided_alike_in_any_company(policy):
    decide = worker.decider(policy)
    whole = batch(2 * worker.CHUNK + 5)
    (together,) = decide(iter([whole]))
    for start, rows in [(0, 1), (1, 7), (worker.CHUNK - 3, 6), (33, worker.CHUNK + 1), (2 * worker.CHUNK, 5)]:
        (apart,) = decide(iter([whole.slice(start, rows)]))
        assert apart.equals(together.slice(start, rows))


def test_a_batch_without_rows_is_passed_on(policy):
    (empty,) = worker.decider(policy)(iter([batch(5).slice(0, 0)]))
    assert empty.num_rows == 0


def test_the_same_policy_is_packed_alike(policy, policy_dir):
    again = pack(policy_dir, observation=OBSERVATION, action=ACTION, exploration=Exploration(temperature=0.05))
    assert again == policy
    assert score.SCORED
