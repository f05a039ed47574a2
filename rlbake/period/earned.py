"""What versions earned in the windows in which they decided, summed per environment, a window at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from rlbake import vocabulary as v
from rlbake.dataset.snapshot import Snapshot
from rlbake.dataset.split import hashes
from rlbake.dataset.transitions import open_dataset, storage_errors
from rlbake.evaluation.estimators.logged_reward import LoggedReward
from rlbake.evaluation.intervals import Interval, linearised

UNITS = 2**14
"""Environments are summed in so many groups by the hash of their name: what is held does not grow with them."""


@dataclass(frozen=True)
class Earned:
    """What one version earned in one window.

    Attributes:
        version: `<name>/<version>`, who decided.
        window: `ds`.
        decisions: rows that the version decided; of episodes, all in those that ended in the window.
        others: share of them that somebody else decided, such as a server's fallback or the version that followed.
        interval: of the reward per decision, or of the return per episode; clustered by environment.
    """

    version: str
    window: str
    decisions: int
    others: float
    interval: Interval


def per_decision(snapshot: Snapshot, versions: Collection[str]) -> Iterator[Earned]:
    """The mean reward of a version's decisions, for every window in which it decided.

    A window is streamed: whatever its size, sums of `UNITS` groups per version are held.

    Raises:
        StorageError: the table cannot be read.
    """
    columns = [v.ENV_ID, v.REWARD, v.POLICY_VERSION]
    for window in snapshot.windows:
        sums: dict[str, np.ndarray] = {}
        decided = (pc.field(v.DS) == window) & pc.field(v.POLICY_VERSION).isin(list(versions))
        with storage_errors(snapshot):
            for batch in open_dataset(snapshot).to_batches(columns=columns, filter=decided):
                for version, rows in batch.to_pandas().groupby(v.POLICY_VERSION):
                    added = _summed(rows[v.ENV_ID], np.ones(len(rows)), rows[v.REWARD])
                    sums[str(version)] = sums.get(str(version), 0.0) + added
        for version in sorted(sums):
            yield _earned(version, window, sums[version], int(sums[version][:, 0].sum()), others=0)


def per_episode(snapshot: Snapshot, versions: Collection[str], gamma: float) -> Iterator[Earned]:
    """The mean return Σ γᵗ r_t of the episodes that ended in a window and that a version had begun.

    An episode is whose who made its first decision, whoever made others: to leave out those in which somebody else
    decided as well would leave out long ones rather than short ones. How much others had to do with it is told.
    Held are the rows of one window and a line for every episode that goes on. An episode whose first
    decision lies before the snapshot says nothing of a version.

    Args:
        gamma: discount per step.

    Raises:
        StorageError: the table cannot be read.
    """
    columns = [v.ENV_ID, v.EPISODE, v.TIMESTAMP, v.REWARD, v.STEP_TYPE, v.END, v.POLICY_VERSION]
    going = pd.DataFrame(
        {**{name: pd.Series(dtype=np.float64) for name in ("steps", "gain", "others")}, "who": pd.Series(dtype=object)},
        pd.MultiIndex.from_arrays([[], []], names=[v.ENV_ID, v.EPISODE]),
    )
    for window in snapshot.windows:
        with storage_errors(snapshot):
            rows = open_dataset(snapshot).to_table(columns=columns, filter=pc.field(v.DS) == window).to_pandas()
        episodes = _continued(rows, going, gamma)
        going = episodes.loc[~episodes["ended"], ["steps", "gain", "others", "who"]]
        ended = episodes[episodes["ended"] & episodes["who"].isin(list(versions))]
        for version, of_version in ended.groupby("who"):
            environments = of_version.index.get_level_values(v.ENV_ID)
            sums = _summed(environments, np.ones(len(of_version)), of_version["gain"])
            steps, others = int(of_version["steps"].sum()), int(of_version["others"].sum())
            yield _earned(str(version), window, sums, steps, others)


_NOBODY = "\0"  # is known to have begun the episode


def _continued(rows: pd.DataFrame, going: pd.DataFrame, gamma: float) -> pd.DataFrame:
    """The episodes of a window's rows, and those that wait: steps, also others', return, who began, whether ended."""
    key = [v.ENV_ID, v.EPISODE]
    if not len(rows):
        return going.assign(ended=False)
    rows = rows.sort_values([*key, v.TIMESTAMP])
    before = going.reindex(pd.MultiIndex.from_frame(rows[key]))
    rows["step"] = rows.groupby(key).cumcount() + before["steps"].fillna(0).to_numpy(np.int64)
    rows["gain"] = gamma ** rows["step"] * rows[v.REWARD]
    decider = rows[v.POLICY_VERSION].fillna(_NOBODY)
    begun = (
        decider.where(rows[v.STEP_TYPE] == v.FIRST, _NOBODY).groupby([rows[name] for name in key]).transform("first")
    )
    rows["who"] = before["who"].to_numpy(object)
    rows["who"] = rows["who"].fillna(begun)
    rows["other"] = decider != rows["who"]
    rows["ended"] = rows[v.END] != v.NOT_ENDED
    of = rows.groupby(key)
    now = of.agg(
        steps=("gain", "size"),
        gain=("gain", "sum"),
        others=("other", "sum"),
        who=("who", "first"),
        ended=("ended", "any"),
    )
    known = going.reindex(now.index)
    for name in ("steps", "gain", "others"):
        now[name] += known[name].fillna(0).to_numpy(now[name].dtype)
    waiting = going.loc[going.index.difference(now.index)].assign(ended=False)
    return pd.concat([waiting, now]) if len(waiting) else now


def _summed(environments: pd.Series | pd.Index, count: np.ndarray, gain: pd.Series) -> np.ndarray:
    """[Σ count, Σ gain] of each group of environments, float64 [UNITS, 2]."""
    unit = (hashes(environments.to_numpy(object)) % UNITS).astype(np.int64)
    return np.stack([np.bincount(unit, weights=w, minlength=UNITS) for w in (count, gain)], axis=1)


def _earned(version: str, window: str, sums: np.ndarray, decisions: int, others: int) -> Earned:
    return Earned(version, window, decisions, others / decisions, linearised(LoggedReward(), sums))
