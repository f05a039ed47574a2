"""Features that are looked up by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from rlbake.errors import DataError, NotFoundError
from rlbake.serving.lookup import Lookup
from tests.serving.conftest import Serve
from tests.serving.crossing import Crossing

KEYS, OBSERVATION = Crossing.keys, Crossing.observation


def cars(**columns: list[Any]) -> pa.Table:
    known = {"car_id": [1, 2], "speed": [3.0, None], "load": [1.0, 2.0], "country": ["DE", "US"], "colour": ["a", "b"]}
    return pa.table(known | columns)


def write(kind: str, uri: Path, table: pa.Table) -> None:
    if kind == "delta":
        write_deltalake(uri, table, mode="overwrite")
    else:
        uri.mkdir(exist_ok=True)
        pq.write_table(table, uri / "part.parquet")


@pytest.mark.parametrize("kind", ["delta", "parquet"])
def test_a_key_finds_the_features_that_are_known_and_a_changed_table_is_read_again(kind: str, tmp_path: Path) -> None:
    write(kind, tmp_path / "cars", cars())
    lookup = Lookup(str(tmp_path / "cars"), KEYS, OBSERVATION)
    assert lookup.read()
    assert not lookup.read()
    assert len(lookup) == 2
    assert lookup.get({"car_id": "1"}) == {"speed": 3.0, "load": 1.0, "country": "DE"}
    assert lookup.get({"car_id": "2"}) == {"load": 2.0, "country": "US"}
    assert lookup.get({"car_id": "3"}) is None
    write(kind, tmp_path / "cars", cars(speed=[4.0, 5.0]))
    assert lookup.read()
    assert lookup.get({"car_id": "1"}) == {"speed": 4.0, "load": 1.0, "country": "DE"}


def test_a_table_that_tells_nothing_or_two_things_is_refused_and_the_one_before_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = tmp_path / "cars"
    lookup = Lookup(str(uri), KEYS, OBSERVATION)
    with pytest.raises(NotFoundError, match="neither a Delta table nor a Parquet file"):
        lookup.read()
    write("parquet", uri, cars().drop_columns(["car_id"]))
    with pytest.raises(NotFoundError, match="has no column 'car_id'"):
        lookup.read()
    write("parquet", uri, cars().select(["car_id", "colour"]))
    with pytest.raises(NotFoundError, match="has none of speed"):
        lookup.read()
    write("parquet", uri, cars())
    assert lookup.read()
    write("parquet", uri, cars(car_id=[1, 1]))
    with pytest.raises(DataError, match=r"the same key more than once .*: 2 of 2 rows, for example 1: 2 rows"):
        lookup.read()
    with caplog.at_level("ERROR"):
        assert not lookup.refresh()
        assert not lookup.refresh()
    assert len(caplog.records) == 1
    assert lookup.get({"car_id": "2"}) == {"load": 2.0, "country": "US"}
    write("parquet", uri, cars(car_id=[1, None]))
    with pytest.raises(DataError, match="whose key is NULL"):
        lookup.read()


def test_several_keys_are_one(tmp_path: Path) -> None:
    table = pa.table({"a": ["x", "x"], "b": [1, 2], "speed": [1.0, 2.0]})
    write("parquet", tmp_path / "t", table)
    lookup = Lookup(str(tmp_path / "t"), ("a", "b"), OBSERVATION)
    lookup.read()
    assert lookup.get({"a": "x", "b": "2"}) == {"speed": 2.0}


@pytest.mark.slow
def test_clients_send_the_key_alone_and_what_they_send_wins(serve: Serve, tmp_path: Path) -> None:
    """The rules, which decide as there is no time for the model, tell which load was used: right above 5."""
    table = cars(speed=[3.0, 4.0], load=[9.0, 99.0], member=[True, False])
    write("delta", tmp_path / "cars", table)
    server = serve(features=tmp_path / "cars", budget_ms=0.0001, fallback="rules", floor=0.1, epsilon=0.5)

    def action(**row: Any) -> str:
        answer = server.post("/decide", row)
        assert answer.status_code == 200, answer.text
        assert answer.json()["fallback"]
        return str(answer.json()["action"])

    assert action(car_id=1) == "right"
    assert action(car_id=1, load=2.0) == "left"
    assert action(car_id="9", speed=1.0, load=2.0, member=True, country="DE") == "left"

    unknown = server.post("/decide", [{"car_id": 1}, {"car_id": "9", "load": 2.0}])
    assert unknown.status_code == 422
    (fault,) = unknown.json()["detail"]
    assert (fault["row"], fault["column"]) == (1, "car_id")
    assert "'9' is not in the table of features" in fault["reason"]
    beyond = server.post("/decide", {"car_id": 2}).json()["detail"][0]
    assert (beyond["column"], beyond["reason"]) == ("load", "99.0 should be less than or equal to 10")

    write("delta", tmp_path / "cars", cars(load=[1.0, 2.0], member=[True, False]))
    server.wait_for(lambda: action(car_id=1) == "left")
    missing = server.post("/decide", {"car_id": 2}).json()["detail"][0]
    assert (missing["column"], missing["reason"]) == ("speed", "missing: neither sent nor in the table of features")

    counted = server.get("/metrics").text
    assert 'rlbake_fallbacks_total{reason="budget"}' in counted
    assert "rlbake_feature_keys 2.0" in counted
