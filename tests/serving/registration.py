"""Versions that decide on a crossing, registered as trained ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mlflow.tracking import MlflowClient

import rlbake
from rlbake.features.identify import Transform
from rlbake.features.preprocessing import Preprocessing
from rlbake.learners.heads import ValueHead
from rlbake.learners.networks import dense_network
from rlbake.policies.export import export_policy
from rlbake.registry.versions import register
from rlbake.registry.versions import resolve as resolve_model
from rlbake.tracking.model import log_agent
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect
from rlbake.training.config import resolve
from rlbake.training.fitted import FittedAgent
from tests.serving.crossing import EPSILON, MODEL, Crossing


class OtherActions(Crossing):
    """A version that decides among its actions cannot decide on a crossing."""

    action = rlbake.Discrete(["left", "right", "down"])


FORWARD = np.array(
    [
        # left, right, up
        [1.0, 0.0, 0.0],  # speed
        [0.0, 1.0, 0.0],  # (load - 5) / 2
        [3e38, 0.0, 0.0],  # 10 battery: more than there is in float32 if it is full
        [0.0, 0.0, 0.0],  # member
        [0.0, 0.0, 0.0],  # country is DE
        [0.0, 0.0, 1.5],  # country is US
    ],
    np.float32,
)
BACKWARD = FORWARD[:, ::-1].copy()


def export(folder: Path, which: str, application: type[rlbake.Application] = Crossing) -> Path:
    """`forward`: left = speed, right = (load - 5) / 2, up = 1.5 in the US; `backward` has left and up exchanged."""
    scale = {"speed": Transform("standard", 0.0, 1.0), "load": Transform("standard", 5.0, 2.0)}
    scale["battery"] = Transform("standard", 0.0, 0.1)
    known = {f.name for f in application.observation}
    preprocessing = Preprocessing(application.observation, {n: t for n, t in scale.items() if n in known})
    network = dense_network((), preprocessing.size, len(application.action))
    weights = np.zeros((preprocessing.size, len(application.action)), np.float32)
    weights[: len(FORWARD)] = FORWARD if which == "forward" else BACKWARD
    network.set_weights([weights, np.zeros(len(application.action), np.float32)])
    fitted = FittedAgent(
        observation=application.observation,
        action=application.action,
        config=resolve({"agent": {"name": "dqn", "layers": [], "epsilon": EPSILON[which]}}, gamma=0.9),
        preprocessing=preprocessing,
        head=ValueHead(network, EPSILON[which]),
        variables={"network": network.get_weights()},
        metrics={},
    )
    return export_policy(fitted, folder)


def register_all(folder: Path) -> None:
    """`forward` as version 1 and champion, `backward` as version 2, and one of other actions as version 3."""
    connect()
    versions = (("forward", Crossing), ("backward", Crossing), ("forward", OtherActions))
    for number, (which, application) in enumerate(versions, start=1):
        exported = export(folder / f"policy_{number}", which, application)
        with stage_run("train", application="crossing"):
            info = log_agent(exported, application="crossing")
        register(resolve_model(info.model_uri), MODEL)
    MlflowClient().set_registered_model_alias(MODEL, "champion", "1")
