"""What was promised before a process died is in the tables once, and only once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from rlbake import vocabulary as v
from rlbake.experience.schema import LogSchema
from rlbake.experience.spool import Spool, locks
from rlbake.experience.tables import Tables
from tests.experience.conftest import CLICKS, decision, ids, opened

AT_ONCE, ROUNDS = 3, 3


def start(uri: Path, first: int, said: Path, *options: str) -> subprocess.Popen[bytes]:
    with said.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.experience.writing", str(uri), str(first), *options],
            stdout=out,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def numbers(said: Path, what: str) -> set[str]:
    """The ids of the decisions that a process said this of; each line stands for three."""
    lines = [line.split() for line in said.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {f"d{int(line[1]) + n}" for line in lines if line[0] == what for n in range(3)}


@pytest.mark.slow
def test_processes_killed_at_random_moments(tmp_path: Path) -> None:
    """Several at a time, one round after another; each round finds what the one before left."""
    log, chance = tmp_path / "log", random.Random(7)
    durable: set[str] = set()
    tried: set[str] = set()
    for round_ in range(ROUNDS):
        outputs = [tmp_path / f"{round_}-{n}.txt" for n in range(AT_ONCE)]
        running = [start(log, 3_000_000 * (round_ * AT_ONCE + n), output) for n, output in enumerate(outputs)]
        while not all(numbers(output, "durable") for output in outputs):
            time.sleep(0.02)
        for process in running:
            time.sleep(chance.uniform(0.0, 0.4))
            process.kill()
            process.wait()
        durable |= set().union(*(numbers(output, "durable") for output in outputs))
        tried |= set().union(*(numbers(output, "trying") for output in outputs))
    opened(log).close()  # whoever comes next
    found = Counter(ids(log))
    assert set(found.values()) == {1}
    assert durable <= set(found) <= tried
    assert all(len({name in found for name in together}) == 1 for together in thirds(tried))
    assert list((log / "_spool").iterdir()) == []


def thirds(names: set[str]) -> list[list[str]]:
    """Rows that were logged together."""
    firsts = [int(name[1:]) for name in names if int(name[1:]) % 3 == 0]
    return [[f"d{first + n}" for n in range(3)] for first in firsts]


@pytest.mark.parametrize("appended", [True, False], ids=["after", "before"])
def test_killed_around_an_append(tmp_path: Path, appended: bool) -> None:
    """A batch was taken, and perhaps appended, but never crossed off."""
    schema = LogSchema(**CLICKS)
    tables = Tables(str(tmp_path))
    tables.prepare(schema)
    spool = Spool.create(tmp_path / "_spool", schema)
    spool.append([(v.DECISIONS_TABLE, [schema.decision(decision(n)) for n in range(3)])])
    batch = spool.batch(v.DECISIONS_TABLE, spool.latest())
    assert batch is not None
    if appended:
        tables.append(v.DECISIONS_TABLE, schema, spool.id, batch)
    spool.append([(v.DECISIONS_TABLE, [schema.decision(decision(3))])])
    spool.close()
    opened(tmp_path).close()
    assert sorted(ids(tmp_path)) == ["d0", "d1", "d2", "d3"]


def test_a_batch_that_another_writer_appends_meanwhile(tmp_path: Path) -> None:
    """Two that hold the same batch, one with a handle of the table from before: the table takes it once."""
    schema = LogSchema(**CLICKS)
    tables = Tables(str(tmp_path))
    tables.prepare(schema)
    stale = DeltaTable(f"{tmp_path}/decisions")
    spool = Spool.create(tmp_path / "_spool", schema)
    spool.append([(v.DECISIONS_TABLE, [schema.decision(decision(0))])])
    batch = spool.batch(v.DECISIONS_TABLE, spool.latest())
    assert batch is not None
    for _ in range(2):
        tables.append(v.DECISIONS_TABLE, schema, spool.id, batch)
    with pytest.raises(Exception, match="Concurrent transaction"):
        write_deltalake(
            stale,
            schema.rows(v.DECISIONS_TABLE, batch.records),
            mode="append",
            commit_properties=CommitProperties(app_transactions=[Transaction(spool.id, batch.number)]),
        )
    spool.remove()
    assert ids(tmp_path) == ["d0"]


def test_a_full_disk_fails_the_promise_and_keeps_those_it_made(tmp_path: Path) -> None:
    log, said = tmp_path / "log", tmp_path / "said.txt"
    start(log, 0, said, "300000").wait(timeout=60)
    last = said.read_text().splitlines()[-1]
    assert last.startswith("failed cannot write to the spool at ")
    assert "See that its disk has room" in last
    durable = numbers(said, "durable")
    assert len(durable) > 30
    opened(log).close()
    found = Counter(ids(log))
    assert set(found.values()) == {1}
    assert durable == set(found)


def test_a_living_process_keeps_its_spool(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    first.log_decisions([decision(1)]).result()
    second.flush()
    assert first.waiting() == 1
    second.close()
    first.close()
    assert ids(tmp_path) == ["d1"]


def test_what_is_left_of_a_process_that_died_at_birth(tmp_path: Path) -> None:
    opened(tmp_path).close()
    folder = tmp_path / "_spool"
    (folder / "a.lock").touch()
    (folder / "b.lock").touch()
    (folder / "b.sqlite").touch()
    opened(tmp_path).close()
    assert locks(folder) == []
    assert list(folder.iterdir()) == []


def test_a_broken_spool_is_told_and_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened(tmp_path).close()
    folder = tmp_path / "_spool"
    (folder / "a.lock").touch()
    (folder / "a.sqlite").write_bytes(b"no database" * 500)
    log = opened(tmp_path)
    log.log_decisions([decision(1)])
    log.flush()
    log.flush()
    log.close()
    assert ids(tmp_path) == ["d1"]
    assert (folder / "a.sqlite").exists()
    assert [record.message for record in caplog.records if "a.sqlite" in record.message] == [
        f"Rows that a process left in {folder} stay there: cannot open the spool at {folder}/a.sqlite: "
        "file is not a database. See that its disk has room and may be written to."
    ]
