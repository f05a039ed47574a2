"""Pairing in memory and on Spark give the same transitions, and leave the same open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset
from deltalake import DeltaTable
from hypothesis import HealthCheck, Phase, given, settings

from rlbake import Discrete, Number
from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.dataset.pairing import paired
from rlbake.dataset.transitions import Reading, needed
from rlbake.trajectories.build import WindowBuild
from tests.trajectories.conftest import window_of
from tests.trajectories.test_histories import DAYS, TIMEOUT, histories, logged

READING = Reading(
    (Number("x"),), Discrete(["a", "b"]), ("click", "cost"), {"click": 2.0}, 0.9, kept_metrics=("cost",),
    keeps_policy=True,
)  # fmt: skip
FIELDS = {f"{v.OBSERVATION}.x": (v.OBSERVATION, "x")} | {
    f"{v.METRICS}.{metric}": (v.METRICS, metric) for metric in ("click", "cost")
}
PLAIN = (v.ENV_ID, v.TIMESTAMP, v.ACTION, v.ACTION_MASK, v.LOG_PROBABILITY, v.END, v.POLICY_VERSION)
ORDER = [(v.ENV_ID, "ascending"), (v.TIMESTAMP, "ascending")]


def written(folder: Path, table: str, window: Window) -> tuple[pyarrow.dataset.Dataset, pa.dataset.Expression]:
    dataset = DeltaTable(str(folder / table)).to_pyarrow_dataset()
    return dataset, pyarrow.dataset.field(v.DS) == window.ds


def timesteps(folder: Path, table: str, window: Window, *more: str) -> pa.Table:
    dataset, rows = written(folder, table, window)
    paths = {name: (name,) for name in (*PLAIN, *more)} | FIELDS
    return dataset.to_table({name: pyarrow.dataset.field(*path) for name, path in paths.items()}, rows)


@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(history=histories)
def test_as_on_spark(build: Callable[..., WindowBuild], tmp_path: Path, history: list) -> None:
    app, left_open = uuid4().hex, None
    for day in DAYS:
        window = window_of(day)
        rows = [s.row() for s, copies in logged(history) for _ in range(copies) if window.start <= s.time < window.end]
        if not rows:
            left_open = None
            continue
        build(day, rows, timeout=TIMEOUT, into=app)
        here = paired(
            timesteps(tmp_path / app, "timesteps", window), left_open, episode_timeout=TIMEOUT, end=window.end
        )
        dataset, of_window = written(tmp_path / app, "trajectories", window)
        columns = needed(dataset.schema, READING)
        there = dataset.to_table({n: pyarrow.dataset.field(*path) for n, path in columns.items()}, of_window)
        assert here.transitions.select(list(columns)).sort_by(ORDER).to_pylist() == there.sort_by(ORDER).to_pylist()
        open_there = timesteps(tmp_path / app, "open", window, v.EPISODE)
        left_open = here.left_open
        assert left_open.select(open_there.column_names).sort_by(ORDER).to_pylist() == (
            open_there.sort_by(ORDER).to_pylist()
        )
