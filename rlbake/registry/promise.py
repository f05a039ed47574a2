"""What a version was promised to earn when it became champion."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from mlflow.entities.model_registry import ModelVersion

from rlbake import vocabulary as v
from rlbake.evaluation.evaluation import AGENT, Evaluation
from rlbake.registry.config import SIMULATED

SIMULATED_UNIT = "return per simulated episode"


@dataclass(frozen=True)
class Promise:
    """The estimate at promotion, with its 95 % interval.

    Attributes:
        estimator: that made it; "simulated" for the return in the simulated world.
        value: the estimate.
        low: lower end of its interval.
        high: upper end.
        unit: "reward per decision", "discounted return per episode" or "return per simulated episode".
        gamma: discount of an episode's return.
        window: last `ds` that it was estimated on; empty if on none.
    """

    estimator: str
    value: float
    low: float
    high: float
    unit: str
    gamma: float
    window: str

    def to_tag(self) -> dict[str, str]:
        return {v.TAG_PROMISE: json.dumps(asdict(self))}


def promise_of(evaluation: Evaluation | None, primary: str | None) -> Promise | None:
    """What an evaluation says of its model, as it will decide, on the primary estimator; None if nothing finite."""
    if evaluation is None:
        return None
    estimator = primary or evaluation.primary
    window = evaluation.windows[-1] if evaluation.windows else ""
    world, figure = evaluation.deployed or evaluation.simulated, evaluation.estimates.get(AGENT, {}).get(estimator)
    if estimator == SIMULATED and world is not None:
        promise = Promise(estimator, world.mean, world.low, world.high, SIMULATED_UNIT, 1.0, window)
    elif figure is not None:
        promise = Promise(estimator, figure.value, figure.low, figure.high, evaluation.unit, evaluation.gamma, window)
    else:
        return None
    return promise if all(map(math.isfinite, (promise.value, promise.low, promise.high))) else None


def promise_kept_by(version: ModelVersion) -> Promise | None:
    """The promise on a registered version; None if it was made champion without one."""
    text = version.tags.get(v.TAG_PROMISE)
    return Promise(**json.loads(text)) if text else None
