"""The facts of a quality report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from rlbake import vocabulary as v
from rlbake.features.drift import Drift, drift
from rlbake.features.profile import NUMBER, Profile, Profiles, distribution
from rlbake.specs import Action, Feature

SHOWN = {"1%": 2, "5%": 10, "25%": 50, "50%": 100, "75%": 150, "95%": 190, "99%": 198}
"""Quantiles that are written out, and where they are on a profile's grid."""


@dataclass(frozen=True)
class WindowFacts:
    """What became of the rows of one window; see `rlbake.trajectories.build.WindowBuild`.

    Attributes:
        changed: whether its trajectories were written; False if they were there already.
        stale: why it was built again without being asked for; "" if it was not.
    """

    ds: str
    rows_in: int
    rejected: int
    duplicates: int
    transitions: int
    open: int
    unobserved: int
    timed_out: int
    stray: int
    changed: bool = True
    stale: str = ""


@dataclass(frozen=True)
class Rejection:
    """Rows that break one rule in one column, over all windows, with up to five examples."""

    rule: str
    problem: str
    column: str
    count: int
    examples: tuple[str, ...]
    fix: str


@dataclass(frozen=True)
class Joined:
    """What `join_logs` could not place: outcomes without a decision, decisions without an observation."""

    outcomes: int
    unmatched: int
    unseen: int


@dataclass(frozen=True)
class QualityReport:
    """What one run built, and how it is distributed.

    Attributes:
        application: its name.
        run_id: of the MLflow run.
        observation: the features.
        action: what may be done.
        windows: that were built, in order of time, at least one.
        profiles: of the trajectory rows of these windows.
        lengths: of episodes that end in these windows; see `rlbake.profiles.episodes`.
        missing: `ds` of windows that were asked for and have no rows.
        rejections: the most frequent first.
        quarantine: URI of the table with the rejected rows.
        reference: profiles to compare with; empty if there are none.
        relative_to: what they are of, in words; or why there are none.
        joined: None if the logs were not joined by `join_logs`.
    """

    application: str
    run_id: str
    observation: tuple[Feature, ...]
    action: Action
    windows: tuple[WindowFacts, ...]
    profiles: Profiles
    lengths: Profile
    missing: tuple[str, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    quarantine: str = ""
    reference: Profiles = field(default_factory=dict)
    relative_to: str = "there is nothing to compare with yet"
    joined: Joined | None = None

    def total(self, name: str) -> int:
        """A number of `WindowFacts`, summed over the windows."""
        return sum(getattr(window, name) for window in self.windows)

    @cached_property
    def drift(self) -> dict[str, Drift]:
        """How each column differs from the reference, by name."""
        return drift(self.reference, self.profiles)

    @property
    def rejected_share(self) -> float:
        """Of the rows that came in."""
        return _share(self.total("rejected"), self.total("rows_in"))

    @property
    def left_open(self) -> int:
        """Decisions that wait for their successor after the last window; those before it have had theirs."""
        return self.windows[-1].open

    @property
    def open_share(self) -> float:
        """Of the decisions whose fate this run has looked at."""
        return _share(self.left_open, self.left_open + self._settled)

    @property
    def lost_share(self) -> float:
        """Decisions that can never be trained on, of those whose fate is settled."""
        return _share(self._settled - self.total("transitions"), self._settled)

    @property
    def _settled(self) -> int:
        return self.total("transitions") + self.total("unobserved") + self.total("timed_out")

    @property
    def unknown_propensity_share(self) -> float:
        """Of the transitions."""
        return missing_share(self.profiles.get(v.LOG_PROBABILITY))

    @property
    def max_psi(self) -> float | None:
        """Of all columns; None if there is nothing to compare with."""
        return max((found.psi for found in self.drift.values()), default=None)

    def metrics(self) -> dict[str, float]:
        """The few numbers to watch from run to run."""
        psi = {} if self.max_psi is None else {"max_psi": self.max_psi}
        return {
            "rejected_share": self.rejected_share,
            "open_share": self.open_share,
            "lost_share": self.lost_share,
            "unknown_propensity_share": self.unknown_propensity_share,
            "max_missing_share": max(self.missing_shares().values(), default=0.0),
            **psi,
        }

    def missing_shares(self) -> dict[str, float]:
        """By feature, as it is profiled."""
        return {name: missing_share(p) for name, p in self.profiles.items() if name.startswith(f"{v.OBSERVATION}.")}


def missing_share(profile: Profile | None) -> float:
    """Of a column's rows; 0 of none."""
    return _share(profile.missing, profile.rows) if profile else 0.0


def share_up_to(profile: Profile, x: float) -> float:
    """The share of a number's values that are at most x, to about half a percent."""
    return float(distribution(profile)(np.array([x]))[1][0])


def facts(report: QualityReport) -> dict[str, Any]:
    """The report as JSON-ready data; what the page shows."""
    return {
        "application": report.application,
        "run_id": report.run_id,
        "windows": [asdict(window) for window in report.windows],
        "missing_windows": list(report.missing),
        "rejections": [{**asdict(rejection), "examples": list(rejection.examples)} for rejection in report.rejections],
        "quarantine": report.quarantine,
        "joined": asdict(report.joined) if report.joined else None,
        "metrics": report.metrics(),
        "columns": {name: _summary(profile) for name, profile in report.profiles.items()},
        "episode_lengths": _summary(report.lengths),
        "drift": {name: asdict(found) for name, found in report.drift.items()},
        "relative_to": report.relative_to,
    }


def _summary(profile: Profile) -> dict[str, Any]:
    seen = {"kind": profile.kind, "rows": profile.rows, "missing": profile.missing}
    if profile.kind != NUMBER:
        return {**seen, "counts": dict(profile.counts)}
    if not profile.present:
        return seen
    numbers = {"low": profile.low, "high": profile.high, "mean": profile.mean}
    deviation = profile.deviation if profile.varies else 0.0
    quantiles = {name: profile.quantiles[at] for name, at in SHOWN.items()}
    return {**seen, **numbers, "standard_deviation": deviation, "quantiles": quantiles}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
