"""An exported policy, loaded."""

from __future__ import annotations

import json
from pathlib import Path

from rlbake.errors import NotFoundError
from rlbake.policies.exploration import OWN, Exploration
from rlbake.policies.export import SAVED_MODEL, SIGNATURE
from rlbake.policies.graph_policy import GraphPolicy
from rlbake.quiet import tensorflow as tf
from rlbake.specs import from_json
from rlbake.training.fitted import DESCRIPTION


class SavedPolicy(GraphPolicy):
    """The policy in a folder that `export_policy` wrote.

    Args:
        directory: holds `saved_model/` and `policy.json`.
        version: who decides, as logged.
        explore, temperature, epsilon, floor: as `Exploration` has them.

    Raises:
        NotFoundError: there is no policy in the folder.
        ConfigError: exploration is out of range, or epsilon or floor are given for Continuous actions.
    """

    def __init__(
        self,
        directory: str | Path,
        version: str,
        explore: bool = False,
        temperature: float = 0.0,
        epsilon: float = OWN,
        floor: float = 0.0,
    ) -> None:
        root = Path(directory)
        if not (root / DESCRIPTION).is_file() or not (root / SAVED_MODEL).is_dir():
            raise NotFoundError(f"there is no policy in {root}: it needs {DESCRIPTION} and {SAVED_MODEL}/.")
        description = json.loads((root / DESCRIPTION).read_text())
        observation = tuple(from_json(f) for f in description["observation"])
        action, exploration = from_json(description["action"]), Exploration(explore, temperature, epsilon, floor)
        exploration.refuse_for(action)
        self._model = tf.saved_model.load(str(root / SAVED_MODEL))  # keeps the graph's variables alive
        super().__init__(self._model.signatures[SIGNATURE], observation, action, version, exploration)
