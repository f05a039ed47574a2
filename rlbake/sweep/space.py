"""The hyperparameters that a sweep may choose, as YAML.

agent.learning_rate: {prior: loguniform, low: 1.0e-4, high: 1.0e-2}
gamma: {prior: uniform, low: 0.8, high: 1.0}
n_step: {prior: integer, low: 1, high: 5}
agent.layers: {prior: choice, values: [[64], [128, 64]]}

`uniform`, `loguniform`, `integer` and `log_integer` lie between `low` and `high`, both included; a `choice` is one of
its `values`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rlbake.errors import ConfigError, nearest
from rlbake.sweep.objective import Point
from rlbake.training.config import merge
from rlbake.yaml_files import read_mapping

UNIFORM, LOGUNIFORM, INTEGER, LOG_INTEGER, CHOICE = "uniform", "loguniform", "integer", "log_integer", "choice"
PRIORS = (UNIFORM, LOGUNIFORM, INTEGER, LOG_INTEGER, CHOICE)
LOGARITHMIC = (LOGUNIFORM, LOG_INTEGER)
WHOLE = (INTEGER, LOG_INTEGER)

_SHIPPED = Path(__file__).parent / "spaces.yaml"


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter.

    Attributes:
        path: in the configuration of a training.
        prior: one of `PRIORS`.
        low, high: both included; 0 for a choice.
        values: of a choice.
    """

    path: str
    prior: str
    low: float = 0.0
    high: float = 0.0
    values: tuple[Any, ...] = ()

    def extremes(self) -> tuple[Any, ...]:
        """Values from all over, the outermost ones among them."""
        if self.prior == CHOICE:
            return self.values
        return (int(self.low), int(self.high)) if self.prior in WHOLE else (self.low, self.high)


Space = tuple[Parameter, ...]


def nested(point: Point) -> dict[str, Any]:
    """{"agent.learning_rate": 1e-3} → {"agent": {"learning_rate": 1e-3}}"""
    known: dict[str, Any] = {}
    for path, value in point.items():
        branch: Any = value
        for step in reversed(path.split(".")):
            branch = {step: branch}
        known = merge(known, branch)
    return known


def shipped_space(agent: str) -> Space:
    """The space that rlbake brings for an agent."""
    return _space(yaml.safe_load(_SHIPPED.read_text(encoding="utf-8"))[agent])


def read_space(file: str | Path) -> Space:
    """The parameters of a YAML file, in its order.

    Raises:
        ConfigError: there is no such file, it is not YAML, or a parameter is not said as it should be.
    """
    known = read_mapping(file, "space")
    if not known:
        raise ConfigError(f"space {file}: expected hyperparameters and their priors.")
    return _space(known)


def _space(known: Mapping[str, Any]) -> Space:
    return tuple(_parameter(str(name), said) for name, said in known.items())


def _parameter(path: str, said: Any) -> Parameter:
    where = f"space: {path}"
    if not all(re.fullmatch(r"\w+", step) for step in path.split(".")):
        raise ConfigError(f"{where}: a name is a path such as agent.learning_rate.")
    if not isinstance(said, Mapping):
        raise ConfigError(
            f"{where} = {said!r}: expected {{prior: …, low: …, high: …}} or {{prior: choice, values: …}}."
        )
    prior = said.get("prior")
    if prior not in PRIORS:
        raise ConfigError(f"{where}: there is no prior {prior!r}. {nearest(str(prior), PRIORS)}")
    wanted = {"prior", "values"} if prior == CHOICE else {"prior", "low", "high"}
    if set(said) != wanted:
        raise ConfigError(
            f"{where}: a {prior} has {', '.join(sorted(wanted))}; got {', '.join(sorted(map(str, said)))}."
        )
    if prior == CHOICE:
        return _choice(where, path, said["values"])
    return _range(where, path, prior, said["low"], said["high"])


def _choice(where: str, path: str, values: Any) -> Parameter:
    if not isinstance(values, list) or len(values) < 2:
        raise ConfigError(f"{where}: values = {values!r}: expected a list of two or more.")
    if any(value in values[:i] for i, value in enumerate(values)):
        raise ConfigError(f"{where}: values = {values!r}: one of them is there twice.")
    return Parameter(path, CHOICE, values=tuple(values))


def _range(where: str, path: str, prior: str, low: Any, high: Any) -> Parameter:
    kinds = int if prior in WHOLE else (int, float)
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            what = "a whole number" if prior in WHOLE else "a number (YAML reads 1.0e-3 as one, but 1e-3 as text)"
            raise ConfigError(f"{where}: {name} = {value!r}: expected {what}.")
    if not low < high:
        raise ConfigError(f"{where}: low {low} is not below high {high}.")
    if prior in LOGARITHMIC and low <= 0:
        raise ConfigError(f"{where}: low = {low}: a {prior} must lie above 0.")
    return Parameter(path, prior, float(low), float(high))
