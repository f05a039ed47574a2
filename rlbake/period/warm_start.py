"""The registered model that a training goes on from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlbake.period.period import Period
from rlbake.registry.versions import ResolvedModel, policy_dir, resolve
from rlbake.training.config import TrainConfig
from rlbake.training.fitted import WarmStart, read_warm_start
from rlbake.training.warm_start import refuse_differences


@dataclass(frozen=True)
class Parent:
    """A model that a training goes on from.

    Attributes:
        model: as it was asked for.
        start: where its own training stopped.
    """

    model: ResolvedModel
    start: WarmStart

    def recorded(self) -> dict[str, Any]:
        """What the run's configuration says of it; its `model_id` stays when an alias moves on."""
        return {"model": self.model.policy_version, "model_id": self.model.model_id}


def parent_of(period: Period, config: TrainConfig, reference: str | None) -> Parent | None:
    """The model that a reference means now; None without a reference.

    Raises:
        NotFoundError: there is no such model, or it cannot be trained further.
        ConfigError: it was trained on other features or actions, or with other layers.
        StorageError: the registry does not answer.
    """
    if not reference:
        return None
    model = resolve(reference, name=period.model_name)
    start = read_warm_start(policy_dir(model))
    refuse_differences(start, period.application.observation, period.application.action, config)
    return Parent(model, start)
