"""Keeping some environments out of training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.util import hash_array

from rlbake.dataset.transitions import Transitions

_RESOLUTION = 2**32


def hashes(names: np.ndarray) -> np.ndarray:
    """uint64 [M], stable hashes of environments' names, str [M]."""
    return hash_array(names, categorize=False)


def held_out(hashed: np.ndarray, holdout: float) -> np.ndarray:
    """bool [M]: an environment is held out if its hash, uniform in [0, 1), is below `holdout`."""
    return (hashed % _RESOLUTION) / _RESOLUTION < holdout


def split_environments(transitions: Transitions, holdout: float) -> tuple[Transitions, Transitions]:
    """Training and holdout rows. All rows of an environment are on the same side, whatever else is loaded.

    Args:
        transitions: N rows.
        holdout: share of environments to hold out, in [0, 1).
    """
    environment, names = pd.factorize(transitions.env_id)
    out = held_out(hashes(names), holdout)[environment]
    return transitions.take(np.flatnonzero(~out)), transitions.take(np.flatnonzero(out))
