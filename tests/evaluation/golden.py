"""The golden cases: what Open Bandit Pipeline 0.5.7 and SCOPE-RL 0.2.1 make of fixed rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rlbake.evaluation import estimators as e
from rlbake.evaluation.rows import Rows

DATA = Path(__file__).parents[1] / "data"
CASES: dict[str, dict[str, Any]] = json.loads((DATA / "ope_golden.json").read_text())["cases"]

_ONE_STEP = {
    "IPS": e.IPS, "SNIPS": e.SNIPS, "DM": e.DM, "DR": e.DR, "SNDR": e.SNDR, "IPS_clip": e.ClippedIPS,
    "DR_clip": e.ClippedDR, "SwitchDR_": e.SwitchDR, "DRos_": e.ShrinkageDR, "SubGaussianIPS_": e.SubGaussianIPS,
    "SubGaussianDR_": e.SubGaussianDR,
}  # fmt: skip
_SEQUENTIAL = {
    "DM": e.FQE, "TIS": e.TrajectoryIS, "PDIS": e.PerDecisionIS, "DR": e.SequentialDR, "SNTIS": e.SNTrajectoryIS,
    "SNPDIS": e.SNPerDecisionIS, "SNDR": e.SequentialSNDR,
}  # fmt: skip


@dataclass(frozen=True)
class Golden:
    """One peer's estimate.

    Attributes:
        case: and `theirs`, the peer's name for the estimator.
        ours: the estimator that must give the same.
        rows: with the value model that the peer was given.
        expected: what the peer found.
        tolerance: relative; the self-normalised estimators of SCOPE-RL add 1e-10 to what they divide by.
    """

    case: str
    theirs: str
    ours: e.Estimator
    rows: Rows
    expected: dict[str, Any]
    tolerance: float

    def value(self) -> float:
        """Our estimate."""
        return float(self.ours.value(self.ours.components(self.rows).sum(axis=0)))


def every_golden() -> Iterator[Golden]:
    """Every estimate of every case."""
    for case, found in CASES.items():
        for theirs, expected in found["estimates"].items():
            name, model = (theirs[: -len("_q_true")], "q_true") if theirs.endswith("_q_true") else (theirs, "q_hat")
            family, constant = re.fullmatch(r"(.*?)([\d.]*)", name).groups()
            if found["by"] == "obp":
                ours = _ONE_STEP[family](*([float(constant)] if constant else []))
            else:
                ours = _SEQUENTIAL[family](gamma=found["gamma"], horizon=found["step_per_trajectory"])
            yield Golden(case, theirs, ours, rows(case, model), expected, 1e-7 if name.startswith("SN") else 1e-9)


def rows(case: str, model: str = "q_hat") -> Rows:
    """A case's rows, every episode (or decision) a unit of its own."""
    columns = pq.read_table(DATA / CASES[case]["file"]).to_pydict()
    action, target, q = (np.array(columns[c]) for c in ("action", "target_action_dist", model))
    at = np.arange(len(action))
    episode = np.unique(columns.get("episode_id", at), return_inverse=True)[1]
    return Rows(
        unit=episode,
        episode=episode,
        step=np.array(columns.get("step", np.zeros_like(at))),
        reward=np.array(columns["reward"], np.float64),
        weight=target[at, action] / np.array(columns["pscore"]),
        q=q[at, action],
        v=(target * q).sum(axis=1),
        tail=np.zeros(len(at)),
        units=int(episode.max()) + 1,
    )
