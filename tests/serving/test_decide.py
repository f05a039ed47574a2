"""What clients send, and what they get, over HTTP."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.serving.conftest import Server
from tests.serving.crossing import EPSILON, MODEL

ROW: dict[str, Any] = {"car_id": "c1", "speed": 2.0, "load": 5.0, "member": True, "country": "DE"}
GREEDY = "left"  # in version 1: its value is the speed
LIKELY, UNLIKELY = (math.log(1 - 2 * EPSILON["forward"] / 3), math.log(EPSILON["forward"] / 3))


def faults(server: Server, body: Any) -> list[tuple[int | None, str | None, str]]:
    """Where and why a request was refused."""
    answer = server.post("/decide", body)
    assert answer.status_code == 422, answer.text
    return [(fault["row"], fault["column"], fault["reason"]) for fault in answer.json()["detail"]]


def test_one_row_gets_one_answer(server: Server) -> None:
    answer = server.post("/decide", ROW)
    assert answer.status_code == 200
    decided = answer.json()
    assert len(decided.pop("decision_id")) == 32
    index = decided.pop("action_index")
    assert decided.pop("action") == ("left", "right", "up")[index]
    assert decided.pop("log_probability") == pytest.approx(LIKELY if index == 0 else UNLIKELY)
    assert decided == {"policy_version": f"{MODEL}/1", "fallback": False}


def test_many_rows_are_explored_as_their_probabilities_say(server: Server) -> None:
    decided = server.post("/decide", [{**ROW, "car_id": f"c{n}"} for n in range(1000)]).json()
    assert len({one["decision_id"] for one in decided}) == 1000
    greedy = [one for one in decided if one["action"] == GREEDY]
    assert len(greedy) / 1000 == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 1000))
    for one in decided:
        expected = LIKELY if one["action"] == GREEDY else UNLIKELY
        assert one["log_probability"] == pytest.approx(expected, abs=1e-5)


def test_what_is_masked_is_never_chosen(server: Server) -> None:
    masks = [[False, True, True], None, [False, False, True]] * 50
    decided = server.post("/decide", [{**ROW, "action_mask": mask} for mask in masks]).json()
    for one, mask in zip(decided, masks, strict=True):
        assert mask is None or mask[one["action_index"]]
    assert {one["log_probability"] for one in decided[2::3]} == {0.0}


def test_keys_are_text_or_whole_numbers_and_optional_features_may_be_missing_or_null(server: Server) -> None:
    rows = [{**ROW, "car_id": 7}, {**ROW, "battery": None}, {**ROW, "battery": 0.5, "tyre": "snow"}]
    assert server.post("/decide", rows).status_code == 200


@pytest.mark.parametrize(
    ("change", "column", "reason"),
    [
        ({"load": 11}, "load", "11 should be less than or equal to 10"),
        ({"load": -1}, "load", "-1 should be greater than or equal to 0"),
        ({"speed": "fast"}, "speed", "'fast' should be a valid number"),
        ({"speed": None}, "speed", "None should be a valid number"),
        ({"speed": 1e39}, "speed", "1e+39 should be less than or equal to"),
        ({"member": 1}, "member", "1 should be a valid boolean"),
        ({"country": "DEU"}, "country", "unknown value 'DEU'. Did you mean 'DE'? Known: DE, US."),
        ({"contry": "DE"}, "contry", "there is no such column. Did you mean 'country'?"),
        ({"action_mask": [True]}, "action_mask", "at least 3 items"),
        ({"action_mask": [True] * 4}, "action_mask", "at most 3 items"),
        ({"action_mask": [False] * 3}, "action_mask", "it allows no action"),
        ({"action_mask": [True, 1, True]}, "action_mask", "entry 1: 1 should be a valid boolean"),
        ({"car_id": True}, "car_id", "True should be a valid string"),
        ({"car_id": ""}, "car_id", "at least 1 character"),
        ({"timestamp": "2026-01-01T00:00:00"}, "timestamp", "no time zone"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp", "between 1970 and 2262"),
        ({"timestamp": 3}, "timestamp", "3 should be a valid datetime"),
        ({"tyre": ""}, "tyre", "at least 1 character"),
    ],
)
def test_a_fault_is_named_with_its_place(server: Server, change: dict, column: str, reason: str) -> None:
    (only,) = faults(server, [ROW, {**ROW, **change}])
    assert only[:2] == (1, column)
    assert reason in only[2]


def test_what_is_missing_is_named_and_every_fault_is_told(server: Server) -> None:
    assert faults(server, {"car_id": "c1", "speed": 1.0, "load": 5.0}) == [
        (0, "member", "missing"),
        (0, "country", "missing"),
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"3", b'"text"', b"[]", b"[1]", b"[" * 5000, b"\xff\xfe", b'{"car_id": "\\ud800"}', b"[null]"],
)
def test_what_is_not_a_row_is_refused(server: Server, body: bytes) -> None:
    answer = server.post("/decide", None, data=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_a_number_that_is_none_is_refused(server: Server, number: str) -> None:
    text = json.dumps(ROW).replace("2.0", number)
    answer = server.post("/decide", None, data=text, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["column"] == "speed"


def test_too_much_and_what_is_not_json_are_refused(server: Server) -> None:
    assert server.post("/decide", [ROW] * 1001).status_code == 422
    long = server.post("/decide", None, data=b" " * (2**20 + 1), headers={"content-type": "application/json"})
    assert long.status_code == 413
    assert server.post("/decide", None, data="speed=2", headers={"content-type": "text/plain"}).status_code == 415


def test_a_row_without_finite_values_is_the_fallbacks_and_takes_no_other_with_it(server: Server) -> None:
    """With a full battery the value of left is more than a float32 can hold. The rules say left up to a load of 5."""
    decided = server.post("/decide", [ROW, {**ROW, "battery": 1.0}, ROW]).json()
    assert [one["policy_version"] for one in decided] == [f"{MODEL}/1", "fallback", f"{MODEL}/1"]
    assert [one["fallback"] for one in decided] == [False, True, False]
    assert (decided[1]["action"], decided[1]["log_probability"]) == ("left", 0.0)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"car_id": "c1"}, "it says nothing"),
        ({"arrived": 1.0}, "missing"),
        ({"car_id": "c1", "decision_id": "d", "arrived": 1.0}, "there is no such column"),
        ({"decision_id": "../../etc", "arrived": 1.0}, "should match pattern"),
        ({"car_id": "c1", "arived": 1.0}, "Did you mean 'arrived'?"),
        ({"car_id": "c1", "arrived": None}, "None should be a valid number"),
        ({"car_id": "c1", "end": "stopped"}, "unknown value 'stopped'"),
    ],
)
def test_an_outcome_with_a_fault_is_refused(server: Server, body: dict, reason: str) -> None:
    answer = server.post("/outcome", body)
    assert answer.status_code == 422
    assert reason in answer.text


def test_who_decides_is_told(server: Server) -> None:
    version = server.get("/version").json()
    assert version["policy_version"] == f"{MODEL}/1"
    assert version["model_id"].startswith("m-")
    assert version["application"] == "crossing"
    assert server.get("/ready").json() == {"status": "ready"}
    assert server.get("/docs").status_code == 200


def test_the_openapi_document_types_the_applications_own_columns(server: Server) -> None:
    schemas = server.get("/openapi.json").json()["components"]["schemas"]
    row = schemas["Decision"]
    assert row["required"] == ["car_id", "speed", "load", "member", "country"]
    assert row["additionalProperties"] is False
    assert (row["properties"]["load"]["minimum"], row["properties"]["load"]["maximum"]) == (0, 10)
    assert row["properties"]["country"]["enum"] == ["DE", "US"]
    assert schemas["Decided"]["properties"]["action"]["enum"] == ["left", "right", "up"]
    assert set(schemas["OutcomeOfDecision"]["properties"]) >= {"decision_id", "arrived", "cost", "end"}
