"""The environments that no training has seen, picked on Spark as `dataset.split` picks them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
from pyspark import cloudpickle
from pyspark.sql import DataFrame

import rlbake.dataset.split
from rlbake import vocabulary as v

for shipped in (rlbake.dataset.split,):
    cloudpickle.register_pickle_by_value(shipped)  # executors have no rlbake


def only_held_out(trajectories: DataFrame, share: float) -> DataFrame:
    """The rows of environments that are held out. Only their names cross to Python, each once.

    Args:
        trajectories: rows with `env_id`.
        share: of the environments, in [0, 1), that training held out.
    """
    names = trajectories.select(v.ENV_ID).distinct().mapInArrow(_picked(share), f"{v.ENV_ID} string")
    return trajectories.join(names, v.ENV_ID, "left_semi")


def _picked(share: float) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    held_out, hashes = rlbake.dataset.split.held_out, rlbake.dataset.split.hashes

    def picked(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            names = batch.column(0).to_numpy(zero_copy_only=False)
            yield batch.filter(pa.array(held_out(hashes(names), share)))

    return picked
