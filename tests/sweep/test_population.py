"""A population that lives in memory makes the transitions that its logs would make on Spark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from rlbake import vocabulary as v
from rlbake.application import Application, load_application
from rlbake.cadence import Window
from rlbake.dataset.pairing import paired
from rlbake.dataset.snapshot import Snapshot
from rlbake.dataset.transitions import Transitions, assemble, load
from rlbake.errors import ConfigError
from rlbake.policies.behaviour import RandomPolicy
from rlbake.scenarios import SHIPPED
from rlbake.specs import Binary, Category, Continuous, Discrete, Number
from rlbake.sweep.population import Population
from rlbake.training.config import resolve
from rlbake.training.reading import reading
from rlbake.trajectories.build import build_window
from rlbake.warehouse.table import Table
from tests.sweep.worlds import Patient

ROWS = 150
KINDS = {Number: "float", Binary: "boolean", Category: "string"}


def windows(application: Application, many: int) -> list[Window]:
    first = application.cadence.first
    return application.cadence.windows(first, application.cadence.following(first, many - 1))


def as_logged(spark: SparkSession, timesteps: pa.Table, application: Application) -> DataFrame:
    """What `Application.timesteps` would return."""
    action = application.action
    columns = {name.split(".")[-1]: timesteps.column(name).to_pylist() for name in timesteps.column_names}
    columns[application.keys[0]] = columns.pop(v.ENV_ID)
    del columns[v.ACTION_MASK]
    types = dict.fromkeys(columns, "string") | {v.TIMESTAMP: "timestamp", v.LOG_PROBABILITY: "float"}
    types |= dict.fromkeys(application.metrics, "float")
    types |= {feature.name: KINDS[type(feature)] for feature in application.observation}
    if isinstance(action, Discrete):
        columns[v.ACTION] = [None if a is None else action.names[a] for a in columns[v.ACTION]]
    else:
        types[v.ACTION] = "array<float>" if isinstance(action, Continuous) else "array<int>"
    rows = list(zip(*columns.values(), strict=True))
    return spark.createDataFrame(rows, ", ".join(f"{name} {types[name]}" for name in columns))


def on_spark(
    spark: SparkSession, lived: list[tuple[Window, pa.Table]], application: Application, folder: Path
) -> Table:
    for window, timesteps in lived:
        build_window(
            as_logged(spark, timesteps, application),
            tables=str(folder),
            keys=application.keys,
            observation=application.observation,
            action=application.action,
            metrics=application.metrics,
            reward=application.reward,
            window=window,
            previous=application.cadence.previous(window),
            episode_timeout=application.cadence.episode_timeout,
            run_id="run",
            config_digest="config",
        )
    return Table(f"{folder}/{v.TRAJECTORIES_TABLE}")


@pytest.mark.parametrize("scenario", ["level_difficulty", "cartpole", "message_timing", "bundle", "offer_price"])
def test_as_on_spark(spark: SparkSession, tmp_path: Path, scenario: str):
    application = load_application(SHIPPED[scenario], "")
    population, policy = Population(application, rows=ROWS, seed=1), RandomPolicy(application.action)
    lived = [(window, population.act(policy, window)) for window in windows(application, 3)]
    left_open, parts = None, []
    for window, timesteps in lived:
        done = paired(timesteps, left_open, episode_timeout=application.cadence.episode_timeout, end=window.end)
        left_open = done.left_open
        parts.append(done.transitions)
    table = on_spark(spark, lived, application, tmp_path)
    config = resolve({"agent": {"name": "td3" if scenario == "offer_price" else "dqn"}}, gamma=0.9)
    read = reading(application, config)
    here = assemble(pa.concat_tables(parts), read)
    built = tuple(window.ds for window, _ in lived)
    there = load(Snapshot(uri=table.uri, version=table.version(), windows=built, rows=len(here), digest=""), read)
    assert len(here) == len(there) > 2 * ROWS
    same(here, there)


def same(here: Transitions, there: Transitions) -> None:
    for name, mine in vars(here).items():
        theirs = getattr(there, name)
        if isinstance(mine, dict):
            for field, values in mine.items():
                np.testing.assert_array_equal(values, theirs[field], f"{name}.{field}")
        elif mine is None:
            assert theirs is None, name
        else:
            np.testing.assert_array_equal(mine, theirs, name)


def test_everybody_decides_and_episodes_go_on_in_the_next_window():
    application = load_application(SHIPPED["cartpole"], "")
    population, policy = Population(application, rows=200, seed=0), RandomPolicy(application.action)
    first, second = (population.act(policy, window) for window in windows(application, 2))
    decided = first.filter(first.column(v.ACTION).is_valid())
    assert len(decided) == 200 == population.size * population.decisions
    assert population.decisions == 20
    going_on = set(first.column(v.ENV_ID).to_pylist()) & set(second.column(v.ENV_ID).to_pylist())
    assert going_on  # a pole that is pushed at random falls after some twenty steps


def test_the_same_seed_lives_the_same_life():
    application = load_application(SHIPPED["level_difficulty"], "")
    policy = RandomPolicy(application.action)
    lives = [
        [Population(application, rows=100, seed=seed).act(policy, window) for window in windows(application, 1)]
        for seed in (0, 0, 1)
    ]
    assert lives[0] == lives[1] != lives[2]


class Worldless(Patient):
    name = "worldless"

    def world(self) -> None:
        return None


def test_where_nobody_can_live():
    with pytest.raises(ConfigError, match=r"worldless has no world\(\)"):
        Population(Worldless(), rows=10, seed=0)
