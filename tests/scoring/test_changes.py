"""What a scoring changes against the one before, by hand."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from rlbake import vocabulary as v
from rlbake.scoring.changes import ALL, Change, changes
from rlbake.specs import Binary, Category, Number
from rlbake.warehouse.table import Table

OBSERVATION = (Number("level"), Binary("payer", optional=True), Category("country", ["US", "DE"]))
FIRST, SECOND, THIRD = "2026-01-01", "2026-01-02", "2026-01-03"

#         player, level, payer, country, action, log-probability
BEFORE = [
    ("a", 1.0, True, "US", "x", -0.1),
    ("b", 2.0, True, "US", "x", -0.2),
    ("c", 3.0, False, "DE", "y", -0.5),
    ("d", 4.0, None, "DE", "y", -1.0),
]
AFTER = [
    ("b", 2.0, True, "US", "y", -0.6),
    ("c", 3.0, False, "US", "y", -0.3),
    ("d", 4.0, None, "DE", "y", None),
    ("e", 9.0, True, "DE", "x", -0.1),
]


@pytest.fixture(scope="module")
def scores(spark, tmp_path_factory) -> Table:
    table = Table(str(tmp_path_factory.mktemp("changes") / "scores"))
    schema = (
        f"{v.ENV_ID} string, {v.OBSERVATION} struct<level: float, payer: boolean, country: string>, "
        f"{v.ACTION} string, {v.LOG_PROBABILITY} float"
    )
    for ds, rows in ((FIRST, BEFORE[:1]), (SECOND, BEFORE), (THIRD, AFTER)):
        frame = spark.createDataFrame([(row[0], row[1:4], *row[4:]) for row in rows], schema)
        table.replace_window(frame, ds, run_id="run", config_digest="")
    return table


def found(scores, spark, ds=THIRD, segments=None):
    return changes(scores, spark, ds, observation=OBSERVATION, segments=segments)


def by_part(compared):
    return {(change.segment, change.part): change for change in compared.changes}


def test_it_is_compared_with_the_latest_window_before(scores, spark):
    compared = found(scores, spark)
    assert (compared.window, compared.previous, compared.version) == (THIRD, SECOND, 2)
    assert found(scores, spark, SECOND).previous == FIRST
    assert found(scores, spark, FIRST) is None


def test_everybody_and_every_segment_by_hand(scores, spark):
    compared = by_part(found(scores, spark))
    assert compared.keys() == {
        (ALL, ""), ("payer", "true"), ("payer", "false"), ("payer", "missing"), ("country", "US"), ("country", "DE"),
    }  # fmt: skip
    everybody = compared[(ALL, "")]
    assert everybody == Change(ALL, "", 3, pytest.approx(1 / 3), pytest.approx(0.3), 1, 1)
    assert compared[("payer", "true")] == Change("payer", "true", 1, 1.0, pytest.approx(0.4), 1, 1)
    # c has moved from DE to US and counts where it is now; a is gone and counts where it was.
    assert compared[("country", "US")] == Change("country", "US", 2, 0.5, pytest.approx(0.3), 0, 1)
    silent = compared[("payer", "missing")]
    assert (silent.both, silent.changed, silent.new, silent.gone) == (1, 0.0, 0, 0)
    assert math.isnan(silent.log_probability)


def test_segments_are_those_asked_for_and_numbers_are_quartered(scores, spark):
    compared = found(scores, spark, segments=("level",))
    assert {change.segment for change in compared.changes} == {ALL, "level"}
    quarters = [change for change in compared.changes if change.segment == "level"]
    assert sum(change.both for change in quarters) == 3
    assert sum(change.new for change in quarters) == 1
    assert 2 <= len(quarters) <= 4


def test_csv_and_json_say_the_same(scores, spark):
    compared = found(scores, spark)
    lines = list(csv.DictReader(io.StringIO(compared.as_csv())))
    told = json.loads(compared.as_json())
    assert (told["window"], told["previous"]) == (THIRD, SECOND)
    assert [line["part"] for line in lines] == [change["part"] for change in told["changes"]]
    missing = next(line for line in lines if line["part"] == "missing")
    assert missing["log_probability"] == ""
    assert next(c for c in told["changes"] if c["part"] == "missing")["log_probability"] is None


def test_few_lines_come_back_whatever_the_number_of_categories(spark, tmp_path):
    table = Table(str(tmp_path / "scores"))
    for ds in (FIRST, SECOND):
        rows = [(str(n), (f"c{n % 40:02d}",), ["x", "y"], 0.0) for n in range(100)]
        schema = (
            f"{v.ENV_ID} string, {v.OBSERVATION} struct<c: string>, {v.ACTION} array<string>, {v.LOG_PROBABILITY} float"
        )
        table.replace_window(spark.createDataFrame(rows, schema), ds, run_id="run", config_digest="")
    observation = (Category("c", [f"c{n:02d}" for n in range(40)]),)
    compared = changes(table, spark, SECOND, observation=observation, segments=None)
    assert [change.part for change in compared.changes] == ["", *(f"c{n:02d}" for n in range(12))]
    assert compared.changes[0] == Change(ALL, "", 100, 0.0, 0.0, 0, 0)
