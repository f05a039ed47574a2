"""What a request may hold, by the application's specs: checked row by row, and described for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    with_config,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from typing_extensions import TypedDict

from rlbake import vocabulary as v
from rlbake.errors import SpecError, nearest
from rlbake.serving.refusal import Complaint, Refusal
from rlbake.specs import OTHER, Action, Binary, Category, Discrete, Feature, Number

RESERVED = (v.TIMESTAMP, v.ACTION_MASK, v.DECISION_ID, v.OUTCOME_ID, v.END)
"""Columns of requests that are not the application's."""

MOST_COMPLAINTS = 20
MOST_NAMES = 50  # of a hint

_LARGEST = float(np.finfo(np.float32).max)  # what features and metrics are stored as
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)  # what nanoseconds can tell
_BY_DECISION, _BY_KEY = "by_decision", "by_key"

Parsed = TypeVar("Parsed")


class Rows(Generic[Parsed]):
    """One kind of row: a request holds one, or a list of them.

    Args:
        row: the row's type.
        known: names of its columns.
        most: rows that a request may hold.
        choices: what a column may hold, where that is a few words.
        absent: said of a column that is missing.
    """

    def __init__(
        self,
        row: Any,
        known: Sequence[str],
        most: int,
        choices: Mapping[str, Sequence[str]],
        absent: str = "missing",
    ) -> None:
        self._one: TypeAdapter[Parsed] = TypeAdapter(row)
        self._many = TypeAdapter(Annotated[list[row], Field(min_length=1, max_length=most)])
        self._known = known
        self._choices = choices
        self._absent = absent
        self._schema = TypeAdapter(row | Annotated[list[row], Field(min_length=1, max_length=most)])

    def parse(self, body: bytes) -> tuple[list[Parsed], bool]:
        """The rows of a JSON text, and whether it is a list.

        Raises:
            Refusal: with every place and reason, up to `MOST_COMPLAINTS`.
        """
        many = body.lstrip()[:1] == b"["
        try:
            return (self._many.validate_json(body), True) if many else ([self._one.validate_json(body)], False)
        except ValidationError as error:
            raise self._refused(error, None if many else 0) from None

    def check(self, row: Mapping[str, Any], number: int) -> Parsed:
        """The same of a row that was put together here; `number` is its place in the request. Raises a Refusal."""
        try:
            return self._one.validate_python(row)
        except ValidationError as error:
            raise self._refused(error, number) from None

    def schema(self) -> dict[str, Any]:
        """JSON schema of the body; its definitions are under `$defs`."""
        return self._schema.json_schema(ref_template="#/components/schemas/{model}")

    def _refused(self, error: ValidationError, row: int | None) -> Refusal:
        errors = error.errors(include_url=False)
        complaints = [self._complaint(found, row) for found in errors[:MOST_COMPLAINTS]]
        return Refusal(422, complaints, more=len(errors) - len(complaints))

    def _complaint(self, found: ErrorDetails, row: int | None) -> Complaint:
        place = [part for part in found["loc"] if part not in (_BY_DECISION, _BY_KEY)]
        if row is None and place:
            row = int(place.pop(0))
        column = str(place[0]) if place else None
        entry = f"entry {place[1]}: " if len(place) > 1 else ""
        return Complaint(row, column, entry + self._reason(found, column))

    def _reason(self, found: ErrorDetails, column: str | None) -> str:
        kind, given = found["type"], found["input"]
        if kind == "missing":
            return self._absent
        if kind == "extra_forbidden":
            return f"there is no such column. {nearest(str(column), self._known)}"
        if kind == "literal_error" and isinstance(given, str):
            return f"unknown value {_short(given)}. {nearest(given, self._choices[str(column)][:MOST_NAMES])}"
        said = found["msg"]
        if said.startswith("Input should "):
            return said.replace("Input", _short(given), 1)
        return said[:1].lower() + said[1:]


def decision_rows(
    keys: Sequence[str], observation: Sequence[Feature], action: Action, *, most: int, whole: bool, looked_up: bool
) -> Rows[dict[str, Any]]:
    """A row to decide on: keys, features, and optionally the instant and a mask.

    Args:
        whole: every feature that is not optional must be there; else it may be looked up.
        looked_up: whether there is a table of features, for words.

    Raises:
        SpecError: a key or feature has the name of another column of requests.
    """
    columns: dict[str, Any] = dict.fromkeys(keys, _KEY)
    for feature in observation:
        columns[feature.name] = _feature(feature) if whole else NotRequired[_feature(feature)]
        if feature.optional:
            columns[feature.name] = NotRequired[_feature(feature) | None]
    columns |= {v.TIMESTAMP: NotRequired[_TIMESTAMP]}
    if isinstance(action, Discrete):
        columns |= {v.ACTION_MASK: NotRequired[_mask(len(action)) | None]}
    _refuse_reserved([*keys, *(feature.name for feature in observation)])
    choices = {feature.name: feature.values for feature in observation if isinstance(feature, Category)}
    absent = "missing: neither sent nor in the table of features" if looked_up else "missing"
    return Rows(_row("Decision" if whole else "DecisionByKey", columns), list(columns), most, choices, absent)


def outcome_rows(keys: Sequence[str], metrics: Sequence[str], *, most: int) -> Rows[dict[str, Any]]:
    """Something that followed a decision: the decision's id or the keys, and metrics or an end.

    Raises:
        SpecError: a key or metric has the name of another column of requests.
    """
    _refuse_reserved([*keys, *metrics])
    number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False)]
    common: dict[str, Any] = {
        v.TIMESTAMP: NotRequired[_TIMESTAMP],
        v.OUTCOME_ID: NotRequired[_NAME],
        **dict.fromkeys(metrics, NotRequired[number]),
        v.END: NotRequired[Literal[v.TERMINATED, v.TRUNCATED]],
    }
    says_something = AfterValidator(lambda row: _saying_something(row, metrics))
    told: dict[str, Any] = {"anyOf": [{"required": [column]} for column in (*metrics, v.END)]}
    by_decision: Any = Annotated[
        _row("OutcomeOfDecision", {v.DECISION_ID: _NAME, **common}, told), says_something, Tag(_BY_DECISION)
    ]
    by_key: Any = Annotated[
        _row("OutcomeOfKey", {**dict.fromkeys(keys, _KEY), **common}, told), says_something, Tag(_BY_KEY)
    ]
    which = Discriminator(lambda row: _BY_DECISION if isinstance(row, dict) and v.DECISION_ID in row else _BY_KEY)
    row: Any = Annotated[by_decision | by_key, which]
    return Rows(row, [v.DECISION_ID, *keys, *common], most, {v.END: (v.TERMINATED, v.TRUNCATED)})


def _row(name: str, columns: dict[str, Any], described: dict[str, Any] | None = None) -> Any:
    return with_config(ConfigDict(extra="forbid", strict=True, json_schema_extra=described))(TypedDict(name, columns))  # type: ignore[operator] # names that are known only now


def _refuse_reserved(names: Sequence[str]) -> None:
    taken = [name for name in names if name in RESERVED]
    if taken:
        raise SpecError(f"column {taken[0]!r}: requests have a column of this name. Rename the key, feature or metric.")


def _feature(feature: Feature) -> Any:
    if isinstance(feature, Number):
        low, high = max(feature.low, -_LARGEST), min(feature.high, _LARGEST)
        return Annotated[float, Field(ge=low, le=high, allow_inf_nan=False)]
    if isinstance(feature, Binary):
        return bool
    return _open(feature) if feature.unknown == OTHER else Literal[feature.values]


def _open(feature: Category) -> Any:
    known = frozenset(feature.values)
    return Annotated[
        str,
        Field(min_length=1, max_length=256, examples=list(feature.values)),
        AfterValidator(lambda text: text if text in known else OTHER),
    ]


def _mask(actions: int) -> Any:
    return Annotated[
        list[bool],
        Field(min_length=actions, max_length=actions, json_schema_extra={"contains": {"const": True}}),
        AfterValidator(_allowing_something),
    ]


def _allowing_something(mask: list[bool]) -> list[bool]:
    if not any(mask):
        raise PydanticCustomError("mask_empty", "it allows no action")
    return mask


def _saying_something(row: dict[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    if v.END not in row and not any(metric in row for metric in metrics):
        raise PydanticCustomError("nothing_said", "it says nothing: give a metric or an end")
    return row


def _utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise PydanticCustomError("timezone", "it has no time zone: write it as 2026-01-31T06:00:00Z")
    if not _FIRST <= time < _LAST:
        raise PydanticCustomError("instant", "it should be between 1970 and 2262")
    return time.astimezone(UTC)


def _text(key: Any) -> Any:
    return str(key) if isinstance(key, int) and not isinstance(key, bool) else key


_NAME = Annotated[str, Field(pattern=r"^[0-9A-Za-z_.:-]{1,64}$")]
_INSTANT = {"type": "string", "format": "date-time", "pattern": r"^(19[7-9]\d|2[01]\d\d|22[0-5]\d)-"}
_TIMESTAMP = Annotated[datetime, AfterValidator(_utc), WithJsonSchema(_INSTANT, mode="validation")]
_KEY = Annotated[
    str,
    Field(min_length=1, max_length=256),
    BeforeValidator(_text),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 256}, {"type": "integer"}]}, mode="validation"
    ),
]


def _short(given: Any) -> str:
    shown = repr(given)
    return shown if len(shown) <= 60 else shown[:60] + "…"
