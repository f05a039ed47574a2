"""Several choices at once, and numbers: the same service, in this process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable

import rlbake
from rlbake.experience.tables import TABLES
from rlbake.policies.export import export_policy
from rlbake.registry.versions import register, resolve
from rlbake.serving.app import interface
from rlbake.serving.fallback import Fallback
from rlbake.serving.model import LiveModel
from rlbake.serving.refusal import Refusal
from rlbake.serving.remember import experience_log
from rlbake.serving.service import Service
from rlbake.serving.settings import Settings
from rlbake.tracking.model import log_agent
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect
from tests.vector_agents import BUNDLE, EPSILON, OBSERVATION, PRICES, bundle_agent, price_agent

ROW = {"player_id": 1, "level": 16.0, "payer": False, "country": "US"}


class Bundles(rlbake.Application):
    """Which item at which discount."""

    name = "bundles"
    keys = ("player_id",)
    cadence = rlbake.Cadence(start="2026-01-01")
    observation = OBSERVATION
    action = BUNDLE
    metrics = ("bought",)
    reward = {"bought": 1.0}


class Prices(Bundles):
    """At which price, and how much of it at once."""

    name = "prices"
    action = PRICES


class Served:
    """What one process of a server is made of."""

    def __init__(self, application: rlbake.Application, agent: Any, folder: Path) -> None:
        connect()
        with stage_run("train", application=application.name):
            info = log_agent(export_policy(agent, folder / "policy"), application=application.name)
        uri = register(resolve(info.model_uri), f"main.rl.{application.name}").uri
        self.log = folder / "log"
        settings = Settings("", "", uri, str(self.log), fallback="random")
        self.model = LiveModel(
            uri, application, settings.exploration, on_swap=lambda _: None, on_refusal=lambda said: pytest.fail(said)
        )
        assert self.model.refresh()
        self.experience = experience_log(settings, application)
        self.service = Service(
            settings,
            application,
            model=self.model,
            fallback=Fallback(application, settings.fallback),
            lookup=None,
            log=self.experience,
        )
        self.document = interface(settings, application, self.service, self.model).openapi()

    def decide(self, body: Any) -> Any:
        return asyncio.run(self.service.decide(json.dumps(body).encode()))

    def logged(self) -> list[dict[str, Any]]:
        self.service.close()
        self.experience.close()
        rows: list[dict[str, Any]] = DeltaTable(self.log / TABLES[0]).to_pyarrow_table().to_pylist()
        return rows


def test_several_choices_are_names_and_indices(tracking_uri: str, tmp_path: Path) -> None:
    """In the US at level 16 a sword without discount is worth 3, and everything else less."""
    served = Served(Bundles(), bundle_agent(), tmp_path)
    decided = served.decide([ROW] * 300)
    sets = dict(BUNDLE.sets)
    for one in decided:
        item, discount = one["action_index"]
        assert one["action"] == [sets["item"][item], sets["discount"][discount]]
        share = EPSILON / 6
        expected = 1 - 5 * share if one["action"] == ["sword", "none"] else share
        assert one["log_probability"] == pytest.approx(np.log(expected), abs=1e-5)
    with pytest.raises(Refusal) as caught:
        served.decide({**ROW, "action_mask": [True] * 6})
    assert "there is no such column" in str(caught.value)
    assert served.document["components"]["schemas"]["Decided"]["properties"]["action"]["items"] == {"type": "string"}
    by_id = {row["decision_id"]: row for row in served.logged()}
    for one in decided:
        assert [by_id[one["decision_id"]][name] for name in ("action", "action_index")] == [
            one["action"],
            one["action_index"],
        ]


def test_numbers_have_no_index_and_a_density(tracking_uri: str, tmp_path: Path) -> None:
    served = Served(Prices(), price_agent(), tmp_path)
    decided = served.decide([ROW] * 50)
    numbers = np.array([one["action"] for one in decided])
    assert numbers.shape == (50, 2)
    assert ((numbers >= PRICES.low) & (numbers <= PRICES.high)).all()
    assert len(np.unique(numbers[:, 0])) > 10
    assert {one["action_index"] for one in decided} == {None}
    by_id = {row["decision_id"]: row for row in served.logged()}
    for one in decided:
        row = by_id[one["decision_id"]]
        assert row["action"] == one["action"]
        assert row["log_probability"] == one["log_probability"]
