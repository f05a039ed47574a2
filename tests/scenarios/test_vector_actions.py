"""Scenarios of vectors through all of the data path: the contract, the build with its quarantine, and what is read."""

import json

import numpy as np
import pytest
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.dataset.snapshot import pin
from rlbake.dataset.transitions import Reading, load
from rlbake.features.stored import read_profiles
from rlbake.period import open_period
from rlbake.period.build import build_trajectories
from rlbake.period.quality import PAGE
from rlbake.policies.behaviour import RandomPolicy
from rlbake.scenarios.bundle import Bundle
from rlbake.scenarios.offer_price import OfferPrice
from rlbake.testing import ApplicationContract
from rlbake.warehouse.table import Table

FIRST = "2026-01-01"


def simulated(scenario, tables):
    scenario.tables = str(tables)
    scenario.simulate(scenario.cadence.window(FIRST), RandomPolicy(scenario.action), 100, seed=0)
    return scenario


class VectorContract(ApplicationContract):
    """The contract that users inherit, on a hundred simulated players."""

    date = FIRST
    scenario: type

    @pytest.fixture
    def loaded(self, spark, folder):
        application = self.scenario()
        application.tables = folder
        return application

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        return simulated(cls.scenario(), tmp_path_factory.mktemp("tables")).tables


@pytest.mark.slow
class TestOfferPrice(VectorContract):
    scenario = OfferPrice


@pytest.mark.slow
class TestBundle(VectorContract):
    scenario = Bundle


class SpoiltOffers(OfferPrice):
    """One player's prices are beyond all bounds."""

    def timesteps(self, spark, window):
        spoilt = F.when(F.col("player_id") == "p7", F.array(F.lit(99.0).cast("float"))).otherwise(F.col(v.ACTION))
        return super().timesteps(spark, window).withColumn(v.ACTION, spoilt)


class SpoiltBundles(Bundle):
    """One player got an item that nobody knows."""

    def timesteps(self, spark, window):
        spoilt = F.when((F.col("player_id") == "p7") & F.col(v.ACTION).isNotNull(), F.array(F.lit("hat"), F.lit("0%")))
        return super().timesteps(spark, window).withColumn(v.ACTION, F.coalesce(spoilt, F.col(v.ACTION)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoilt", "rule", "value"),
    [(SpoiltOffers, "out_of_range", "[99.0]"), (SpoiltBundles, "unknown_action", "[hat, 0%]")],
    ids=["offer_price", "bundle"],
)
def test_vectors_go_all_the_way(spark, tracking_uri, tmp_path, monkeypatch, spoilt, rule, value):
    monkeypatch.setattr(spoilt, "max_rejected", 0.02)
    simulated(spoilt(), tmp_path / "tables")
    period = open_period(f"{__file__}:{spoilt.__name__}", str(tmp_path / "tables"), FIRST, 0)
    (built,) = build_trajectories(period)
    assert (built.rejected, built.transitions, built.open) == (10, 990, 0)

    quarantined = Table(f"{period.folder}/{v.QUARANTINE_TABLE}").read(spark).toPandas()
    assert set(quarantined[v.RULE]) == {rule}
    assert set(quarantined[v.VALUE]) == {value}
    assert {json.loads(row)["player_id"] for row in quarantined[v.ROW]} == {"p7"}

    (profiles,) = read_profiles(period.folder, [FIRST], period.trajectories.version())
    (page,) = tmp_path.rglob(PAGE)
    shown = page.read_text()
    reading = Reading(spoilt.observation, spoilt.action, spoilt.metrics, spoilt.reward, spoilt.gamma)
    rows = load(pin(period.trajectories.uri, [FIRST]), reading)
    assert len(rows) == 990
    if issubclass(spoilt, OfferPrice):
        price = profiles["action.price"]
        assert 0.5 <= price.low < 2 < 23 < price.high <= 25
        assert "action.price" in shown
        assert rows.action.dtype == np.float32
        assert rows.action.shape == (990, 1)
        assert rows.action.min() == np.float32(price.low)
        np.testing.assert_allclose(np.exp(rows.log_probability), 1 / 24.5, rtol=1e-6)
    else:
        assert sum(profiles["action.item"].counts.values()) == 990
        assert set(profiles["action.discount"].counts) == {"0%", "10%", "25%", "50%"}
        assert "discount" in shown
        assert rows.action.dtype == np.int32
        items = spoilt.action.split(rows.action)[:, 0]
        counts = dict(zip(("potion", "scroll", "cape", "mask", "steed", "castle"), np.bincount(items), strict=True))
        assert counts == profiles["action.item"].counts
        np.testing.assert_allclose(np.exp(rows.log_probability), 1 / 24, rtol=1e-6)
