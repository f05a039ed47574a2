"""A player sees x and a country, does "a" or "b", and earns clicks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from rlbake import Category, Discrete, Number
from rlbake.experience import Decision, Experience, Outcome

START = datetime(2026, 1, 1, 6, 30, tzinfo=UTC)
CLICKS: dict[str, Any] = {
    "keys": ("player",),
    "observation": (Number("x", optional=True), Category("country", ["DE", "US"])),
    "action": Discrete(["a", "b"]),
    "metrics": ("click", "revenue"),
}


def opened(uri: Path | str, **changes: Any) -> Experience:
    """The log of the players; moved into its tables only when it is told to, unless something is changed."""
    return Experience(str(uri), **{"flush_s": 3600.0, **CLICKS, **changes})


def decision(number: int, **changes: Any) -> Decision:
    """Of player number, so many minutes after the start."""
    values: dict[str, Any] = {
        "decision_id": f"d{number}",
        "timestamp": START + timedelta(minutes=number),
        "env_keys": {"player": f"p{number}"},
        "observation": {"x": float(number), "country": "DE"},
        "action": number % 2,
        "action_mask": None,
        "log_probability": -0.5,
        "policy_version": "main.rl.clicks/1",
        "fallback": False,
    }
    return Decision(**{**values, **changes})


def click(number: int, **changes: Any) -> Outcome:
    """One of that player's, a minute after the decision, which it names."""
    values: dict[str, Any] = {
        "timestamp": START + timedelta(minutes=number + 1),
        "decision_id": f"d{number}",
        "env_keys": None,
        "metrics": {"click": 1.0},
    }
    return Outcome(**{**values, **changes})


def rows(uri: Path | str, table: str = "decisions") -> list[dict[str, Any]]:
    """What a table holds, in order of time."""
    return sorted(DeltaTable(f"{uri}/{table}").to_pyarrow_table().to_pylist(), key=lambda row: row["timestamp"])


def ids(uri: Path | str) -> list[str]:
    return [row["decision_id"] for row in rows(uri)]
