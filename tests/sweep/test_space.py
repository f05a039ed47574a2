"""Spaces: what may be said, and what is said where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlbake.agents import AGENTS
from rlbake.errors import ConfigError
from rlbake.sweep.space import CHOICE, Parameter, nested, read_space, shipped_space
from rlbake.training.config import merge, resolve


def written(folder: Path, text: str) -> Path:
    file = folder / "space.yaml"
    file.write_text(text)
    return file


def test_every_prior(tmp_path: Path):
    file = written(
        tmp_path,
        """
        agent.learning_rate: {prior: loguniform, low: 1.0e-4, high: 1.0e-2}
        gamma: {prior: uniform, low: 0, high: 1}
        n_step: {prior: integer, low: 1, high: 5}
        agent.target_update_period: {prior: log_integer, low: 10, high: 1000}
        agent.layers: {prior: choice, values: [[64], [128, 64]]}
        """,
    )
    assert read_space(file) == (
        Parameter("agent.learning_rate", "loguniform", 1e-4, 1e-2),
        Parameter("gamma", "uniform", 0.0, 1.0),
        Parameter("n_step", "integer", 1.0, 5.0),
        Parameter("agent.target_update_period", "log_integer", 10.0, 1000.0),
        Parameter("agent.layers", CHOICE, values=([64], [128, 64])),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected hyperparameters"),
        ("gamma: 0.9", "expected {prior"),
        ("gamma: {prior: unifrom, low: 0, high: 1}", "Did you mean 'uniform'"),
        ("gamma: {prior: uniform, low: 0}", "a uniform has high, low, prior; got low, prior"),
        ("gamma: {prior: uniform, low: 1, high: 0}", "low 1 is not below high 0"),
        ("gamma: {prior: uniform, low: 0, high: .inf}", "expected a number"),
        ("agent.learning_rate: {prior: loguniform, low: 1e-4, high: 1.0e-2}", "YAML reads 1.0e-3 as one"),
        ("agent.learning_rate: {prior: loguniform, low: 0, high: 1}", "must lie above 0"),
        ("n_step: {prior: integer, low: 1.5, high: 3}", "expected a whole number"),
        ("n_step: {prior: integer, low: true, high: 3}", "expected a whole number"),
        ("n_step: {prior: choice, values: [1]}", "two or more"),
        ("n_step: {prior: choice, values: [1, 2, 1]}", "there twice"),
        ("agent..x: {prior: choice, values: [1, 2]}", "a name is a path"),
        ("n_step: {prior: choice", "is not YAML"),
    ],
)
def test_refused(tmp_path: Path, text: str, said: str):
    with pytest.raises(ConfigError, match=said):
        read_space(written(tmp_path, text))


def test_no_such_file():
    with pytest.raises(ConfigError, match=r"no file nowhere\.yaml"):
        read_space("nowhere.yaml")


@pytest.mark.parametrize("agent", AGENTS)
def test_the_shipped_space_of_every_agent_is_one_that_it_can_be_trained_with(agent: str):
    facts = AGENTS[agent].FACTS
    gamma = 0.9 if facts.foresight or "gamma" in facts.unread else 0.0
    space = shipped_space(agent)
    assert len(space) >= 2
    for parameter in space:
        for value in parameter.extremes():
            set_ = merge({"agent": {"name": agent}}, nested({parameter.path: value}))
            assert resolve(set_, gamma=gamma).agent.name == agent


def test_nested():
    assert nested({"agent.a": 1, "b": 2, "agent.c": [3]}) == {"agent": {"a": 1, "c": [3]}, "b": 2}
