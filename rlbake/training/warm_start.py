"""Going on from an earlier training: what must be the same, and what carries over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rlbake.errors import ConfigError
from rlbake.learners.learner import NETWORK, Learner
from rlbake.specs import Action, Category, Continuous, Discrete, Feature, Number
from rlbake.training.config import TrainConfig
from rlbake.training.fitted import ENCODER, WarmStart

_SHOWN = 5  # names of a list that an error shows

_logger = logging.getLogger(__name__)


def refuse_differences(start: WarmStart, observation: Sequence[Feature], action: Action, config: TrainConfig) -> None:
    """What the network's weights were learned for must be what they are used for.

    Names, kinds, values and order of the features, what is decided on, and the sizes of the layers. Bounds
    of features and action masks may differ: no weight depends on them.

    Args:
        start: the earlier training.
        observation: the features now.
        action: what is decided on now.
        config: of the training that is to go on.

    Raises:
        ConfigError: they differ; the message lists every difference, as theirs -> ours.
    """
    specs = [*_features(start, observation), *_action(start.action, action)]
    settings = _settings(start, config, lambda then, now: isinstance(then, list) and isinstance(now, list))
    if start.compression != config.compression:
        settings["compression"] = start.compression, config.compression
    _refuse(specs, settings)


def begin(learner: Learner, start: WarmStart, config: TrainConfig) -> int:
    """Has a learner, already started afresh, go on where an earlier training stopped.

    Training of the same agent continues whole, optimiser and all. Of another agent the network carries over.

    Returns:
        Gradient steps that are behind it.

    Raises:
        ConfigError: the networks differ in shape; the message says which hyperparameters differ.
    """
    variables = {part: values for part, values in start.variables.items() if part != ENCODER}
    if start.agent["name"] == config.agent.name:
        if not learner.fits(variables):
            _refuse([], _settings(start, config, lambda then, now: not isinstance(now, float)))
        learner.resume(config.agent, variables)
        return start.carried(config.agent.name)
    network = variables.get(NETWORK)
    if network is None or not learner.can_adopt(network):
        raise ConfigError(
            f"warm start: {config.agent.name} cannot start from the network of {start.agent['name']}, which is of "
            "another shape. Go on with the same agent, or train without warm_start."
        )
    learner.adopt(network)
    _logger.info(
        "Starting from the network of a %s agent: only its weights carry over, %s's optimiser starts afresh.",
        start.agent["name"], config.agent.name,
    )  # fmt: skip
    return start.carried(config.agent.name)


def _refuse(specs: Sequence[str], settings: Mapping[str, tuple[Any, Any]]) -> None:
    if not specs and not settings:
        return
    said = [*specs, *(f"{name} {then} -> {now}" for name, (then, now) in settings.items())]
    own = ", ".join(f"{name}={_written(then)}" for name, (then, _) in settings.items())
    advice = "Train without warm_start." if specs else f"Set {own}, or train without warm_start."
    raise ConfigError(f"warm start: the model was trained otherwise (its own -> this): {'; '.join(said)}. {advice}")


def _features(start: WarmStart, observation: Sequence[Feature]) -> Iterator[str]:
    then, now = {f.name: f for f in start.observation}, {f.name: f for f in observation}
    if set(then) != set(now):
        yield f"features {_lists(list(then), list(now))}"
    elif list(then) != list(now):
        yield f"order of features {_some(list(then))} -> {_some(list(now))}"
    for name in (name for name in then if name in now):
        yield from (f"feature {name!r}: {said}" for said in _feature(then[name], now[name]))
        feature, known = now[name], start.identified.get(name)
        if isinstance(feature, Number) and feature.transform and known and feature.transform != known.name:
            yield f"feature {name!r}: transform {known.name} -> {feature.transform}"


def _feature(then: Feature, now: Feature) -> Iterator[str]:
    if type(then) is not type(now):
        yield f"{type(then).__name__} -> {type(now).__name__}"
        return
    if isinstance(then, Category) and isinstance(now, Category) and then.values != now.values:
        yield f"values {_lists(then.values, now.values)}"
    if then.optional != now.optional:
        yield f"optional {then.optional} -> {now.optional}"


def _action(then: Action, now: Action) -> Iterator[str]:
    if type(then) is not type(now):
        yield f"action {type(then).__name__} -> {type(now).__name__}"
    elif isinstance(then, Discrete) and isinstance(now, Discrete):
        if then.names != now.names:
            yield f"actions {_lists(then.names, now.names)}"
    elif isinstance(then, Continuous) and isinstance(now, Continuous):
        before, after = (
            [f"{name} in [{low:g}, {high:g}]" for name, low, high in zip(a.names, a.low, a.high, strict=True)]
            for a in (then, now)
        )
        if before != after:
            yield f"actions {_lists(before, after)}"
    elif then != now:
        before, after = ([f"{name}: {', '.join(of)}" for name, of in a.sets] for a in (then, now))  # type: ignore[union-attr]
        yield f"action sets {_lists(before, after)}"


def _settings(start: WarmStart, config: TrainConfig, decides: Callable[[Any, Any], bool]) -> dict[str, tuple[Any, Any]]:
    """Hyperparameters that both agents have, with other values, of which `decides(then, now)` holds."""
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config.agent).items()}
    pairs = {name: (start.agent[name], value) for name, value in own.items() if name in start.agent and name != "name"}
    return {f"agent.{name}": (a, b) for name, (a, b) in pairs.items() if a != b and decides(a, b)}


def _lists(then: Sequence[str], now: Sequence[str]) -> str:
    """What is gone -> what is new; all of both if only the order differs."""
    gone, new = [x for x in then if x not in now], [x for x in now if x not in then]
    if not gone and not new:
        return f"{_some(then)} -> {_some(now)}, in another order"
    return f"{_some(gone)} -> {_some(new)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more


def _written(value: Any) -> str:
    return "null" if value is None else str(value).replace(" ", "")
