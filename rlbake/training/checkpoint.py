"""A training that was cut short, to be continued as if nothing had happened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlbake.learners.learner import Variables

_STEPS, _LOWEST, _VARIABLES, _REPLAY = "steps", "lowest", "variables", "replay"


@dataclass(frozen=True)
class Checkpoint:
    """All that changes while an agent is trained. Everything else follows from the arguments of the training.

    Attributes:
        steps: gradient steps taken, those before a warm start not counted.
        variables: of the learner.
        replay: what decides which rows are drawn, as `Replay.state`.
        lowest: held-out loss of all that were looked at; infinite if none was.
    """

    steps: int
    variables: Variables
    replay: Mapping[str, np.ndarray]
    lowest: float = math.inf

    def write(self, file: Path) -> None:
        """As .npz: `steps`, `lowest`, `variables/<part>/<index>` and `replay/<name>`."""
        arrays = {_STEPS: np.array(self.steps), _LOWEST: np.array(self.lowest)}
        arrays |= {f"{_REPLAY}/{name}": value for name, value in self.replay.items()}
        for part, values in self.variables.items():
            arrays |= {f"{_VARIABLES}/{part}/{index}": value for index, value in enumerate(values)}
        np.savez(file, allow_pickle=False, **arrays)


def read_checkpoint(file: Path) -> Checkpoint:
    """What `Checkpoint.write` wrote."""
    variables: dict[str, dict[int, np.ndarray]] = {}
    replay: dict[str, np.ndarray] = {}
    with np.load(file) as arrays:
        for key in arrays.files:
            kind, _, name = key.partition("/")
            if kind == _VARIABLES:
                part, _, index = name.rpartition("/")
                variables.setdefault(part, {})[int(index)] = arrays[key]
            elif kind == _REPLAY:
                replay[name] = arrays[key]
        steps, lowest = int(arrays[_STEPS]), float(arrays[_LOWEST])
    return Checkpoint(steps, {part: _in_order(values) for part, values in variables.items()}, replay, lowest)


def _in_order(values: Mapping[int, np.ndarray]) -> Sequence[np.ndarray]:
    return [values[index] for index in sorted(values)]
