"""Timesteps in memory to transitions, as `rlbake.trajectories.pair` makes them on Spark.

For simulated populations, which need no Spark and break no rule. The same timesteps give the same transitions on
both paths; a test holds them to it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from rlbake import vocabulary as v
from rlbake.dataset.columns import instants, text

_FOLLOWED = {v.TIMESTAMP: v.NEXT_TIMESTAMP, v.ACTION: v.NEXT_ACTION, v.ACTION_MASK: v.NEXT_ACTION_MASK}
_OBSERVED, _NEXT_OBSERVED = f"{v.OBSERVATION}.", f"{v.NEXT_OBSERVATION}."


class Paired(NamedTuple):
    """What a window's timesteps come to.

    Attributes:
        transitions: what `dataset.transitions.assemble` reads.
        left_open: timesteps, with their `episode`, whose successor has not been seen.
    """

    transitions: pa.Table
    left_open: pa.Table


def paired(
    timesteps: pa.Table, left_open: pa.Table | None, *, episode_timeout: timedelta | None, end: datetime
) -> Paired:
    """Each timestep with its successor.

    Args:
        timesteps: of one window, in any order, each once and true to the contract: env_id, timestamp,
            `observation.<feature>`, action, action_mask, log_probability, `metrics.<metric>`, end and
            policy_version, typed as `rlbake.vocabulary` says. None says that it is an episode's first.
        left_open: what the window before left open; None: nothing.
        episode_timeout: silence that ends an episode; None: never.
        end: of the window.
    """
    fresh = timesteps.append_column(v.EPISODE, pa.nulls(len(timesteps), timesteps.schema.field(v.TIMESTAMP).type))
    rows = fresh if left_open is None else pa.concat_tables([fresh, left_open.select(fresh.column_names)])
    rows = rows.sort_by([(v.ENV_ID, "ascending"), (v.TIMESTAMP, "ascending")]).combine_chunks()
    time, how = instants(rows, v.TIMESTAMP), text(rows, v.END)
    decided = _valid(rows, v.ACTION)
    environment = rows.column(v.ENV_ID).combine_chunks().dictionary_encode().indices.to_numpy()

    followed = np.append(environment[1:] == environment[:-1], False)
    parted = _parted(time, how, decided, episode_timeout)  # from the following row, where there is one
    known = _valid(rows, v.EPISODE)
    first = np.append(True, ~followed[:-1] | parted[:-1])[: len(time)]
    starts = first & ~known
    begun = np.maximum.accumulate(np.where(known | starts, np.arange(len(time)), 0))
    episode = np.where(known, instants(rows, v.EPISODE), time)[begun]

    continues = followed & ~parted
    over = np.zeros(len(time), bool) if episode_timeout is None else time < _instant(end - episode_timeout)
    given_up = followed | over
    terminated = decided & (how == v.TERMINATED)
    cut = decided & ~terminated & continues & np.append(~decided[1:], False)
    unobserved = decided & ~terminated & ~cut & (how == v.TRUNCATED) & given_up
    continued = decided & ~terminated & ~cut & ~unobserved & continues
    waiting = decided & ~terminated & ~cut & ~unobserved & ~continued & ~given_up

    of = rows.schema.get_field_index(v.EPISODE)
    whole = rows.set_column(of, v.EPISODE, pa.array(episode).cast(rows.schema.field(v.TIMESTAMP).type))
    done = np.flatnonzero(terminated | cut | continued)
    return Paired(
        _transitions(whole, done, terminated[done], cut[done], time, episode), whole.take(np.flatnonzero(waiting))
    )


def _parted(time: np.ndarray, how: np.ndarray, decided: np.ndarray, timeout: timedelta | None) -> np.ndarray:
    """bool [N]: whether the row after belongs to another episode, if it is of the same environment."""
    apart = ~decided | (how == v.TERMINATED) | np.append((how == v.TRUNCATED)[:-1] & decided[1:], False)
    if timeout is not None:
        apart |= np.append(np.diff(time) > np.timedelta64(timeout), False)
    return apart


def _transitions(
    rows: pa.Table, done: np.ndarray, terminated: np.ndarray, cut: np.ndarray, time: np.ndarray, episode: np.ndarray
) -> pa.Table:
    """The rows that are `done`, each beside the one after it."""
    this = rows.take(done)
    following = np.minimum(done + 1, len(rows) - 1)
    successor = pa.array(following, mask=terminated)
    columns = {name: this.column(name) for name in this.column_names}
    for name, column in _FOLLOWED.items():
        nothing = terminated | cut if name == v.ACTION else terminated
        columns[column] = rows.column(name).take(pa.array(following, mask=nothing))
    for name in rows.column_names:
        if name.startswith(_OBSERVED):
            columns[_NEXT_OBSERVED + name.removeprefix(_OBSERVED)] = rows.column(name).take(successor)
    gap = (time[following] - time[done]) / np.timedelta64(1, "s")
    ends = np.select([terminated, cut], [v.TERMINATED, v.TRUNCATED], v.NOT_ENDED)
    columns |= {
        v.END: pa.array(ends),
        v.DISCOUNT: pa.array(np.where(terminated, 0, 1).astype(np.float32)),
        v.STEP_TYPE: pa.array(np.where(time[done] == episode[done], v.FIRST, v.MID).astype(np.int32)),
        v.TIME_GAP: pa.array(gap, mask=terminated),
    }
    return pa.table(columns)


def _valid(rows: pa.Table, column: str) -> np.ndarray:
    return rows.column(column).is_valid().to_numpy()


def _instant(at: datetime) -> np.datetime64:
    return np.datetime64(at.replace(tzinfo=None), "us")
