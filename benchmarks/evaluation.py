"""Off-policy evaluation of ten million decisions on Spark, against the same estimators in NumPy on one core.

python -m benchmarks.evaluation [--rows 1000000 --rows 10000000]

Trajectories of 8 features, 24 actions and 7 decisions per environment, logged at random. A double DQN of default
size is valued by every one-step estimator, with a model of action values. Both sides read Parquet, run the policy
and the model over every row, and sum in 10,000 units:

spark    rlbake.scoring.evaluation.evaluate_on_spark on all cores
numpy    one process on one core, TensorFlow too, that reads batches of 65,536 rows and adds up
sums     the estimators alone, on rows in memory, on one core

Spark's start-up is not counted, nor are imports; a first pass over a few rows warms both sides up.
"""

from __future__ import annotations

import rlbake  # before TensorFlow: it chooses Keras

# isort: split

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.util import hash_array
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from benchmarks.trajectories import measured
from rlbake import vocabulary as v

FEATURES = tuple(f"f{i}" for i in range(8))
OBSERVATION = tuple(rlbake.Number(name) for name in FEATURES)
ACTION = rlbake.Discrete([f"{hour:02d}:00" for hour in range(24)])
STEPS, SAMPLE, UNITS, BATCH = 7, 20_000, 10_000, 65_536
REWARD = {"click": 1.0}
MOST_GROWTH_MB = 100  # of the driver, from the fewest rows to the most


def generate(spark: SparkSession, path: Path, rows: int) -> None:
    """Trajectories as `rlbake.trajectories` writes them; nothing follows an environment's last decision."""
    number, step = F.col("id"), F.col("id") % STEPS
    instant = F.timestamp_seconds(F.lit(1_767_225_600) + step * 86_400)
    ended = step == STEPS - 1
    seen = F.struct(*(F.randn(seed).cast("float").alias(name) for seed, name in enumerate(FEATURES)))
    chosen = (F.rand(98) * len(ACTION)).cast("int")
    spark.range(0, rows, 1, 8).select(
        F.concat(F.lit("player_"), (number / STEPS).cast("long")).alias(v.ENV_ID),
        F.timestamp_seconds(F.lit(1_767_225_600)).alias(v.EPISODE),
        instant.alias(v.TIMESTAMP),
        F.when(~ended, instant + F.expr("INTERVAL 1 DAY")).alias(v.NEXT_TIMESTAMP),
        seen.alias(v.OBSERVATION),
        chosen.alias(v.ACTION),
        F.lit(None).cast("int").alias(v.NEXT_ACTION),
        F.lit(None).cast("array<boolean>").alias(v.ACTION_MASK),
        F.lit(None).cast("array<boolean>").alias(v.NEXT_ACTION_MASK),
        F.lit(float(-np.log(len(ACTION)))).cast("float").alias(v.LOG_PROBABILITY),
        F.struct((F.rand(99) < 0.1 + 0.01 * chosen).cast("float").alias("click")).alias(v.METRICS),
        F.when(ended, 0.0).otherwise(1.0).cast("float").alias(v.DISCOUNT),
        F.when(step == 0, v.FIRST).otherwise(v.MID).alias(v.STEP_TYPE),
        F.when(ended, v.TERMINATED).otherwise(v.NOT_ENDED).alias(v.END),
    ).write.parquet(str(path))


def train(path: Path, folder: Path) -> None:
    """A policy and a model of its values, both of a few rows."""
    from rlbake.dataset.transitions import Transitions
    from rlbake.evaluation.q_model import fit_q
    from rlbake.policies.export import export_policy
    from rlbake.training.config import resolve
    from rlbake.training.fit import fit

    table = pq.read_table(next(path.glob("*.parquet"))).slice(0, SAMPLE).flatten()
    seen = {name: table[f"{v.OBSERVATION}.{name}"].to_numpy() for name in FEATURES}
    rows = table.num_rows
    known = Transitions(
        env_id=np.array(table[v.ENV_ID].to_pylist(), object),
        timestamp=np.arange(rows).astype("datetime64[us]"),
        next_timestamp=np.full(rows, np.datetime64("NaT", "us")),
        step_type=np.zeros(rows, np.int32),
        end=np.full(rows, v.TERMINATED, object),
        observation=seen,
        action=table[v.ACTION].to_numpy(),
        log_probability=table[v.LOG_PROBABILITY].to_numpy(),
        reward=table[f"{v.METRICS}.click"].to_numpy().astype(np.float64),
        discount=np.zeros(rows),
        next_observation=seen,
        next_action_mask=None,
    )
    config = resolve({"steps": 500}, gamma=0.0)
    fitted = fit(known, known.take(np.arange(0)), observation=OBSERVATION, action=ACTION, config=config, seed=0)
    export_policy(fitted, folder / "policy")
    nobody = np.full(rows, -1)
    model = fit_q(
        known, lambda _, __: nobody, observation=OBSERVATION, action=ACTION, folds=1, fold_of=nobody, seed=0, steps=500
    )
    model.export(folder / "values")


@contextmanager
def own_peak() -> Iterator[dict[str, float]]:
    """This process's own peak resident memory in MB, without the JVM and the Python workers."""
    found, done, me = {"driver_mb": 0.0}, threading.Event(), psutil.Process()

    def sample() -> None:
        while not done.wait(0.05):
            found["driver_mb"] = max(found["driver_mb"], me.memory_info().rss / 2**20)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    yield found
    done.set()
    sampler.join()


def on_spark(spark: SparkSession, path: Path, folder: Path) -> dict[str, float]:
    from rlbake.evaluation.estimators import ONE_STEP
    from rlbake.policies.exploration import Exploration
    from rlbake.scoring.evaluation import evaluate_on_spark
    from rlbake.scoring.shipment import pack, pack_model

    policy = pack(folder / "policy", observation=OBSERVATION, action=ACTION, exploration=Exploration())
    values = pack_model(folder / "values", OBSERVATION, observation=OBSERVATION, actions=len(ACTION))
    made = {name: make() for name, make in ONE_STEP.items()}
    trajectories = spark.read.parquet(str(path))
    with own_peak() as own, measured() as used:
        found = evaluate_on_spark(
            trajectories, policies={"agent": policy}, values={"agent": values}, estimators=made, sequential=False,
            observation=OBSERVATION, action=ACTION, reward=REWARD, units=UNITS,
        )["agent"]  # fmt: skip
    totals = {name: float(made[name].value(sums.sum(axis=0))) for name, sums in found.components.items()}
    return {**used, **own, "rows": found.moments.decisions, "dr": totals["dr"]}


def in_numpy(path: Path, folder: Path, rows: int) -> dict[str, float]:
    """On the one core that this process is tied to."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    from rlbake.quiet import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    pa.set_cpu_count(1)
    from rlbake.evaluation.estimators import ONE_STEP
    from rlbake.evaluation.rows import Rows
    from rlbake.policies.saved import SavedPolicy

    policy = SavedPolicy(folder / "policy", "agent", explore=True)
    values = tf.saved_model.load(str(folder / "values"))
    graph = values.signatures["serving_default"]
    made = [make() for make in ONE_STEP.values()]

    def read() -> Iterator[pa.Table]:
        for file in sorted(path.glob("*.parquet")):
            for batch in pq.ParquetFile(file).iter_batches(
                BATCH, columns=[v.ENV_ID, v.OBSERVATION, v.ACTION, v.LOG_PROBABILITY, v.METRICS], use_threads=False
            ):
                yield pa.Table.from_batches([batch]).flatten()

    def seen(table: pa.Table) -> Rows:
        numbers = {name: table[f"{v.OBSERVATION}.{name}"].to_numpy().astype(np.float64) for name in FEATURES}
        chances = policy.probabilities(numbers).astype(np.float64)
        worth = graph(**{name: tf.constant(column) for name, column in numbers.items()})["values"].numpy()
        action, taken = table[v.ACTION].to_numpy(), np.arange(table.num_rows)
        unit = (hash_array(table[v.ENV_ID].to_numpy(), categorize=False) % UNITS).astype(np.int64)
        return Rows(
            unit=unit,
            episode=taken,
            step=np.zeros(len(taken), np.int64),
            reward=table[f"{v.METRICS}.click"].to_numpy().astype(np.float64),
            weight=chances[taken, action] / np.exp(table[v.LOG_PROBABILITY].to_numpy().astype(np.float64)),
            q=worth[taken, action],
            v=(chances * worth).sum(axis=1),
            tail=np.zeros(len(taken)),
            units=UNITS,
        )

    first = seen(next(read()))
    done, began = 0, time.perf_counter()
    sums = [np.zeros_like(estimator.components(first)) for estimator in made]
    for table in read():
        known = seen(table)
        sums = [before + estimator.components(known) for before, estimator in zip(sums, made, strict=True)]
        done += len(known)
        if done >= rows:
            break
    whole = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(20):
        for estimator in made:
            estimator.components(first)
    alone = (time.perf_counter() - began) / 20
    totals = {name: float(e.value(s.sum(axis=0))) for name, e, s in zip(ONE_STEP, made, sums, strict=True)}
    return {"rows": done, "wall_s": whole, "sums_s_per_row": alone / len(first), "dr": totals["dr"]}


@click.command()
@click.option("--rows", default=[1_000_000, 10_000_000], multiple=True, help="Decisions, the most last.")
@click.option("--numpy", "path", type=click.Path(path_type=Path), help="Run one core on these files; print JSON.")
def main(rows: tuple[int, ...], path: Path | None) -> None:
    if path:
        click.echo(json.dumps(in_numpy(path, path.parent, rows[0])))
        return
    from rlbake.warehouse.session import spark_session

    with tempfile.TemporaryDirectory() as name:
        folder, spark = Path(name), spark_session()
        for count in (SAMPLE, *rows):
            generate(spark, folder / str(count), count)
        train(folder / str(rows[0]), folder)
        on_spark(spark, folder / str(SAMPLE), folder)
        seen = [on_spark(spark, folder / str(count), folder) for count in rows]
        for used in seen:
            click.echo(
                f"spark  {used['rows']:>11,.0f} rows  {used['wall_s']:6.1f} s  {used['cpu_s']:6.1f} CPU-s  "
                f"{used['rows'] / used['wall_s']:9,.0f} rows/s  driver {used['driver_mb']:,.0f} MB, "
                f"with JVM and workers {used['peak_mb']:,.0f} MB"
            )
        spark.stop()
        command = [sys.executable, "-m", "benchmarks.evaluation", "--rows", str(rows[0])]
        printed = subprocess.run([*command, "--numpy", str(folder / str(rows[0]))], check=True, capture_output=True)
        peer = json.loads(printed.stdout.splitlines()[-1])
    per_second = peer["rows"] / peer["wall_s"]
    click.echo(f"numpy  {peer['rows']:>11,.0f} rows  {peer['wall_s']:6.1f} s on one core  {per_second:9,.0f} rows/s")
    click.echo(f"sums   {1 / peer['sums_s_per_row']:9,.0f} rows/s, policy and model left out, on one core")
    click.echo(f"dr: {seen[0]['dr']:.6f} on Spark, {peer['dr']:.6f} in NumPy")
    most = seen[-1]
    growth = most["driver_mb"] - seen[0]["driver_mb"]
    click.echo(
        f"spark / numpy: {most['rows'] / most['wall_s'] / per_second:.2f} by the clock; the driver grew by "
        f"{growth:.0f} MB from {seen[0]['rows']:,.0f} to {most['rows']:,.0f} rows (bound {MOST_GROWTH_MB})"
    )


if __name__ == "__main__":
    main()
