"""Keeping some environments out of training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.util import hash_array

from rlbake.dataset.transitions import Transitions

_RESOLUTION = 2**32


def split_environments(transitions: Transitions, holdout: float) -> tuple[Transitions, Transitions]:
    """Training and holdout rows. All rows of an environment are on the same side, whatever else is loaded.

    An environment is held out if a stable hash of its `env_id`, uniform in [0, 1), is below `holdout`.

    Args:
        transitions: N rows.
        holdout: share of environments to hold out, in [0, 1).
    """
    environment, names = pd.factorize(transitions.env_id)
    position = (hash_array(names, categorize=False) % _RESOLUTION) / _RESOLUTION
    held_out = (position < holdout)[environment]
    return transitions.take(np.flatnonzero(~held_out)), transitions.take(np.flatnonzero(held_out))
