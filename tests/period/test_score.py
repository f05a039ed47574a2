"""Scoring as a step of the period: what a run tells of it."""

from __future__ import annotations

import json

import mlflow
import pytest

from rlbake import vocabulary as v
from rlbake.application import Application
from rlbake.cadence import Cadence, Window
from rlbake.errors import ConfigError
from rlbake.period.period import Period
from rlbake.period.score import score
from rlbake.policies.exploration import Exploration
from rlbake.policies.export import export_policy
from rlbake.registry.versions import register
from rlbake.tracking.model import log_agent
from rlbake.tracking.runs import stage_run
from rlbake.warehouse.table import Table
from tests.policies.conftest import ACTION, OBSERVATION, linear_agent  # noqa: F401 # a fixture

NAME = "main.rl.visits"


class Visits(Application):
    name = "visits"
    keys = ("visit",)
    cadence = Cadence(start="2026-01-01")
    observation = OBSERVATION
    action = ACTION
    metrics = ("bought",)
    reward = {"bought": 1.0}

    def timesteps(self, spark, window):
        raise AssertionError("scoring reads no logs")

    def population(self, spark, date):
        """Ten visits, one new each day; the last has no country."""
        first = date.start.day
        rows = [(f"v{n}", 10.0 + n, n % 2 == 0, None if n == first + 9 else "US") for n in range(first, first + 10)]
        return spark.createDataFrame(rows, "visit string, level double, payer boolean, country string")


@pytest.fixture
def day(tracking_uri, tmp_path, spark, linear_agent):  # noqa: F811
    """A period at a window; the champion does always the same."""
    mlflow.set_experiment("visits")
    with stage_run("train", application="visits"):
        info = log_agent(export_policy(linear_agent(), tmp_path / "policy"), application="visits")
    register(info, NAME)
    mlflow.MlflowClient().set_registered_model_alias(NAME, v.CHAMPION, "1")
    application = Visits()
    application.tables = str(tmp_path / "tables")
    first = Visits.cadence.first

    def at(window: Window) -> Period:
        return Period(application, window, 0, NAME)

    return at(first), at(Visits.cadence.following(first))


def run_of() -> mlflow.entities.Run:
    (latest,) = mlflow.search_runs(experiment_names=["visits"], output_format="list", max_results=1)
    return latest


def test_rejected_rows_and_changes_are_told(day, caplog):
    first, second = day
    with caplog.at_level("WARNING"):
        assert score(first, exploration=Exploration(explore=False)).rows == 9
    assert "1 of 10 rows are not scored" in caplog.text
    assert "NULL feature (column country): 1 of 10 rows, for example v10" in caplog.text
    run = run_of()
    assert (run.data.metrics["score/rows"], run.data.metrics["score/rejected"]) == (9, 1)
    assert "score/changed" not in run.data.metrics
    assert not [f for f in mlflow.artifacts.list_artifacts(run_id=run.info.run_id) if "changes" in f.path]

    score(second, exploration=Exploration(explore=False, epsilon=0.5))
    run = run_of()
    assert run.data.params["cfg.epsilon"] == "0.5"
    told = json.loads(mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/changes.json"))
    everybody = told["changes"][0]
    assert (everybody["both"], everybody["new"], everybody["gone"]) == (8, 1, 1)
    assert run.data.metrics["score/changed"] == everybody["changed"]
    assert {change["segment"] for change in told["changes"]} == {"all", "payer", "country"}
    header = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/changes.csv").splitlines()[0]
    assert header == "segment,part,both,changed,log_probability,new,gone"
    assert Table(f"{second.folder}/{v.UNSCORED_TABLE}").windows() == [first.window.ds, second.window.ds]


def test_another_table_has_its_own_rejected_rows_beside_it(day, tmp_path):
    score(day[0], output=str(tmp_path / "mine"))
    assert Table(str(tmp_path / "mine_unscored")).exists()
    assert not Table(f"{day[0].folder}/{v.SCORES_TABLE}").exists()


def test_an_exploration_that_cannot_be_is_refused_at_once(day):
    with pytest.raises(ConfigError, match=r"epsilon 2 must be in \[0, 1\]"):
        score(day[0], exploration=Exploration(epsilon=2))
