"""How much memory rows may take, and how much they would."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import psutil

from rlbake.errors import ConfigError
from rlbake.specs import Category, Feature

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # cgroup v2, v1

_COPIES = 3  # of a row in Arrow that are in memory at once
_FILLED = 0.8  # of a large budget, as benchmarks/reading.py sees it kept
_OVERHEAD = 100_000_000  # bytes beside the rows, as benchmarks/reading.py sees them at any size
_CELL = 24  # bytes per feature of the network's input, of both observations, while they are preprocessed
_ROW = 160  # bytes of all else: pointers to text, instants, returns


def budget(memory: int | None) -> int:
    """Bytes that rows may take: those given, or a third of what this process may ever use.

    What it may use now is not looked at: the same training on the same machine reads the same way.
    """
    if memory is not None:
        return memory
    total = psutil.virtual_memory().total
    for limit in map(Path, _LIMITS):
        if limit.is_file() and limit.read_text().strip().isdigit():
            total = min(total, int(limit.read_text()))
    return total // 3


def usable(limit: int) -> int:
    """Bytes of a budget that streamed rows may fill; the rest is for decoding files and for what allocators keep."""
    return max(limit // 2, int(_FILLED * limit) - _OVERHEAD)


def while_read(arrow_bytes: float, observation: Sequence[Feature]) -> float:
    """Bytes per row, at the peak of turning a table in memory into what an agent learns from.

    Args:
        arrow_bytes: of one row in Arrow's format.
        observation: the features.
    """
    width = sum(len(f.values) + 2 if isinstance(f, Category) else 2 for f in observation)
    return _COPIES * arrow_bytes + _CELL * width + _ROW


def shown(size: float) -> str:
    """As a user would write it: "1.5GB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.3g}{unit}"
    return f"{max(1, round(size / 1e3))}KB"


def too_small(limit: int, needed: float, what: str) -> ConfigError:
    """`what`, a plural, would fill `needed` bytes: more than is `usable` of the limit."""
    needed = min(2 * needed, (needed + _OVERHEAD) / _FILLED)
    return ConfigError(
        f"memory = {shown(limit)!r} is too little: {what} need at least {shown(ceil(needed * 1.1))}. "
        "Set memory to that or more, or train on fewer windows."
    )
