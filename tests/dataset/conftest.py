"""Trajectory tables in the shape that the build writes, small enough to check by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake

from rlbake import vocabulary as v
from rlbake.specs import Binary, Category, Discrete, Number
from rlbake.warehouse.content import Build, ContentHash, to_metadata

OBSERVATION = (Number("level"), Binary("payer"), Category("country", ["US", "DE"]))
ACTION = Discrete(["wait", "offer", "gift"])
METRICS = ("click", "unsubscribe")
START = datetime(2026, 1, 1, tzinfo=UTC)

_INSTANT = pa.timestamp("us", "UTC")
_FEATURES = pa.struct([("level", pa.float32()), ("payer", pa.bool_()), ("country", pa.string())])
SCHEMA = pa.schema(
    [
        (v.ENV_ID, pa.string()),
        (v.EPISODE, _INSTANT),
        (v.TIMESTAMP, _INSTANT),
        (v.NEXT_TIMESTAMP, _INSTANT),
        (v.OBSERVATION, _FEATURES),
        (v.NEXT_OBSERVATION, _FEATURES),
        (v.ACTION, pa.int32()),
        (v.NEXT_ACTION, pa.int32()),
        (v.ACTION_MASK, pa.list_(pa.bool_())),
        (v.NEXT_ACTION_MASK, pa.list_(pa.bool_())),
        (v.LOG_PROBABILITY, pa.float32()),
        (v.METRICS, pa.struct([(metric, pa.float32()) for metric in METRICS])),
        (v.REWARD, pa.float64()),
        (v.DISCOUNT, pa.float32()),
        (v.STEP_TYPE, pa.int32()),
        (v.NEXT_STEP_TYPE, pa.int32()),
        (v.END, pa.string()),
        (v.TIME_GAP, pa.float64()),
        (v.POLICY_VERSION, pa.string()),
        (v.DS, pa.string()),
    ]
)

Row = dict[str, Any]
Write = Callable[..., str]


def row(env: str, hour: int, *, end: str = v.NOT_ENDED, ds: str = "2026-01-01", **changed: Any) -> Row:
    """The decision of an environment in the given hour of its one episode, followed in the next hour."""
    terminated = end == v.TERMINATED
    return {
        v.ENV_ID: env,
        v.EPISODE: START,
        v.TIMESTAMP: START + timedelta(hours=hour),
        v.NEXT_TIMESTAMP: None if terminated else START + timedelta(hours=hour + 1),
        v.OBSERVATION: {"level": float(hour), "payer": hour % 2 == 0, "country": "US"},
        v.NEXT_OBSERVATION: None if terminated else {"level": hour + 1.0, "payer": hour % 2 == 1, "country": "DE"},
        v.ACTION: hour % 3,
        v.NEXT_ACTION: None,
        v.ACTION_MASK: None,
        v.NEXT_ACTION_MASK: None,
        v.LOG_PROBABILITY: -1.5,
        v.METRICS: {"click": 1.0 + hour, "unsubscribe": 0.0},
        v.REWARD: 1.0 + hour,
        v.DISCOUNT: 0.0 if terminated else 1.0,
        v.STEP_TYPE: v.MID if hour else v.FIRST,
        v.NEXT_STEP_TYPE: v.MID if end == v.NOT_ENDED else v.LAST,
        v.END: end,
        v.TIME_GAP: None if terminated else 3600.0,
        v.POLICY_VERSION: "rules",
        v.DS: ds,
        **changed,
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes rows as the table's next version, replacing it, and returns the table's URI."""

    def writing(rows: list[Row], action: pa.DataType | None = None) -> str:
        schema = SCHEMA if action is None else _with(SCHEMA, {v.ACTION: action, v.NEXT_ACTION: action})
        uri = str(tmp_path / v.TRAJECTORIES_TABLE)
        for ds in sorted({r[v.DS] for r in rows}):
            of_window = [r for r in rows if r[v.DS] == ds]
            hashed = int(hashlib.sha256(repr(of_window).encode()).hexdigest()[:8], 16)
            build = Build(0, ContentHash(len(of_window), hashed, hashed), "config", "run")
            write_deltalake(
                uri,
                pa.Table.from_pylist(of_window, schema),
                mode="overwrite",
                predicate=f"{v.DS} = '{ds}'",
                partition_by=[v.DS],
                commit_properties=CommitProperties(to_metadata(ds, build)),
            )
        return uri

    return writing


def _with(schema: pa.Schema, changed: dict[str, pa.DataType]) -> pa.Schema:
    return pa.schema([(field.name, changed.get(field.name, field.type)) for field in schema])
