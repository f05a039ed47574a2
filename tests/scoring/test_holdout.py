"""Who is held out on Spark is who is held out in memory."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession

from rlbake.dataset.split import hashes, held_out
from rlbake.scoring.holdout import only_held_out


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_the_same_environments_with_all_their_rows(spark: SparkSession, share: float) -> None:
    names = [f"player {n}, ü" for n in range(200)]
    rows = [(name, step) for name in names for step in range(3)]
    frame = spark.createDataFrame(rows, "env_id string, step int").repartition(5)
    picked = {tuple(row) for row in only_held_out(frame, share).select("env_id", "step").collect()}
    out = held_out(hashes(np.array(names, object)), share)
    assert picked == {(name, step) for name, there in zip(names, out, strict=True) if there for step in range(3)}
