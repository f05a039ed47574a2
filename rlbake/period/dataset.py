"""The trajectories that a period learns from and is judged on."""

from __future__ import annotations

from rlbake.dataset.snapshot import Snapshot, pin
from rlbake.period.period import Period
from rlbake.tracking.dataset import TrajectoryDataset


def pinned(period: Period) -> Snapshot:
    """The training window that ends with the period's, at the latest version of the table.

    Raises:
        NotFoundError: none of it is built.
        DataError: it holds no row.
    """
    windows = [w.ds for w in period.application.cadence.training_windows(period.window)]
    return pin(period.trajectories.uri, windows)


def dataset(period: Period, snapshot: Snapshot, part: str) -> TrajectoryDataset:
    """A snapshot as MLflow shall know it, with the runs that built it: `<application>_<part>`."""
    builds = period.trajectories.builds(snapshot.windows, snapshot.version)
    return TrajectoryDataset(
        f"{period.application.name}_{part}",
        uri=snapshot.uri,
        version=snapshot.version,
        windows=snapshot.windows,
        digest=snapshot.digest,
        rows=snapshot.rows,
        build_runs=[build.run_id for build in builds.values()],
    )
