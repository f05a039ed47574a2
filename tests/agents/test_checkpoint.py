"""A training that is cut short and continued ends with the weights of an undisturbed one, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest

from rlbake.agents import AGENTS
from rlbake.dataset.reading import read
from rlbake.dataset.streamed import Streamed
from rlbake.specs import Continuous, Discrete
from rlbake.training.checkpoint import Checkpoint, read_checkpoint
from rlbake.training.config import resolve
from rlbake.training.fit import STEPS, fit, gradient_steps
from tests.agents.conftest import ACTION, OBSERVATION
from tests.agents.test_cartpole import random_pushes
from tests.agents.test_streamed import SCARCE, SMALL, as_table, learned, reading

PRICE = Continuous([0.0], [1.0], ["price"])
ROWS = 4000


class CutShort(Exception):
    """In place of a SIGKILL; what the process leaves behind is the checkpoint that it wrote."""


def world_of(name, walk):
    """Rows and an action spec that the agent can do."""
    rows = walk(0.5, rows=ROWS)
    rows = replace(rows, episode=rows.timestamp)
    if issubclass(Discrete, AGENTS[name].FACTS.actions):
        return rows, ACTION
    return replace(rows, action=(rows.action[:, None] * 0.5).astype(np.float32)), PRICE


def config_of(name, **changed):
    """What the agent does not read is not set."""
    facts = AGENTS[name].FACTS
    set_ = {"agent": name, "steps": 900, "batch_size": 32, "overfit": None, **changed}
    return resolve({k: v for k, v in set_.items() if k not in facts.unread}, gamma=0.5 if facts.foresight else 0.0)


def cut_after(chunks, file):
    left = [chunks]

    def on_chunk(moment):
        left[0] -= 1
        if not left[0]:
            moment().write(file)
            raise CutShort

    return on_chunk


def assert_same(one, other):
    assert one.variables.keys() == other.variables.keys()
    for part, group in one.variables.items():
        for a, b in zip(group, other.variables[part], strict=True):
            np.testing.assert_array_equal(a, b)


def each_agent():
    """Those that take gradient steps. Compiling them all takes a minute."""
    for name in AGENTS:
        if gradient_steps(config_of(name), ROWS):
            yield pytest.param(name, marks=[] if name in ("behavioral_cloning", "double_dqn") else pytest.mark.slow)


@pytest.mark.parametrize("name", list(each_agent()))
def test_every_agent_continues_as_if_nothing_had_happened(walk, tmp_path, name):
    rows, action = world_of(name, walk)
    arguments = {"observation": OBSERVATION, "action": action, "config": config_of(name), "seed": 3}
    undisturbed = fit(rows, rows.take(np.arange(200)), **arguments)
    with pytest.raises(CutShort):
        fit(rows, rows.take(np.arange(200)), **arguments, on_chunk=cut_after(1, tmp_path / "cut.npz"))
    reported = []
    continued = fit(
        rows,
        rows.take(np.arange(200)),
        **arguments,
        checkpoint=read_checkpoint(tmp_path / "cut.npz"),
        on_metrics=lambda step, _: reported.append(step),
    )
    assert_same(undisturbed, continued)
    assert reported[0] > 375
    assert reported[-1] == continued.metrics[STEPS] == undisturbed.metrics[STEPS]


@pytest.mark.parametrize("name", ["double_dqn", pytest.param("rainbow", marks=pytest.mark.slow)])
def test_streamed_rows_are_drawn_on_as_if_nothing_had_happened(tmp_path, name):
    """And so are their priorities, where there are any."""
    table = as_table(random_pushes(300, 0), str(tmp_path / "trajectories"))
    config = resolve({**SMALL, "agent": {"name": name, "layers": [16]}, "steps": 1200, "overfit": None}, gamma=0.9)

    def trained(**kwargs):
        with read(table, reading(config), holdout=0.2, budget=SCARCE) as (training, holdout):
            assert isinstance(training, Streamed)
            return learned(training, holdout, config, **kwargs)

    with pytest.raises(CutShort):
        trained(on_chunk=cut_after(1, tmp_path / "cut.npz"))
    assert_same(trained(), trained(checkpoint=read_checkpoint(tmp_path / "cut.npz")))


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_training_that_ends_early_ends_at_the_same_step(walk, tmp_path, chunks):
    rows = walk(0.5, rows=4000)
    elsewhere = replace(rows, reward=rows.reward + 0.03)
    config = config_of("double_dqn", steps=5000, overfit=100)
    config = replace(config, agent=replace(config.agent, learning_rate=1e-4))
    arguments = {"observation": OBSERVATION, "action": ACTION, "config": config}
    undisturbed = fit(rows, elsewhere, **arguments, seed=0)
    assert 750 < undisturbed.steps < 5000
    with pytest.raises(CutShort):
        fit(rows, elsewhere, **arguments, seed=0, on_chunk=cut_after(chunks, tmp_path / "cut.npz"))
    continued = fit(rows, elsewhere, **arguments, seed=0, checkpoint=read_checkpoint(tmp_path / "cut.npz"))
    assert continued.steps == undisturbed.steps
    assert_same(undisturbed, continued)


def test_there_is_no_checkpoint_after_the_last_step(walk):
    taken = []
    fit(
        walk(0.5, rows=4000),
        walk(0.5, rows=0),
        observation=OBSERVATION,
        action=ACTION,
        config=config_of("double_dqn", steps=750),
        seed=0,
        on_chunk=lambda moment: taken.append(moment().steps),
    )
    assert taken == [375]


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    many = [np.full(index, index, np.float32) for index in range(12)]
    written = Checkpoint(7, {"a": many, "b": [np.array(2, np.int64)], "none": []}, {"error": np.array([0.5])}, 0.25)
    written.write(tmp_path / "c.npz")
    read = read_checkpoint(tmp_path / "c.npz")
    assert (read.steps, read.lowest) == (7, 0.25)
    assert [value.tolist() for value in read.variables["a"]] == [value.tolist() for value in many]
    assert read.variables["b"][0].dtype == np.int64
    assert read.replay["error"].tolist() == [0.5]
