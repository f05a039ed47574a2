"""Rows per second of scoring a population, against what a user would write by hand.

python -m benchmarks.scoring [--rows 200000]

raw         mapInPandas that loads the SavedModel and calls it on each batch: action and
            log-probability beside the population's columns, nothing else
spark_udf   mlflow.pyfunc.spark_udf of the same policy as it is logged
decide      rlbake's decisions and all their logging columns: environment, decision id, observation; written as
            scores are, without dictionaries for what never repeats
score       rlbake.scoring.score as it is, into a new table: also checks, content hash and Delta commit

All read one Parquet file of 8 features and write Parquet, with 10 actions and exploration. Each side
runs in a process and a session of its own, again and again: in one session they would use the same Python
workers, and one would pay for another's garbage, which a worker looks for after its task. The processes
take turns; the best round of all counts. The first round of a process, in which the Python workers import
TensorFlow, is shown apart.
"""

from __future__ import annotations

import rlbake  # before TensorFlow: it chooses Keras

# isort: split

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import mlflow
import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import FloatType, IntegerType, StructField, StructType

from benchmarks.trajectories import measured
from rlbake import vocabulary as v
from rlbake.dataset.transitions import Transitions
from rlbake.policies.exploration import Exploration
from rlbake.policies.export import export_policy
from rlbake.scoring.score import decide, score, unrepeated
from rlbake.scoring.shipment import pack
from rlbake.tracking.model import log_agent
from rlbake.training.config import resolve
from rlbake.training.fit import fit
from rlbake.warehouse.parquet import without_dictionary
from rlbake.warehouse.session import spark_session
from rlbake.warehouse.table import Table

FEATURES = tuple(f"f{i}" for i in range(8))
OBSERVATION = tuple(rlbake.Number(name) for name in FEATURES)
ACTION = rlbake.Discrete([f"a{i}" for i in range(10)])
WINDOW = rlbake.Cadence("2026-01-01").window("2026-01-01")
KEYS, VERSION, TEMPERATURE = ("player_id",), "benchmark/1", 0.5
SIDES = ("raw", "spark_udf", "decide", "score")
ROUNDS, TURNS = 10, 2
BOUND = 1.0  # rows per CPU second of `decide` must be at least this many times raw's


def trained(folder: Path) -> Path:
    """A double DQN with its default network, exported after a few steps."""
    rows, random = 1000, np.random.default_rng(0)
    seen = {name: random.normal(size=rows) for name in FEATURES}
    transitions = Transitions(
        env_id=np.arange(rows).astype(str),
        timestamp=np.arange(rows).astype("datetime64[us]"),
        next_timestamp=np.full(rows, np.datetime64("NaT", "us")),
        step_type=np.zeros(rows, np.int32),
        end=np.full(rows, v.TERMINATED),
        observation=seen,
        action=random.integers(0, len(ACTION), rows).astype(np.int32),
        log_probability=np.full(rows, -np.log(len(ACTION)), np.float32),
        reward=random.normal(size=rows),
        discount=np.zeros(rows),
        next_observation=seen,
        next_action_mask=None,
    )
    config = resolve({"steps": 100}, gamma=0.9)
    fitted = fit(transitions, transitions, observation=OBSERVATION, action=ACTION, config=config, seed=0)
    return export_policy(fitted, folder)


def raw(population: DataFrame, policy: Path) -> DataFrame:
    saved_model, actions = str(policy / "saved_model"), len(ACTION)

    def decided(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        import tensorflow as tf

        model = tf.saved_model.load(saved_model)
        graph = model.signatures["serving_default"]
        for batch in batches:
            outputs = graph(
                **{name: tf.constant(batch[name].to_numpy()) for name in FEATURES},
                action_mask=tf.ones([len(batch), actions], tf.bool),
                noise=tf.constant(np.random.random(len(batch))),
                explore=tf.constant(True),
                temperature=tf.constant(TEMPERATURE),
                epsilon=tf.constant(-1.0, tf.float64),
                floor=tf.constant(0.0, tf.float64),
            )
            yield batch.assign(
                **{name: outputs[name].numpy() for name in (v.ACTION_INDEX, v.LOG_PROBABILITY)},
            )

    added = [StructField(v.ACTION_INDEX, IntegerType()), StructField(v.LOG_PROBABILITY, FloatType())]
    return population.mapInPandas(decided, StructType([*population.schema.fields, *added]))


def spark_udf(population: DataFrame, model_uri: str) -> DataFrame:
    result = f"{v.ACTION} string, {v.ACTION_INDEX} int, {v.LOG_PROBABILITY} float, {v.POLICY_VERSION} string"
    udf = mlflow.pyfunc.spark_udf(
        population.sparkSession,
        model_uri,
        result_type=result,
        env_manager="local",
        params={"explore": True, "temperature": TEMPERATURE},
    )
    return population.withColumn("decision", udf(F.struct(*FEATURES)))


def ours(population: DataFrame, policy: Path) -> DataFrame:
    packed = pack(policy, observation=OBSERVATION, action=ACTION, exploration=Exploration(temperature=TEMPERATURE))
    return decide(
        population,
        keys=KEYS,
        observation=OBSERVATION,
        action=ACTION,
        policy=packed,
        policy_version=VERSION,
        window=WINDOW,
        seed=0,
    )


def score_whole(population: DataFrame, policy: Path, output: Table) -> None:
    score(
        population,
        keys=KEYS,
        observation=OBSERVATION,
        action=ACTION,
        policy_dir=policy,
        policy_version=VERSION,
        window=WINDOW,
        exploration=Exploration(temperature=TEMPERATURE),
        seed=0,
        output=output,
        unscored=Table(f"{output.uri}_unscored"),
        run_id="benchmark",
    )


def generate(spark: SparkSession, path: Path, rows: int) -> None:
    features = (F.randn(seed).alias(name) for seed, name in enumerate(FEATURES))
    spark.range(0, rows, 1, 4).select(F.concat(F.lit("player_"), "id").alias(KEYS[0]), *features).write.parquet(
        str(path)
    )


def logged(policy: Path, folder: Path) -> str:
    """The URI of a model that is the policy as rlbake logs it, in a store in this folder."""
    mlflow.set_tracking_uri(_store(folder))
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("scoring", artifact_location=f"file://{folder}/runs"))
    with mlflow.start_run():
        return log_agent(policy, application="benchmark").model_uri


def run(side: str, folder: Path, model_uri: str) -> dict[str, list[float]]:
    """CPU and wall seconds of each round of one side, in this process."""
    mlflow.set_tracking_uri(_store(folder))
    population, policy = spark_session().read.parquet(str(folder / "population")), folder / "policy"

    def write(frame: DataFrame, **options: str) -> None:
        frame.write.mode("overwrite").options(**options).parquet(str(folder / side))

    sides: dict[str, Callable[[], None]] = {
        "raw": lambda: write(raw(population, policy)),
        "spark_udf": lambda: write(spark_udf(population, model_uri)),
        "decide": lambda: write(ours(population, policy), **without_dictionary(unrepeated(KEYS))),
        "score": lambda: score_whole(population, policy, Table(tempfile.mkdtemp(dir=folder))),
    }
    used: dict[str, list[float]] = {"cpu_s": [], "wall_s": []}
    for _ in range(1 + ROUNDS):
        with measured() as seen:
            sides[side]()
        for what, seconds in used.items():
            seconds.append(seen[what])
    return used


@click.command()
@click.option("--rows", default=200_000, help="Rows of the population.")
@click.option("--only", type=click.Choice(SIDES), help="Run one side in --folder and print JSON.")
@click.option("--folder", type=click.Path(path_type=Path))
@click.option("--model-uri")
def main(rows: int, only: str | None, folder: Path | None, model_uri: str | None) -> None:
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    if only and folder and model_uri:
        click.echo(json.dumps(run(only, folder, model_uri)))
        return
    with tempfile.TemporaryDirectory() as name:
        shared = Path(name)
        spark = spark_session()
        generate(spark, shared / "population", rows)
        spark.stop()
        uri = logged(trained(shared / "policy"), shared)
        turns = [{side: _in_own_process(side, shared, uri) for side in SIDES} for _ in range(TURNS)]
    best = {
        side: {what: min(seconds for turn in turns for seconds in turn[side][what][1:]) for what in ("cpu_s", "wall_s")}
        for side in SIDES
    }
    for side in SIDES:
        click.echo(
            f"{rows:,} rows  {side:<10} {rows / best[side]['cpu_s']:9,.0f} rows/CPU-s"
            f"  {rows / best[side]['wall_s']:9,.0f} rows/s  first round {turns[0][side]['wall_s'][0]:6.2f} s"
        )
    for side in ("decide", "score"):
        by_cpu, by_clock = (best["raw"][what] / best[side][what] for what in ("cpu_s", "wall_s"))
        bound = f" (bound {BOUND})" if side == "decide" else ""
        click.echo(f"{rows:,} rows  {side} / raw: {by_cpu:.2f} by CPU, {by_clock:.2f} by the clock{bound}")


def _in_own_process(side: str, folder: Path, model_uri: str) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "benchmarks.scoring", "--only", side, "--folder", str(folder)]
    command += ["--model-uri", model_uri]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _store(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


if __name__ == "__main__":
    main()
