"""What was promised against what was earned, on tables small enough to check by hand."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pytest
from deltalake import CommitProperties, write_deltalake
from mlflow.tracking import MlflowClient
from scipy import stats

import rlbake
from rlbake import vocabulary as v
from rlbake.period.ledger import Entry, Ledger, check_ledger, ledger
from rlbake.period.period import Period
from rlbake.registry.promise import Promise
from rlbake.registry.versions import register, resolve
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect
from rlbake.warehouse.content import Build, ContentHash, to_metadata
from tests.dataset.conftest import ACTION, METRICS, OBSERVATION, SCHEMA, Row, row

NAME = "main.rl.shop"
FIRST, SECOND = f"{NAME}/1", f"{NAME}/2"
DECISION = Promise("sndr", 1.0, 0.8, 1.2, "reward per decision", 0.5, "2026-01-01")
EPISODE = Promise("sequential_dr", 2.0, 1.8, 2.2, "discounted return per episode", 0.5, "2026-01-01")


class Shop(rlbake.Application):
    name = "shop"
    keys = ("player",)
    cadence = rlbake.Cadence(start="2026-01-01")
    observation = OBSERVATION
    action = ACTION
    metrics = METRICS
    reward = {"click": 1.0}


@pytest.fixture
def period(tracking_uri: str, tmp_path: Path) -> Period:
    connect()
    shop = Shop()
    shop.tables = str(tmp_path / "tables")
    return Period(shop, shop.cadence.window("2026-01-31"), 0, NAME, "shop.py:Shop")


@pytest.fixture
def champion(period: Period) -> Callable[..., str]:
    """Registers a version, as champion, with a promise or without one."""

    def make(promise: Promise | None) -> str:
        with stage_run("train", application="shop") as run:
            logged = mlflow.initialize_logged_model(name="agent", source_run_id=run.run_id)
        version = register(resolve(f"models:/{logged.model_id}"), NAME).version
        for key, text in (promise.to_tag() if promise else {}).items():
            MlflowClient().set_model_version_tag(NAME, version, key, text)
        MlflowClient().set_registered_model_alias(NAME, v.CHAMPION, version)
        return f"{NAME}/{version}"

    return make


def write(period: Period, rows: Iterable[Row]) -> None:
    """The trajectories table, as the build writes it."""
    rows = list(rows)
    for ds in sorted({r[v.DS] for r in rows}):
        of_window = [r for r in rows if r[v.DS] == ds]
        write_deltalake(
            period.trajectories.uri,
            pa.Table.from_pylist(of_window, SCHEMA),
            mode="overwrite",
            predicate=f"{v.DS} = '{ds}'",
            partition_by=[v.DS],
            commit_properties=CommitProperties(to_metadata(ds, Build(0, ContentHash(len(of_window), 1, 1), "c", "r"))),
        )


def decided(env: str, day: int, reward: float, by: str = FIRST, *, hour: int = 0, **changed: Any) -> Row:
    return row(env, hour, **{v.DS: f"2026-01-{day:02d}", v.REWARD: reward, v.POLICY_VERSION: by, **changed})


def test_rewards_per_decision_are_clustered_by_environment(period: Period, champion: Callable[..., str]) -> None:
    champion(DECISION)
    rewards = {"ann": [1.0, 1.0, 1.0], "bob": [0.0], "cyd": [2.0, 0.5]}
    write(period, [
        *(decided(env, 2, r, hour=h) for env, of in rewards.items() for h, r in enumerate(of)),
        decided("dan", 2, 99.0, "random"), decided("eve", 2, 99.0, None),
        decided("ann", 1, 99.0),  # the window that the promise was made on
    ])  # fmt: skip
    (entry,) = ledger(period).entries
    assert (entry.version, entry.window, entry.decisions, entry.environments) == (FIRST, "2026-01-02", 6, 3)
    mean = 5.5 / 6
    residuals = np.array([3 - 3 * mean, 0 - mean, 2.5 - 2 * mean]) / 6
    half = stats.t.ppf(0.975, 2) * np.sqrt(3 / 2 * (residuals**2).sum())
    assert (entry.earned, entry.earned_low, entry.earned_high) == pytest.approx((mean, mean - half, mean + half))
    assert (entry.promised, entry.promised_low, entry.promised_high) == (1.0, 0.8, 1.2)
    assert (entry.covered, entry.breach) == (True, False)


@pytest.mark.parametrize(
    ("around", "covered", "breach"),
    [(1.0, True, False), (0.8, True, False), (0.79, False, False), (0.5, False, True), (1.5, False, False)],
)
def test_earning_less_than_chance_explains_is_a_breach_and_more_is_none(
    period: Period, champion: Callable[..., str], around: float, covered: bool, breach: bool
) -> None:
    champion(DECISION)
    write(period, [decided(f"p{i}", 2, around + 0.1 * (-1) ** i) for i in range(100)])
    (entry,) = ledger(period).entries
    assert (entry.covered, entry.breach) == (covered, breach)


def test_one_environment_tells_nothing(period: Period, champion: Callable[..., str]) -> None:
    champion(DECISION)
    write(period, [decided("ann", 2, -9.0, hour=h) for h in range(5)])
    found = ledger(period)
    assert (found.entries[0].covered, found.coverage, found.breaches) == (None, None, ())
    json.dumps(found.to_json(), allow_nan=False)


def test_returns_per_episode_are_of_episodes_that_a_version_began(period: Period, champion: Callable[..., str]) -> None:
    champion(EPISODE)
    ends = {"end": v.TERMINATED}
    write(period, [
        decided("ann", 2, 1.0), decided("ann", 3, 1.0, hour=1), decided("ann", 4, 4.0, hour=2, **ends),
        decided("bob", 4, 2.5, **ends),
        decided("cyd", 3, 9.0, "random"), decided("cyd", 4, 9.0, hour=1, **ends),  # began under another
        decided("dan", 4, 9.0, hour=1, **ends),  # began before
        decided("eve", 4, 9.0),  # goes on
        decided("fay", 3, 1.0), decided("fay", 4, 2.0, "fallback", hour=1, **ends),
    ])  # fmt: skip
    (entry,) = ledger(period).entries
    assert (entry.window, entry.decisions, entry.environments) == ("2026-01-04", 6, 3)
    assert entry.earned == pytest.approx(((1 + 0.5 * 1 + 0.25 * 4) + 2.5 + (1 + 0.5 * 2)) / 3)
    assert entry.others == pytest.approx(1 / 6)


def seasons(lengths: Iterable[int], fallback: Iterable[int]) -> list[Row]:
    """Episodes that earn 1 a decision, with the number of the decision that a fallback made; -1: none."""
    rows = []
    for number, (length, fell) in enumerate(zip(lengths, fallback, strict=True)):
        for hour in range(length):
            end = v.TERMINATED if hour == length - 1 else v.NOT_ENDED
            rows.append(decided(f"p{number}", 2, 1.0, "fallback" if hour == fell else FIRST, hour=hour, end=end))
    return rows


def test_a_fallback_now_and_then_makes_no_breach_of_long_episodes(period: Period, champion: Callable[..., str]) -> None:
    champion(replace(EPISODE, value=11.0, low=10.0, high=12.0, gamma=1.0))
    lengths = [1, 21] * 50
    write(period, seasons(lengths, [7 if length > 1 else -1 for length in lengths]))  # in every long one
    (entry,) = ledger(period).entries
    assert entry.earned == pytest.approx(11.0)
    assert entry.others == pytest.approx(1 / 22)
    assert (entry.covered, entry.breach) == (True, False)


def test_what_others_decided_breaks_no_promise(period: Period, champion: Callable[..., str]) -> None:
    champion(replace(EPISODE, value=11.0, low=10.0, high=12.0, gamma=1.0))
    write(period, seasons([2, 3] * 50, [1] * 100))
    (entry,) = ledger(period).entries
    assert entry.earned_high < 10.0
    assert entry.others == pytest.approx(2 / 5)
    assert (entry.covered, entry.breach) == (None, False)


def test_the_coverage_grows_window_by_window(period: Period, champion: Callable[..., str]) -> None:
    champion(DECISION)
    champion(DECISION)
    champion(None)
    rewards = {2: 1.0, 3: 1.1, 4: 0.2, 5: 1.0}
    write(period, [
        decided(f"p{i}", day, reward + 0.1 * (-1) ** i, FIRST if day < 4 else SECOND)
        for day, reward in rewards.items() for i in range(50)
    ] + [decided(f"q{i}", 5, 0.0, f"{NAME}/3") for i in range(9)])  # fmt: skip
    found = ledger(period)
    assert [(e.window[-2:], e.version[-1], e.covered) for e in found.entries] == [
        ("02", "1", True), ("03", "1", True), ("04", "2", False), ("05", "2", True),
    ]  # fmt: skip
    assert list(found.coverage_over_time().values()) == [1, 1, pytest.approx(2 / 3), 0.75]
    assert found.coverage == 0.75
    assert [entry.window for entry in found.breaches] == ["2026-01-04"]
    earlier = ledger(period.at(period.application.cadence.window("2026-01-03")))
    assert [entry.window[-2:] for entry in earlier.entries] == ["02", "03"]


def checked(period: Period) -> tuple[Ledger, Any]:
    with stage_run("main", application="shop") as run:
        found = check_ledger(period, run)
    return found, mlflow.get_run(run.run_id)


def test_a_breach_of_the_champion_is_told_with_the_way_back(
    period: Period, champion: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    champion(DECISION)
    champion(DECISION)
    MlflowClient().set_registered_model_alias(NAME, v.PREVIOUS, "1")
    write(period, [decided(f"p{i}", d, 0.1 * (i % 2) + (d == 2), FIRST if d == 2 else SECOND)
                   for d in (2, 3) for i in range(40)])  # fmt: skip
    with caplog.at_level(logging.WARNING, "rlbake"):
        found, run = checked(period)
    assert run.data.tags[v.TAG_LEDGER] == "breach"
    assert (run.data.metrics["ledger/coverage"], run.data.metrics["ledger/breaches"]) == (0.5, 1)
    assert "BREACH: main.rl.shop/2 earned 0.05 reward per decision in 2026-01-03, at most" in caplog.text
    assert "promised 1, at least 0.8." in caplog.text
    assert (
        f"To go back to version 1: mlflow run . -e promote -P application=shop.py:Shop -P "
        f"tables={period.application.tables} -P name={NAME} -P version=previous" in caplog.text
    )
    kept = json.loads(mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/ledger.json"))
    assert [Entry(**entry) for entry in kept["entries"]] == list(found.entries)
    plot = Path(mlflow.artifacts.download_artifacts(f"runs:/{run.info.run_id}/ledger.png")).read_bytes()
    assert plot.startswith(b"\x89PNG")
    MlflowClient().set_registered_model_alias(NAME, v.CHAMPION, "1")  # rolled back: the breach is not its
    assert checked(period)[1].data.tags[v.TAG_LEDGER] == "kept"


def test_nothing_is_logged_where_nothing_can_be_checked(period: Period, champion: Callable[..., str]) -> None:
    assert checked(period)[0] == Ledger(())  # no model, no table
    champion(DECISION)
    assert checked(period)[0] == Ledger(())  # no table
    write(period, [decided("ann", 1, 1.0), decided("ann", 2, 1.0, "random")])
    found, run = checked(period)
    assert found == Ledger(())
    assert (run.data.metrics, v.TAG_LEDGER in run.data.tags) == ({}, False)
