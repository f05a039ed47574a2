"""Off-policy evaluation on Spark says what it says of the same rows in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from pyspark import cloudpickle
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.dataset.snapshot import pin
from rlbake.dataset.transitions import Reading, Transitions, load
from rlbake.errors import DataError
from rlbake.evaluation.candidates import rows_of, saved
from rlbake.evaluation.estimators import ONE_STEP, SEQUENTIAL
from rlbake.evaluation.q_model import fit_q
from rlbake.evaluation.support import WeightMoments
from rlbake.policies.exploration import Exploration
from rlbake.scoring import evaluation_worker as job
from rlbake.scoring.evaluation import evaluate_on_spark, longest_episode, pack_values
from rlbake.scoring.shipment import pack
from rlbake.warehouse.table import Table
from tests.scoring.conftest import ACTION, OBSERVATION

DS, UNITS = "2026-01-01", 64
REWARD = {"click": 1.0, "cost": -0.3}
SEEN = "struct<level: float, spend: float, payer: boolean, country: string>"
SCHEMA = (
    f"env_id string, episode timestamp, timestamp timestamp, next_timestamp timestamp, observation {SEEN}, "
    f"next_observation {SEEN}, action int, next_action int, action_mask array<boolean>, "
    "next_action_mask array<boolean>, log_probability float, metrics struct<click: float, cost: float>, "
    "discount float, step_type int, end string, time_gap double"
)


def logged(environments: int = 40) -> list[dict]:
    """Up to three episodes each, of up to six decisions: terminated, cut, open, or with a decision missing."""
    random = np.random.default_rng(7)
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def seen():
        return {
            "level": float(random.integers(0, 100)),
            "spend": float(np.float32(random.normal() / 10)),
            "payer": bool(random.random() < 0.5),
            "country": str(random.choice(["US", "DE", "JP"])),
        }

    def masked():
        return None if random.random() < 0.5 else [True, True, bool(random.random() < 0.5)]

    rows = []
    for environment in range(environments):
        for number in range(random.integers(1, 4)):
            began, length = start + timedelta(days=number), int(random.integers(1, 7))
            observation, mask = seen(), masked()
            end = str(random.choice([v.TERMINATED, v.TRUNCATED, v.NOT_ENDED]))
            for step in range(length):
                last = step == length - 1
                ended = end if last else v.NOT_ENDED
                at, gone = began + timedelta(hours=step), ended == v.TERMINATED
                following, next_mask = (None, None) if gone else (seen(), masked())
                allowed = 3 if mask is None else sum(mask)
                if not (step == 2 and random.random() < 0.3):  # a gap
                    rows.append(
                        {
                            "env_id": f"player {environment}",
                            "episode": began,
                            "timestamp": at,
                            "next_timestamp": None if gone else at + timedelta(hours=1),
                            "observation": observation,
                            "next_observation": following,
                            "action": int(random.integers(0, allowed)),
                            "next_action": None,
                            "action_mask": mask,
                            "next_action_mask": next_mask,
                            "log_probability": float(np.float32(-np.log(allowed))),
                            "metrics": {
                                "click": float(random.random() < 0.3),
                                "cost": float(np.float32(random.random())),
                            },
                            "discount": float(not gone),
                            "step_type": v.MID if step else v.FIRST,
                            "end": ended,
                            "time_gap": None if gone else 3600.0,
                        }
                    )
                observation, mask = following, next_mask
    return rows


@pytest.fixture(scope="module")
def frame(spark, tmp_path_factory):
    """A table of trajectories, read in batches of so few rows that environments lie across several."""
    table = Table(str(tmp_path_factory.mktemp("tables") / v.TRAJECTORIES_TABLE))
    written = spark.createDataFrame(logged(), SCHEMA)
    table.replace_window(written, DS, run_id="test", config_digest="")
    before = spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch")
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "7")
    yield table.read(spark, table.version(), [DS]), table.uri
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", before)


def in_memory(uri: str, gamma: float) -> Transitions:
    return load(pin(uri, [DS]), Reading(OBSERVATION, ACTION, ("click", "cost"), REWARD, gamma))


def grouped(frame, rows, transitions: Transitions):
    """The same rows with Spark's own numbers of units."""
    unit = F.pmod(F.xxhash64(v.ENV_ID), F.lit(UNITS)).cast("long").alias("unit")
    known = dict(map(tuple, frame.select(v.ENV_ID, unit).distinct().collect()))
    return replace(rows, unit=np.array([known[name] for name in transitions.env_id]), units=UNITS)


def packed(policy_dir, temperature: float = 0.0):
    return pack(policy_dir, observation=OBSERVATION, action=ACTION, exploration=Exploration(temperature=temperature))


def asked(table, policy_dir, **changed):
    """Plain importance sampling of the reward per decision."""
    question = {
        "policies": {"agent": packed(policy_dir)},
        "values": {},
        "estimators": {"ips": ONE_STEP["ips"]()},
        "sequential": False,
        "observation": OBSERVATION,
        "action": ACTION,
        "reward": REWARD,
        "units": UNITS,
    }
    return evaluate_on_spark(table, **{**question, **changed})


@pytest.mark.parametrize("gamma", [0.0, 0.9])
def test_spark_and_memory_agree(frame, policy_dir, gamma):
    table, uri = frame
    transitions = in_memory(uri, gamma)
    propensity = np.exp(transitions.log_probability.astype(np.float64))
    sequential = gamma > 0
    horizon = longest_episode(table)
    made = {n: make(gamma=gamma, horizon=horizon) for n, make in SEQUENTIAL.items()} if sequential else {
        n: make() for n, make in ONE_STEP.items()
    }  # fmt: skip
    candidates = {"sharp": 0.0, "soft": 0.05}
    policies = {name: packed(policy_dir, temperature) for name, temperature in candidates.items()}
    seen_by = {name: saved(name, policy_dir, temperature=temperature) for name, temperature in candidates.items()}
    model = fit_q(
        transitions, seen_by["sharp"].probabilities, observation=OBSERVATION, action=ACTION, folds=1,
        fold_of=np.full(len(transitions), -1), seed=0, steps=50,
    )  # fmt: skip
    found = evaluate_on_spark(
        table, policies=policies, values={"sharp": pack_values(model, observation=OBSERVATION, action=ACTION)},
        estimators=made, sequential=sequential, observation=OBSERVATION, action=ACTION,
        reward=REWARD, units=UNITS,
    )  # fmt: skip
    assert list(found) == ["sharp", "soft"]
    for name, sums in found.items():
        rows = rows_of(transitions, seen_by[name], propensity=propensity, model=model if name == "sharp" else None)
        rows = grouped(table, rows, transitions)
        for estimator, made_ in made.items():
            assert sums.components[estimator].shape == (UNITS, made_.components(rows).shape[1])
            np.testing.assert_allclose(
                sums.components[estimator], made_.components(rows), rtol=1e-9, atol=1e-9, err_msg=f"{name} {estimator}"
            )
        moments = WeightMoments.of(rows, sequential=sequential, propensity=propensity)
        np.testing.assert_allclose(sums.moments.by_unit, moments.by_unit, rtol=1e-9)
        np.testing.assert_allclose(sums.moments.largest, moments.largest, rtol=1e-9)
        assert (sums.moments.decisions, sums.moments.items) == (len(rows), moments.items)
        assert sums.moments.support().ess == pytest.approx(moments.support().ess, rel=1e-9)


def test_however_it_is_partitioned_the_sums_are_the_same(frame, policy_dir):
    table, _ = frame
    one, other = (asked(part, policy_dir)["agent"] for part in (table.repartition(1), table.repartition(5)))
    np.testing.assert_allclose(one.components["ips"], other.components["ips"], rtol=1e-12)
    assert one.components["ips"][:, 0].sum() == one.moments.decisions == table.count()


def test_the_reward_is_of_the_metrics_asked_for(frame, policy_dir):
    table, uri = frame
    clicks = asked(table, policy_dir, reward={"click": 1.0}, estimators={"logged": ONE_STEP["logged"]()})["agent"]
    transitions = load(pin(uri, [DS]), Reading(OBSERVATION, ACTION, ("click",), {"click": 1.0}, 0.0))
    assert clicks.components["logged"][:, 1].sum() == transitions.reward.sum() > 0


def test_the_longest_episode(frame):
    table, _ = frame
    assert longest_episode(table) == max(row["count"] for row in table.groupBy(v.ENV_ID, v.EPISODE).count().collect())
    assert longest_episode(table.limit(0)) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({v.LOG_PROBABILITY: "if(action = 1, NULL, log_probability)"}, r"have no log_probability\. Log it"),
        ({v.METRICS: "named_struct('click', NULL, 'cost', 1.0f)"}, "lack a metric"),
        ({v.OBSERVATION: "named_struct('level', float('NaN'), 'spend', 0.0f, 'payer', true, 'country', 'US')"},
         "hold, or lie next to .* features that agent or its values refuse"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_said(frame, policy_dir, change, said):
    table, _ = frame
    with pytest.raises(DataError, match=rf"^[\d,]+ of [\d,]+ decisions {said}"):
        asked(table.withColumns({name: F.expr(value) for name, value in change.items()}), policy_dir)


def test_without_rows_there_is_nothing_to_evaluate_on(frame, policy_dir):
    with pytest.raises(DataError, match="there is no decision to evaluate on"):
        asked(frame[0].limit(0), policy_dir)


EXECUTOR = """
import pickle, sys
summed, batch = pickle.load(open(sys.argv[1], "rb"))
rows = sum(found.num_rows for found in summed(iter([batch])))
assert not [name for name in sys.modules if name.startswith("rlbake.")]
print(rows)
"""


def test_it_runs_where_there_is_no_rlbake(policy_dir, tmp_path):
    rows = 30
    random = np.random.default_rng(1)
    seen = [random.normal(size=rows), random.normal(size=rows), random.random(rows) < 0.5, ["US", "DE", "JP"] * 10]
    batch = pa.RecordBatch.from_pydict(
        {
            job.UNIT: np.arange(rows) // 3,
            job.ENVIRONMENT: [f"p{row // 3}" for row in range(rows)],
            job.EPISODE: np.zeros(rows, np.int64),
            job.TIMESTAMP: np.arange(rows),
            job.NEXT_TIMESTAMP: np.arange(rows) + 1,
            job.ENDED: np.arange(rows) % 3 == 2,
            job.ACTION: pa.array(np.arange(rows) % 3, pa.int32()),
            job.REWARD: np.ones(rows),
            job.LOG_PROBABILITY: pa.array(np.full(rows, np.log(1 / 3)), pa.float32()),
            job.MASK: pa.nulls(rows, pa.list_(pa.bool_())),
            **{f"feature_{number}": pa.array(column) for number, column in enumerate(seen)},
        }
    )
    made = [make() for make in ONE_STEP.values()] + [make(gamma=0.9, horizon=3) for make in SEQUENTIAL.values()]
    question = job.Question(packed(policy_dir), None, tuple(made), sequential=True)
    (tmp_path / "shipped").write_bytes(cloudpickle.dumps((job.summed([question]), batch)))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "TF_" not in name}
    done = subprocess.run(
        [sys.executable, "-I", "-c", EXECUTOR, str(tmp_path / "shipped")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "11\n"  # ten environments, and what is known of the one policy
