"""What is remembered, where it is then, and what is refused."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable

from rlbake import Binary, Category, Continuous, MultiDiscrete
from rlbake.errors import ConfigError, DataError, RlbakeError, SpecError, StorageError
from rlbake.experience import Experience
from tests.experience.conftest import CLICKS, click, decision, ids, opened, rows


@pytest.fixture
def log(tmp_path: Path) -> Any:
    experience = opened(tmp_path)
    yield experience
    experience.close()


def test_a_decision_and_what_followed_are_rows_of_two_tables(log: Experience, tmp_path: Path) -> None:
    answered = decision(1, action_mask=[False, True], observation={"country": "US"}, fallback=True)
    log.log_decisions([answered, decision(40)]).result()
    by_key = click(2, decision_id=None, env_keys={"player": 7}, metrics={}, end="terminated", outcome_id="o-1")
    log.log_outcomes([click(1), by_key]).result()
    log.flush()
    first, second = rows(tmp_path)
    assert first == {
        "player": "p1",
        "timestamp": datetime(2026, 1, 1, 6, 31, tzinfo=UTC),
        "observation": {"x": None, "country": "US"},
        "action_mask": [False, True],
        "action": "b",
        "action_index": 1,
        "log_probability": -0.5,
        "policy_version": "main.rl.clicks/1",
        "decision_id": "d1",
        "fallback": True,
        "hour": "2026-01-01T06",
    }
    assert (second["action"], second["action_mask"], second["hour"]) == ("a", None, "2026-01-01T07")
    assert rows(tmp_path, "outcomes") == [
        {
            "player": None,
            "timestamp": datetime(2026, 1, 1, 6, 32, tzinfo=UTC),
            "decision_id": "d1",
            "outcome_id": None,
            "metrics": {"click": 1.0, "revenue": None},
            "end": None,
            "hour": "2026-01-01T06",
        },
        {
            "player": "7",
            "timestamp": datetime(2026, 1, 1, 6, 33, tzinfo=UTC),
            "decision_id": None,
            "outcome_id": "o-1",
            "metrics": {"click": None, "revenue": None},
            "end": "terminated",
            "hour": "2026-01-01T06",
        },
    ]


def test_what_keeps_coming_is_not_moved_row_by_row(tmp_path: Path) -> None:
    log, number = opened(tmp_path), 0
    over = time.monotonic() + 2
    while time.monotonic() < over:
        log.log_decisions([decision(1, decision_id=f"d{number}")]).result()
        number += 1
    appends = DeltaTable(tmp_path / "decisions").version()
    log.close()
    assert appends <= 1  # of the first move, if it came late enough to find a row
    assert len(ids(tmp_path)) == number


@pytest.mark.parametrize(
    ("action", "chosen", "shown", "index"),
    [
        (MultiDiscrete({"item": ["sword", "bow"], "off": ["0%", "10%"]}), [1, 0], ["bow", "0%"], [1, 0]),
        (Continuous([0.0, 0.0], [1.0, 9.0], ["bid", "price"]), [0.25, 5.0], [0.25, 5.0], None),
    ],
)
def test_several_actions_at_once(tmp_path: Path, action: Any, chosen: Any, shown: Any, index: Any) -> None:
    log = opened(tmp_path, action=action)
    log.log_decisions([decision(1, action=chosen, log_probability=None)])
    log.close()
    (row,) = rows(tmp_path)
    assert (row["action"], row["action_index"], row["log_probability"]) == (shown, index, None)


def test_many_threads_at_once(log: Experience, tmp_path: Path) -> None:
    def answer(first: int) -> None:
        for number in range(first, first + 50):
            log.log_decisions([decision(2 * number), decision(2 * number + 1)]).result()

    threads = [threading.Thread(target=answer, args=(first,)) for first in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    log.flush()  # in between
    for thread in threads:
        thread.join()
    log.flush()
    assert sorted(ids(tmp_path)) == sorted(f"d{number}" for number in range(800))
    assert log.waiting() == 0


def test_rows_are_moved_every_few_seconds_without_being_told(tmp_path: Path) -> None:
    log = opened(tmp_path, flush_s=0.05)
    log.log_decisions([decision(1)]).result()
    for _ in range(200):
        if ids(tmp_path):
            break
        threading.Event().wait(0.05)
    assert ids(tmp_path) == ["d1"]
    log.close()


def test_closing_moves_what_is_left_and_leaves_no_spool(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.log_decisions([decision(1)])
    log.close()
    log.close()
    assert ids(tmp_path) == ["d1"]
    assert list((tmp_path / "_spool").iterdir()) == []
    with pytest.raises(StorageError, match="is closed"):
        log.log_decisions([decision(2)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decision_id": ""}, "decision_id is '': it must be a non-empty string"),
        ({"timestamp": datetime(2026, 1, 1)}, "must be a datetime with a time zone"),
        ({"env_keys": {"user": 1}}, r"its keys are \{'user': 1\}, and must be player"),
        ({"env_keys": {"player": None}}, "must be player, each with a value"),
        ({"observation": {"y": 1.0}}, "there is no feature 'y'. Known: country, x"),
        ({"observation": {"x": "7"}}, "feature 'x' is '7': it must be a finite number"),
        ({"observation": {"x": float("nan")}}, "feature 'x' is nan"),
        ({"observation": {"country": 7}}, "country is 7: it must be a non-empty string"),
        ({"action": 2}, "action 2 is unknown"),
    ],
)
def test_a_decision_that_does_not_fit_is_refused_with_all_its_neighbours(
    log: Experience, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        log.log_decisions([decision(1), decision(2, **changes)])
    assert log.waiting() == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_keys": {"player": "p1"}}, r"give decision_id or the keys \(player\), one of them"),
        ({"decision_id": None}, "one of them"),
        ({"metrics": {"clicks": 1.0}}, "there is no metric 'clicks'. Did you mean 'click'"),
        ({"metrics": {"click": float("inf")}}, "metric 'click' is inf"),
        ({"metrics": {}, "end": "over"}, "there is no end 'over'"),
        ({"metrics": {}}, "it says nothing"),
    ],
)
def test_an_outcome_that_does_not_fit_is_refused(log: Experience, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        log.log_outcomes([replace(click(1), **changes)])


def test_a_feature_that_is_added_is_missing_in_older_rows(tmp_path: Path) -> None:
    before, after = CLICKS["observation"], (*CLICKS["observation"], Binary("vip"))
    old, new = opened(tmp_path, observation=before), opened(tmp_path, observation=after)
    old.log_decisions([decision(1)])
    new.log_decisions([decision(2, observation={"x": 2.0, "country": "US", "vip": True})])
    new.flush()
    old.close()  # its version is still being rolled out
    new.close()
    assert [row["observation"] for row in rows(tmp_path)] == [
        {"x": 1.0, "country": "DE", "vip": None},
        {"x": 2.0, "country": "US", "vip": True},
    ]


def test_a_feature_of_another_type_needs_another_log(log: Experience, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"holds observation\.x as double, and the application says string: log to"):
        opened(tmp_path, observation=(Category("x", ["1", "2"]),))
    with pytest.raises(SpecError, match="holds action as string, and the application says list"):
        opened(tmp_path, action=Continuous([0.0], [1.0], ["bid"]))
    with pytest.raises(SpecError, match="key 'hour': the experience log has a column of this name"):
        opened(tmp_path, keys=("hour",))


def test_the_files_of_an_hour_are_put_together(log: Experience, tmp_path: Path) -> None:
    for number in range(70):
        log.log_decisions([decision(0, decision_id=f"d{number}")])
        log.flush()
    assert len(DeltaTable(f"{tmp_path}/decisions").file_uris()) < 10
    assert sorted(ids(tmp_path)) == sorted(f"d{number}" for number in range(70))


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write to the table at .*file/log/decisions"):
        opened(tmp_path / "file" / "log")
    with pytest.raises(StorageError, match=r"cannot write to the spool at .*file"):
        opened(tmp_path / "log", spool=tmp_path / "file")
    with pytest.raises(ConfigError, match="flush_s is 0"):
        opened(tmp_path / "log", flush_s=0)


def test_rows_wait_while_the_tables_cannot_be_written(tmp_path: Path) -> None:
    """The folder of the tables is gone for a while, as object storage may be."""
    tables, spool = tmp_path / "log", tmp_path / "spool"
    log = opened(tables, spool=spool)
    log.log_decisions([decision(1)]).result()
    tables.rename(tmp_path / "elsewhere")
    tables.write_text("")
    log.log_decisions([decision(2)]).result()
    with pytest.raises(RlbakeError, match=r"decisions"):
        log.flush()
    assert log.waiting() == 2
    log.close()
    tables.unlink()
    (tmp_path / "elsewhere").rename(tables)
    opened(tables, spool=spool).close()  # the next process
    assert ids(tables) == ["d1", "d2"]


def test_numbers_and_strings_of_numpy(log: Experience, tmp_path: Path) -> None:
    log.log_decisions([decision(1, observation={"x": np.float32(0.5), "country": np.str_("DE")})])
    log.flush()
    assert rows(tmp_path)[0]["observation"] == {"x": 0.5, "country": "DE"}
