"""How an agent is trained: defaults < YAML file < `set`, typed and checked.

agent: {name: double_dqn, learning_rate: 1.0e-3}
n_step: 3
steps: 20000
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ByteSize, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from rlbake.agents import AGENTS, double_dqn
from rlbake.application import Application
from rlbake.cadence import duration
from rlbake.errors import ConfigError, SpecError, nearest
from rlbake.learners.learner import AgentConfig
from rlbake.learners.q_learning import QLearningConfig, ValueConfig
from rlbake.yaml_files import read_mapping

_DEFAULT_AGENT = double_dqn.Config.name


def _duration(text: str) -> str:
    try:
        duration(text)
    except SpecError as error:
        raise PydanticCustomError("duration", "{said}", {"said": str(error).rstrip(".")}) from error
    return text


Duration = Annotated[str, AfterValidator(_duration)]
"""Such as "7d", "24h" or "90min"."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TrainConfig:
    """One training, whole. What an agent does not read is not to be set for it: see `facts.Facts.unread`.

    Attributes:
        agent: which agent, and its hyperparameters.
        gamma: discount per step, in [0, 1]; the application's unless set.
        gamma_period: gamma is the discount of a step of so long, and that of any other is
            gamma^(time_gap / gamma_period); null: every step counts the same, however long.
        reward: weight by metric; the application's where not set, so that `reward.click=2` leaves the
            weights of the other metrics alone and 0 drops a metric.
        n_step: steps of reward before bootstrapping, ≥ 1. More reach late rewards sooner and keep values
            from running away, but credit an action with what the logging policy did next.
        steps: gradient steps, ≥ 1; fewer if `overfit` ends the training.
        batch_size: transitions per gradient step, ≥ 1.
        holdout: share of environments kept out of training, in [0, 1).
        overfit: training ends when the held-out loss no longer falls and exceeds that of the training rows by this
            factor, > 1; null: never. TD losses are both taken against the same targets, so that values
            which grow as they are learned don't count; of a log-likelihood, likelihoods are compared.
        compression: numbers that an autoencoder, trained first, makes of an observation for the agent to read,
            ≥ 1; null: the agent reads the features themselves.
        recency_half_life: a transition is drawn half as often as one made so much later, or weighs half as much
            where all are summed up; null: all alike.
        memory: bytes, such as "2GB", that rows may take; where they would take more they are streamed from
            disk. null: a third of what the process may use.
    """

    agent: AgentConfig
    gamma: Annotated[float, Field(ge=0, le=1)]
    gamma_period: Duration | None = None
    reward: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = field(default_factory=dict)
    n_step: Annotated[int, Field(ge=1)] = 3
    steps: Annotated[int, Field(ge=1)] = 10_000
    batch_size: Annotated[int, Field(ge=1)] = 256
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    overfit: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None = 1.3
    compression: Annotated[int, Field(ge=1)] | None = None
    recency_half_life: Duration | None = None
    memory: Annotated[ByteSize, Field(gt=0)] | None = None


def nested_config(
    *, agent: str | None = None, file: str | Path | None = None, set_: str | None = None
) -> dict[str, Any]:
    """What is set of a configuration, as nested plain data.

    Args:
        agent: name of an agent; overrides the file.
        file: YAML, nested as in the module's docstring.
        set_: "agent.learning_rate=1e-3,n_step=3"; overrides both.

    Raises:
        ConfigError: the file does not exist or is not YAML, or an item is not `name=value`.
    """
    nested = read_mapping(file, "config") if file else {}
    if agent:
        nested = merge(nested, {"agent": {"name": agent}})
    return merge(nested, parse_set(set_ or ""))


def resolve(nested: Mapping[str, Any], *, gamma: float, reward: Mapping[str, float] | None = None) -> TrainConfig:
    """Nested plain data → typed configuration; what is not set has its default, `gamma` and `reward` those given.

    Raises:
        ConfigError: a field is unknown, of the wrong type or out of range; the message names it, its value and what is
            expected. Or one is set that the agent does not read, or a gamma other than 0 to an agent that looks no
            step ahead.
    """
    given = dict(nested)
    agent = given.pop("agent", {})
    agent = {"name": agent} if isinstance(agent, str) else agent
    if not isinstance(agent, Mapping):
        raise ConfigError(f"agent = {agent!r}: expected a mapping such as {{name: {_DEFAULT_AGENT}}}.")
    name = agent.get("name", _DEFAULT_AGENT)
    if not isinstance(name, str) or name not in AGENTS:
        raise ConfigError(f"agent.name = {name!r}: there is no such agent. {nearest(str(name), AGENTS)}")
    if given.get("gamma") is None:
        given["gamma"] = gamma
    given["reward"] = _weights(given.get("reward"), reward or {})
    if issubclass(AGENTS[name].Config, QLearningConfig) and given["gamma"] == 0:
        agent = {"weight_decay": ValueConfig.weight_decay, **agent}
    typed_agent = _typed(AGENTS[name].Config, agent, "agent.")
    if AGENTS[name].FACTS.on_policy:
        given.setdefault("n_step", 1)
    _refuse_unknown(TrainConfig, given, "")
    config = _typed(TrainConfig, {**given, "agent": typed_agent}, "")
    _refuse_unread(config, TrainConfig(typed_agent, gamma, reward=dict(reward or {})))
    return config


def resolve_for(application: Application, nested: Mapping[str, Any]) -> TrainConfig:
    """`resolve`, with what an application says of gamma and reward where nothing else does."""
    weights = {metric: application.reward.get(metric, 0.0) for metric in application.metrics}
    return resolve(nested, gamma=application.gamma, reward=weights)


def parse_set(text: str) -> dict[str, Any]:
    """ "agent.learning_rate=1e-3,agent.layers=[128,64]" → nested plain data.

    Values are JSON, or text where they are not.

    Raises:
        ConfigError: an item is not `name=value`.
    """
    nested: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in re.split(r",(?![^\[]*\])", text))):
        path, separator, value = item.partition("=")
        if not separator or not all(re.fullmatch(r"\w+", step) for step in path.strip().split(".")):
            raise ConfigError(f"set: {item!r} is not name=value, such as agent.learning_rate=1e-3.")
        branch: Any = _plain(value.strip())
        for step in reversed(path.strip().split(".")):
            branch = {step: branch}
        nested = merge(nested, branch)
    return nested


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if key == "agent" and isinstance(below, str):
            below = {"name": below}
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _weights(given: Any, known: Mapping[str, float]) -> dict[str, Any]:
    """The weights that are set over the application's."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise ConfigError(f"reward = {given!r}: expected weights by metric, such as reward.click=2.")
    for metric, weight in given.items():
        if metric not in known:
            raise ConfigError(f"reward.{metric} = {weight!r}: there is no such metric. {nearest(str(metric), known)}")
    return {**known, **{metric: weight for metric, weight in given.items() if weight is not None}}


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _refuse_unknown(kind: type, given: Mapping[str, Any], prefix: str) -> None:
    known = [field.name for field in fields(kind)]
    for name, value in given.items():
        if name not in known:
            raise ConfigError(f"{prefix}{name} = {value!r}: there is no such field. {nearest(str(name), known)}")


def _refuse_unread(config: TrainConfig, unset: TrainConfig) -> None:
    """What is said in `config` and not in `unset` must change something."""
    name = config.agent.name
    facts = AGENTS[name].FACTS
    for unread in facts.unread:
        if (value := getattr(config, unread)) != getattr(unset, unread):
            raise ConfigError(
                f"{unread} = {value!r}: agent {name!r} does not read {unread}: it would change nothing. Leave it out."
            )
    if facts.on_policy and config.n_step != 1:
        raise ConfigError(
            f"n_step = {config.n_step}: agent {name!r} follows episodes step by step, so n_step must be 1. "
            "How far a return counts what happened is agent.trace."
        )
    if config.gamma and not facts.foresight and "gamma" not in facts.unread:
        others = {other: module.FACTS for other, module in AGENTS.items() if module.FACTS.foresight}
        ahead = ", ".join(other for other, known in others.items() if set(known.actions) & set(facts.actions))
        raise ConfigError(
            f"gamma = {config.gamma:g}: agent {name!r} looks no step ahead; it learns what a decision earns at once. "
            "If that is all that counts, set=gamma=0 says so; if what follows counts too, choose an agent that "
            f"looks ahead: {ahead}."
        )


def _typed(kind: type, given: Mapping[str, Any], prefix: str) -> Any:
    _refuse_unknown(kind, given, prefix)
    try:
        return TypeAdapter(kind).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        path = prefix + ".".join(str(step) for step in first["loc"])
        more = "" if error.error_count() == 1 else f" And {error.error_count() - 1} more."
        raise ConfigError(f"{path} = {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.{more}") from error
