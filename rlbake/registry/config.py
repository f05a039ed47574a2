"""What the gate demands: shipped rules < the application's < a YAML file < the margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from rlbake.errors import ConfigError, nearest
from rlbake.yaml_files import read_mapping

SIMULATED = "simulated"
"""As `primary`: the return in the simulated world decides."""

FRESH, PROCESS = "fresh", "process"

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Guardrail:
    """An outcome metric that must not suffer.

    Attributes:
        limit: that the whole interval must keep to, in the metric's unit.
        of: "difference" to the champion (to the logs where there is no champion), or "value" of the challenger.
        better: "higher": the interval's lower end is at least the limit; "lower": its upper end at most.
    """

    limit: _Finite
    of: Literal["difference", "value"] = "difference"
    better: Literal["higher", "lower"] = "higher"


@dataclass(frozen=True, config=_STRICT)
class GateConfig:
    """What every rule demands. `gate.yaml` beside this file holds the defaults and says what each means.

    Attributes:
        primary: estimator that decides; None: the evaluation's; "simulated": the simulated world.
        margin: what the challenger must be better by, in the unit of the estimate.
        baseline: candidate that a first champion must beat.
        guardrails: by outcome metric.
        allow_doubts: whether warnings about the challenger's or the champion's weights may be passed over.
        max_tail: largest shape of the weights' tail.
        min_environments: fewest held-out environments.
        min_ess: smallest effective sample size, in decisions or episodes.
        min_overlap: smallest mean weight.
        allow_estimated: whether estimated propensities will do.
        max_deterministic: largest share of rows with logging probability 1.
        max_drift: largest population stability index of a feature.
        ignored_drift: features that may drift as they like.
        loads_in: where the model must have been seen to load.
        max_flips: largest share of changed greedy decisions; None: any.
        max_kl: largest mean KL divergence from the champion, in nats; None: any.
        max_age: periods from the last evaluated window to the newest.
    """

    primary: str | None
    margin: _Finite
    baseline: Literal["logged", "rules", "best_fixed_action", "behavior_clone", "bandit"]
    guardrails: dict[str, Guardrail]
    allow_doubts: bool
    max_tail: _Finite
    min_environments: Annotated[int, Field(ge=0)]
    min_ess: _Positive
    min_overlap: _Positive
    allow_estimated: bool
    max_deterministic: _Share
    max_drift: _Positive
    ignored_drift: tuple[str, ...]
    loads_in: Literal["fresh", "process"]
    max_flips: _Share | None
    max_kl: _Positive | None
    max_age: Annotated[int, Field(ge=0)]


def read_gate(
    overrides: Mapping[str, Any] | None = None, file: str | Path | None = None, margin: float | None = None
) -> GateConfig:
    """The shipped rules with what the application, a file and a parameter set otherwise, the later over the earlier.

    Args:
        overrides: the application's `gate`.
        file: YAML, as `gate.yaml`; a guardrail set to null there is dropped.
        margin: None: what the others say.

    Raises:
        ConfigError: the file does not exist or is not YAML, or a field is unknown, of the wrong type or
            out of range; the message names where it is set, the field, the value and what is expected.
    """
    shipped = yaml.safe_load(files(__package__).joinpath("gate.yaml").read_text(encoding="utf-8"))
    layers = [("the application's gate", dict(overrides or {}))]
    if file:
        layers.append((f"gate {file}", read_mapping(file, "gate")))
    if margin is not None:
        layers.append(("parameter", {"margin": margin}))
    merged = dict(shipped)
    for where, layer in layers:
        _refuse_unknown(where, layer)
        merged = _merge(merged, layer)
        config = _typed(where, merged)
    return config


def _refuse_unknown(where: str, layer: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(GateConfig)]
    for name, value in layer.items():
        if name not in known:
            raise ConfigError(f"{where}: {name} = {value!r}: there is no such rule. {nearest(str(name), known)}")
    guardrails = layer.get("guardrails")
    if not isinstance(guardrails, Mapping):
        return
    known = [field.name for field in fields(Guardrail)]
    for metric, rail in guardrails.items():
        for name in rail if isinstance(rail, Mapping) else ():
            if name not in known:
                hint = nearest(str(name), known)
                raise ConfigError(f"{where}: guardrails.{metric}.{name} = {rail[name]!r}: no such field. {hint}")


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`; guardrails metric by metric."""
    merged = {**base, **over}
    if isinstance(over.get("guardrails"), Mapping):
        rails = {**base["guardrails"], **over["guardrails"]}
        merged["guardrails"] = {metric: rail for metric, rail in rails.items() if rail is not None}
    return merged


def _typed(where: str, merged: Mapping[str, Any]) -> GateConfig:
    try:
        return TypeAdapter(GateConfig).validate_python(dict(merged))
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(step) for step in first["loc"])
        said = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        raise ConfigError(f"{where}: {path} = {first['input']!r}: {said}.") from error
