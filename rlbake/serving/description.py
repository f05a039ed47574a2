"""What the OpenAPI document says of requests whose columns the application decides."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field, create_model

from rlbake.serving.contract import Rows
from rlbake.specs import Action, Continuous, Discrete


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    row: int | None = Field(description="Its place in the request, counted from 0; null: the request as a whole.")
    column: str | None
    reason: str


class Faults(BaseModel):
    """Why a request was refused."""

    detail: list[Fault]
    more: int = Field(description="How many faults are left out.")


class Taken(BaseModel):
    """How many outcomes were taken."""

    outcomes: int


_REFUSALS = {
    401: "The token is missing or another one.",
    413: "The body is too long.",
    415: "The body is not declared to be JSON.",
    422: "Something is wrong with a row: which, where and why.",
    503: "The experience log cannot be written to.",
}


def described(rows: Rows[dict[str, Any]], action: Action | None = None) -> dict[str, Any]:
    """Arguments for FastAPI's decorators.

    Args:
        rows: what the body holds.
        action: what is answered for each row; None: how many rows were taken.
    """
    answer: Any = Taken
    if action is not None:
        one = _decided(action)
        answer = one | list[one]  # type: ignore[valid-type] # known only now
    schema = rows.schema()
    return {
        "response_model": answer,
        "responses": {status: {"model": Faults, "description": said} for status, said in _REFUSALS.items()},
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
    }


def document(app: FastAPI, *, token: bool) -> dict[str, Any]:
    """The OpenAPI document, with what the rows of requests are made of among its components.

    Args:
        app: whose paths are described.
        token: whether clients must bring one.
    """
    written = FastAPI.openapi(app)
    if token:
        written["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        written["security"] = [{"token": []}]
    for path in written["paths"].values():
        for operation in path.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                written["components"]["schemas"].update(content["schema"].pop("$defs", {}))
    return written


def _decided(action: Action) -> Any:
    number: Any = float | None if isinstance(action, Continuous) else float
    return create_model(
        "Decided",
        __doc__="A decision and how likely it was.",
        decision_id=(str, Field(description="Names the decision in outcomes.")),
        action=(_name_type(action), Field(description="What to do.")),
        action_index=(_index_type(action), Field(description="The same as index; null of numbers.")),
        log_probability=(number, Field(description="Natural logarithm of its probability, or density.")),
        policy_version=(str, Field(description="Who decided.")),
        fallback=(bool, Field(description="The model could not decide, and the fallback did.")),
    )


def _name_type(action: Action) -> Any:
    if isinstance(action, Discrete):
        return Literal[action.names]
    return list[float] if isinstance(action, Continuous) else list[str]


def _index_type(action: Action) -> Any:
    if isinstance(action, Continuous):
        return None
    return int if isinstance(action, Discrete) else list[int]
