"""What training leaves behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlbake.errors import NotFoundError, SpecError
from rlbake.features import identify
from rlbake.features.compression import Compressed
from rlbake.features.identify import Identified
from rlbake.features.preprocessing import Preprocessing
from rlbake.learners.heads import DiscreteHead, Head
from rlbake.quiet import tensorflow as tf
from rlbake.specs import Action, Feature, from_json, to_json
from rlbake.training.config import TrainConfig

DESCRIPTION, CHECKPOINT = "policy.json", "checkpoint/variables"
ENCODER = "encoder"  # the part of the variables that belongs to an autoencoder


@dataclass(frozen=True)
class FittedAgent:
    """A trained agent, independent of whatever is trained after it.

    Attributes:
        observation: the features it reads.
        action: what it decides on.
        config: how it was trained.
        preprocessing: raw features → float32 [B, D].
        head: float32 [B, D] → what to do.
        variables: everything that training changed, for a warm start, by name of the part.
        metrics: the last ones reported.
        steps: gradient steps that are behind it, those before a warm start included.
    """

    observation: tuple[Feature, ...]
    action: Action
    config: TrainConfig
    preprocessing: Preprocessing | Compressed
    head: Head
    variables: Mapping[str, Sequence[np.ndarray]]
    metrics: Mapping[str, float]
    steps: int = 0

    def values(self, features: tf.Tensor) -> tf.Tensor:
        """How good each of A actions is, float32 [B, A], for features float32 [B, D].

        Raises:
            SpecError: the action is Continuous.
        """
        return self.choosing().values(features)

    def choosing(self) -> DiscreteHead:
        """The head, which chooses among A actions.

        Raises:
            SpecError: the action is Continuous.
        """
        if not isinstance(self.head, DiscreteHead):
            raise SpecError(
                f"agent {self.config.agent.name!r} decides on numbers: there are no actions to choose among."
            )
        return self.head

    def description(self) -> dict[str, Any]:
        """Specs, configuration and the features' transforms as JSON-ready data."""
        return {
            "observation": [to_json(f) for f in self.observation],
            "action": to_json(self.action),
            "gamma": self.config.gamma,
            "agent": asdict(self.config.agent),
            "training": {k: v for k, v in asdict(self.config).items() if k != "agent"},
            "features": identify.to_json(self.preprocessing.identified),
            "steps": self.steps,
        }

    def warm_start(self) -> WarmStart:
        """Where this training stopped, for one that goes on in the same process."""
        return WarmStart(
            observation=self.observation,
            action=self.action,
            agent=asdict(self.config.agent),
            compression=self.config.compression,
            identified=self.preprocessing.identified,
            variables=self.variables,
            steps=self.steps,
        )

    def save(self, directory: str | Path) -> None:
        """Writes `policy.json` (the description) and `checkpoint/` (the variables) below a directory."""
        root = Path(directory)
        root.mkdir(parents=True, exist_ok=True)
        (root / DESCRIPTION).write_text(json.dumps(self.description(), indent=2) + "\n")
        parts = {name: [tf.Variable(value) for value in values] for name, values in self.variables.items()}
        tf.train.Checkpoint(**parts).write(str(root / CHECKPOINT))


@dataclass(frozen=True)
class WarmStart:
    """Where an earlier training stopped.

    Attributes:
        observation: the features.
        action: what was decided on.
        agent: its name and hyperparameters, as JSON-ready data.
        compression: as in TrainConfig.
        identified: the features' transforms, through which the network's weights have learned to read them.
        variables: as in FittedAgent.
        steps: gradient steps that were behind it.
    """

    observation: tuple[Feature, ...]
    action: Action
    agent: Mapping[str, Any]
    compression: int | None
    identified: Identified
    variables: Mapping[str, Sequence[np.ndarray]]
    steps: int

    def carried(self, agent: str) -> int:
        """Gradient steps that are behind an agent of that name when it goes on from here: another's do not count."""
        return self.steps if self.agent["name"] == agent else 0


def read_warm_start(directory: str | Path) -> WarmStart:
    """What `FittedAgent.save` wrote.

    Raises:
        NotFoundError: there is no checkpoint.
    """
    root = Path(directory)
    prefix = root / CHECKPOINT
    if not prefix.with_name(prefix.name + ".index").is_file() or not (root / DESCRIPTION).is_file():
        raise NotFoundError(f"there is no checkpoint in {root}: this model cannot be trained further.")
    reader = tf.train.load_checkpoint(str(prefix))
    found: dict[str, dict[int, np.ndarray]] = {}
    for key in reader.get_variable_to_shape_map():
        part, *rest = key.split("/")
        if rest and rest[0].isdigit():
            found.setdefault(part, {})[int(rest[0])] = reader.get_tensor(key)
    description = json.loads((root / DESCRIPTION).read_text())
    return WarmStart(
        observation=tuple(from_json(feature) for feature in description["observation"]),
        action=from_json(description["action"]),
        agent=description["agent"],
        compression=description["training"].get("compression"),
        identified=identify.from_json(description["features"]),
        variables={part: [values[i] for i in sorted(values)] for part, values in found.items()},
        steps=description.get("steps", 0),
    )
