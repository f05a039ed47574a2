"""What travels to the executors: it needs nothing of rlbake there, and says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
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

REUSED = """
import gc, pickle, sys, weakref
first, second, batch = pickle.load(open(sys.argv[1], "rb"))
list(first(iter([batch])))
loaded = sys.modules["rlbake_loaded_policies"].graphs
(graph,) = loaded.values()
model = weakref.ref(graph.owner)
del graph
list(second(iter([batch])))
assert len(loaded) == 1
assert model() is None, "the model that was let go is still there"
assert len(gc.get_objects()) < gc.get_freeze_count() / 10, "there is much to look through after each task"
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
    printed = executed(EXECUTOR, (worker.decider(policy), batch(20)), tmp_path)
    kept = ["key_0", *(f"feature_{n}" for n in range(4))]
    assert printed == f"20 {[*kept, 'action_index', 'log_probability']}\n"


def test_a_model_that_is_let_go_leaves_nothing_behind(policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "_MOST_LOADED", 1)
    another = replace(policy, digest="another")
    executed(REUSED, (worker.decider(policy), worker.decider(another), batch(20)), tmp_path)


def executed(code: str, shipped: object, folder: Path) -> str:
    """What a program prints where there is no rlbake; it may say nothing else."""
    path = folder / "shipped.pickle"
    path.write_bytes(cloudpickle.dumps(shipped))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "TF_" not in name}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(path)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


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
