"""Rows per second of scoring a population, against what a user would write by hand.

python -m benchmarks.scoring [--rows 200000]

raw         mapInPandas that loads the SavedModel and calls it on each batch: action and
            log-probability beside the population's columns, nothing else
spark_udf   mlflow.pyfunc.spark_udf of the same policy as it is logged
decide      rlbake's decisions and all their logging columns: environment, decision id, observation; written as
            scores are, without dictionaries for what never repeats
score       rlbake.scoring.score as it is, into a new table: also checks, content hash and Delta commit

All read one Parquet file of 8 features and write Parquet, with 10 actions and exploration, one
after the other in one session and then again; the best round of each counts. The first round,
in which the Python workers import TensorFlow, is shown apart.
"""

from __future__ import annotations

import rlbake  # before TensorFlow: it chooses Keras

# isort: split

import logging
import os
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
ROUNDS = 15
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


def generate(spark: SparkSession, path: Path, rows: int) -> DataFrame:
    features = (F.randn(seed).alias(name) for seed, name in enumerate(FEATURES))
    spark.range(0, rows, 1, 4).select(F.concat(F.lit("player_"), "id").alias(KEYS[0]), *features).write.parquet(
        str(path)
    )
    return spark.read.parquet(str(path))


def sides(population: DataFrame, folder: Path) -> dict[str, Callable[[int], None]]:
    """What to do in each round, by name."""
    policy = trained(folder / "policy")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("scoring", artifact_location=f"file://{folder}/runs"))
    with mlflow.start_run():
        model = log_agent(policy, application="benchmark")

    def write(name: str, frame: DataFrame, **options: str) -> None:
        frame.write.mode("overwrite").options(**options).parquet(str(folder / name))

    return {
        "raw": lambda _: write("raw", raw(population, policy)),
        "spark_udf": lambda _: write("spark_udf", spark_udf(population, model.model_uri)),
        "decide": lambda _: write("decide", ours(population, policy), **without_dictionary(unrepeated(KEYS))),
        "score": lambda round_: score_whole(population, policy, Table(str(folder / f"scores_{round_}"))),
    }


@click.command()
@click.option("--rows", default=200_000, help="Rows of the population.")
def main(rows: int) -> None:
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    spark = spark_session()
    with tempfile.TemporaryDirectory() as folder:
        runs = sides(generate(spark, Path(folder) / "population", rows), Path(folder))
        first: dict[str, float] = {}
        per_cpu, per_second = dict.fromkeys(runs, 0.0), dict.fromkeys(runs, 0.0)
        for round_ in range(1 + ROUNDS):
            for name, run in runs.items():
                with measured() as used:
                    run(round_)
                first.setdefault(name, used["wall_s"])
                if round_:
                    per_cpu[name] = max(per_cpu[name], rows / used["cpu_s"])
                    per_second[name] = max(per_second[name], rows / used["wall_s"])
    for name in runs:
        click.echo(
            f"{rows:,} rows  {name:<10} {per_cpu[name]:9,.0f} rows/CPU-s  {per_second[name]:9,.0f} rows/s"
            f"  first round {first[name]:6.2f} s"
        )
    for name in ("decide", "score"):
        click.echo(
            f"{rows:,} rows  {name} / raw: {per_cpu[name] / per_cpu['raw']:.2f} by CPU, "
            f"{per_second[name] / per_second['raw']:.2f} by the clock"
            + (f" (bound {BOUND})" if name == "decide" else "")
        )


if __name__ == "__main__":
    main()
