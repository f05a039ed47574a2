"""An agent learns as well from rows that are streamed as from rows in memory, within its budget."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from benchmarks import reading as benchmark
from rlbake import vocabulary as v
from rlbake.dataset.reading import read
from rlbake.dataset.snapshot import Snapshot, pin
from rlbake.dataset.split import split_environments
from rlbake.dataset.streamed import Streamed
from rlbake.dataset.transitions import Reading, Transitions
from rlbake.errors import ConfigError
from rlbake.scenarios.cartpole import ALIVE, CartPole
from rlbake.training.config import resolve
from rlbake.training.fit import HOLDOUT_LOSS, LOSS, STEPS, fit
from rlbake.warehouse.content import Build, ContentHash, to_metadata
from tests.agents.test_cartpole import Pushes, in_memory, mean_return, random_pushes

DS = "2026-01-01"
SMALL = {"batch_size": 16, "agent": {"layers": [16]}}
ENOUGH = 12_500_000  # bytes: too little for the pushes of 1,350 carts
SCARCE = 1_800_000  # for those of 300 carts


def as_table(pushes: Pushes, uri: str) -> Snapshot:
    """Trajectories as a build would write them, in random order."""
    rows, instant = len(pushes.cart), pa.timestamp("us", "UTC")
    start = np.datetime64(DS, "us")
    time = start + pushes.second.astype("timedelta64[s]")
    none = pa.nulls(rows, pa.list_(pa.bool_()))
    struct = lambda columns: pa.StructArray.from_arrays(list(map(pa.array, columns.values())), list(columns))  # noqa: E731
    table = pa.table(
        {
            v.ENV_ID: pa.array(pushes.cart.astype(str)),
            v.EPISODE: pa.array(np.full(rows, start), instant),
            v.TIMESTAMP: pa.array(time, instant),
            v.NEXT_TIMESTAMP: pa.array(time + np.timedelta64(1, "s"), instant, mask=pushes.fallen),
            v.OBSERVATION: struct(pushes.observation),
            v.NEXT_OBSERVATION: struct(pushes.next_observation),
            v.ACTION: pa.array(pushes.action.astype(np.int32)),
            v.NEXT_ACTION: pa.nulls(rows, pa.int32()),
            v.ACTION_MASK: none,
            v.NEXT_ACTION_MASK: none,
            v.LOG_PROBABILITY: pa.array(np.full(rows, np.log(0.5), np.float32)),
            v.METRICS: struct({ALIVE: pushes.reward.astype(np.float32)}),
            v.DISCOUNT: pa.array(np.where(pushes.fallen, 0, 1).astype(np.float32)),
            v.STEP_TYPE: pa.array(np.where(pushes.second == 0, v.FIRST, v.MID).astype(np.int32)),
            v.END: pa.array(np.where(pushes.fallen, v.TERMINATED, v.NOT_ENDED)),
            v.TIME_GAP: pa.array(np.ones(rows), mask=pushes.fallen),
            v.DS: pa.array(np.full(rows, DS)),
        }
    )
    write_deltalake(
        uri,
        table.take(pa.array(np.random.default_rng(0).permutation(rows))),
        partition_by=[v.DS],
        commit_properties=CommitProperties(to_metadata(DS, Build(0, ContentHash(rows, 1, 1), "config", "run"))),
    )
    return pin(uri, [DS])


def reading(config, **changed) -> Reading:
    asked = {"reward": CartPole.reward, "gamma": config.gamma, "n_step": config.n_step}
    return Reading(CartPole.observation, CartPole.action, CartPole.metrics, **(asked | changed))


def learned(training, holdout, config, seed=0, **kwargs):
    return fit(
        training, holdout, observation=CartPole.observation, action=CartPole.action, config=config, seed=seed, **kwargs
    )


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Snapshot:
    return as_table(random_pushes(300, 0), str(tmp_path_factory.mktemp("few") / "trajectories"))


def streamed(few: Snapshot, seed: int = 0, budget: int = SCARCE, on_metrics=None, **changed):
    config = resolve({"steps": 400, **SMALL, **changed}, gamma=0.9)
    with read(few, reading(config), holdout=0.2, budget=budget) as (training, holdout):
        assert isinstance(training, Streamed)
        return learned(training, holdout, config, seed, on_metrics=on_metrics)


def test_the_table_is_what_the_pole_did(few):
    """The table of these tests, read in memory, against what is put together without one."""
    config = resolve({}, gamma=0.9)
    with read(few, reading(config), holdout=0.0) as (training, _):
        known = in_memory(random_pushes(300, 0), 0.9, config.n_step)
    order = np.lexsort((known.timestamp, known.env_id.astype(str)))
    np.testing.assert_allclose(training.reward, known.reward[order])
    np.testing.assert_allclose(training.discount, known.discount[order])


def test_the_same_seed_gives_the_same_weights_bit_for_bit(few):
    first, other, again = (streamed(few, seed) for seed in (3, 4, 3))
    for one, two in zip(first.head.network.get_weights(), again.head.network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.head.network.get_weights()[0] != other.head.network.get_weights()[0]).any()


@pytest.mark.parametrize("changed", [{"budget": 2_200_000}, {"recency_half_life": "10s"}, {"batch_size": 15}])
def test_memory_and_recency_change_what_is_drawn(few, changed):
    before, after = streamed(few), streamed(few, **changed)
    assert (before.head.network.get_weights()[0] != after.head.network.get_weights()[0]).any()


def test_features_are_read_alike(few):
    config = resolve({"steps": 1, **SMALL}, gamma=0.9)
    with read(few, reading(config), holdout=0.2) as (training, holdout):
        assert isinstance(training, Transitions)
        whole = learned(training, holdout, config).preprocessing
        rows = training.observation
    np.testing.assert_allclose(streamed(few).preprocessing.apply(rows), whole.apply(rows), atol=1e-5)


def test_metrics_are_reported_and_files_removed(few):
    reported = []
    config = resolve({"steps": 700, "overfit": None, **SMALL}, gamma=0.9)
    with read(few, reading(config), holdout=0.2, budget=SCARCE) as (training, holdout):
        before = set(training.folder.rglob("*"))
        learned(training, holdout, config, on_metrics=lambda *report: reported.append(report))
        assert set(training.folder.rglob("*")) == before
    assert not training.folder.exists()
    assert reported[-1][1][STEPS] == 700
    assert reported[-1][1][LOSS] < reported[0][1][LOSS]
    assert HOLDOUT_LOSS in reported[0][1]


def test_a_failure_leaves_no_files(few):
    folders = []

    def fails(*_) -> None:
        raise KeyboardInterrupt

    def run() -> None:
        config = resolve({"steps": 700, **SMALL}, gamma=0.9)
        with read(few, reading(config), holdout=0.2, budget=SCARCE) as (training, holdout):
            folders.append(training.folder)
            learned(training, holdout, config, on_metrics=fails)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert folders
    assert not folders[0].exists()


def test_batches_too_large_for_the_budget(few):
    with pytest.raises(ConfigError, match=r"memory = '1.8MB' is too little: the batches of 500 steps, each 5,000 rows"):
        streamed(few, batch_size=5000)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_pole_is_balanced_as_well_as_from_memory(tmp_path, seed):
    config = resolve({"steps": 5000, "batch_size": 128}, gamma=CartPole.gamma)
    pushes = random_pushes(1350, seed)
    snapshot = as_table(pushes, str(tmp_path / "trajectories"))
    with read(snapshot, reading(config), holdout=config.holdout, budget=ENOUGH) as (training, holdout):
        assert isinstance(training, Streamed)
        assert len(training.files) > 4
        from_disk = mean_return(learned(training, holdout, config, seed))
    whole = split_environments(in_memory(pushes, config.gamma, config.n_step), config.holdout)
    assert from_disk >= 195
    assert mean_return(learned(*whole, config, seed)) >= 195


@pytest.mark.slow
def test_memory_stays_within_the_budget(tmp_path):
    """2 million rows, which take 1.5 GB when read at once; in a process of its own, over what TensorFlow takes."""
    uri = str(tmp_path / v.TRAJECTORIES_TABLE)
    windows = benchmark.generate(uri, 2_000_000)
    used = benchmark.in_own_process(uri, windows, 300_000_000, 2000)
    assert used["rows"] == 2_000_000
    assert used["steps"] == 2000
    assert used["parts"] > 10
    assert used["peak"] < 400_000_000
