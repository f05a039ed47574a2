"""Defaults < file < set, typed; every mistake names its field."""

import json
from dataclasses import asdict, fields

import pytest

from rlbake.agents import AGENTS
from rlbake.errors import ConfigError
from rlbake.training.config import TrainConfig, merge, nested_config, parse_set, resolve


def test_defaults():
    config = resolve({}, gamma=0.97)
    assert isinstance(config, TrainConfig)
    assert config.agent.name == "double_dqn"
    assert config.gamma == 0.97
    assert resolve({"gamma": None}, gamma=0.97) == config
    assert resolve({"gamma": 0.5}, gamma=0.97).gamma == 0.5


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_is_configured_by_name(name):
    own, gamma = AGENTS[name].Config(), 0.5 if AGENTS[name].FACTS.foresight else 0.0
    assert resolve({"agent": name}, gamma=gamma).agent == own
    number = next(field for field, value in vars(own).items() if isinstance(value, float))
    assert getattr(resolve({"agent": {"name": name, number: 0.125}}, gamma=gamma).agent, number) == 0.125


@pytest.mark.parametrize("name", ["dqn", "double_dqn"])
def test_values_that_are_not_bootstrapped_from_each_other_are_held_back_less(name):
    looking, earning = (resolve({"agent": name}, gamma=gamma).agent.weight_decay for gamma in (0.9, 0.0))
    assert looking > earning > 0
    assert resolve({"agent": {"name": name, "weight_decay": 0.7}}, gamma=0.0).agent.weight_decay == 0.7


NAMES = [field.name for module in AGENTS.values() for field in fields(module.Config)]


@pytest.mark.parametrize("name", AGENTS)
def test_a_mistyped_hyperparameter_of_any_agent_is_refused_with_the_nearest(name):
    """One letter left out, one too many, two swapped; and what only other agents have is refused as well."""
    own = {field.name for field in fields(AGENTS[name].Config)}
    for right in own - {"name"}:
        middle = len(right) // 2
        swapped = right[: middle - 1] + right[middle] + right[middle - 1] + right[middle + 1 :]
        for wrong in {right[:middle] + right[middle + 1 :], f"{right}s", swapped} - own:
            with pytest.raises(ConfigError) as refused:
                resolve({"agent": {"name": name, wrong: 1}}, gamma=0.0)
            assert f"agent.{wrong} = 1: there is no such field. Did you mean {right!r}? Known: " in str(refused.value)
    for foreign in set(NAMES) - own:
        with pytest.raises(ConfigError, match=rf"agent\.{foreign} = 1: there is no such field\..*Known: .*name"):
            resolve({"agent": {"name": name, foreign: 1}}, gamma=0.0)


def test_set_over_file_over_defaults(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text("agent: {name: dqn, learning_rate: 1e-3, layers: [32]}\nsteps: 500\nn_step: 2\n")
    config = resolve(nested_config(file=file, set_="agent.layers=[128,64], n_step=3,gamma=null"), gamma=0.9)
    assert (config.agent.name, config.agent.learning_rate, config.agent.layers) == ("dqn", 1e-3, (128, 64))
    assert (config.steps, config.n_step, config.gamma) == (500, 3, 0.9)
    assert config.batch_size == resolve({}, gamma=0.9).batch_size
    assert resolve(nested_config(file=file, agent="double_dqn"), gamma=0.9).agent.name == "double_dqn"
    assert resolve(nested_config(file=file, agent="double_dqn", set_="agent.name=dqn"), gamma=0.9).agent.name == "dqn"


def test_parse_set():
    assert parse_set("") == {}
    assert parse_set("agent.learning_rate=1e-3,n_step=3,agent.layers=[128,64],agent.name=dqn") == {
        "agent": {"learning_rate": 1e-3, "layers": [128, 64], "name": "dqn"},
        "n_step": 3,
    }


def test_merge_leaves_its_arguments_alone():
    below = {"agent": {"name": "dqn"}}
    assert merge(below, {"agent": {"epsilon": 0.2}}) == {"agent": {"name": "dqn", "epsilon": 0.2}}
    assert below == {"agent": {"name": "dqn"}}
    assert merge({"agent": "dqn"}, {"agent": {"epsilon": 0.2}}) == {"agent": {"name": "dqn", "epsilon": 0.2}}


@pytest.mark.parametrize(
    ("nested", "said"),
    [
        ({"agent": {"learning_rat": 1}}, r"agent.learning_rat = 1: .*'learning_rate'"),
        ({"stepz": 1}, r"stepz = 1: .*'steps'"),
        ({"agent": {"name": "doubledqn"}}, "agent.name = 'doubledqn': .*'double_dqn'"),
        ({"agent": {"name": ["dqn"]}}, r"agent.name = \['dqn'\]"),
        ({"agent": 3}, "agent = 3: expected a mapping"),
        ({"agent": {"learning_rate": "fast"}}, "agent.learning_rate = 'fast': .*valid number"),
        ({"agent": {"learning_rate": -1}}, "agent.learning_rate = -1: .*greater than 0"),
        ({"agent": {"learning_rate": float("nan")}}, "agent.learning_rate = nan"),
        ({"agent": {"layers": [0]}}, "agent.layers.0 = 0: .*greater than or equal to 1"),
        ({"agent": {"layers": 64}}, "agent.layers = 64: .*tuple"),
        ({"agent": {"epsilon": 1.5}}, "agent.epsilon = 1.5"),
        ({"agent": {"target_update_period": 0}}, "agent.target_update_period = 0"),
        ({"n_step": 1.5}, "n_step = 1.5: .*integer"),
        ({"steps": 0}, "steps = 0"),
        ({"batch_size": "many"}, "batch_size = 'many': .*integer"),
        ({"gamma": 1.01}, "gamma = 1.01: .*less than or equal to 1"),
        ({"holdout": 1}, "holdout = 1: .*less than 1"),
    ],
)
def test_a_mistake_is_named(nested, said):
    with pytest.raises(ConfigError, match=said):
        resolve(nested, gamma=0.9)


WEIGHTS = {"click": 1.0, "unsubscribe": -20.0, "open": 0.0}


def test_weights_are_set_over_the_application_s_one_by_one(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text("reward: {click: 2, open: 0.5}\n")
    assert resolve({}, gamma=0.9, reward=WEIGHTS).reward == WEIGHTS
    assert resolve({"reward": None}, gamma=0.9, reward=WEIGHTS).reward == WEIGHTS
    assert resolve(nested_config(file=file), gamma=0.9, reward=WEIGHTS).reward == WEIGHTS | {"click": 2, "open": 0.5}
    set_ = "reward.click=3,reward.unsubscribe=0,reward.open=null"
    both = resolve(nested_config(file=file, set_=set_), gamma=0.9, reward=WEIGHTS)
    assert both.reward == {"click": 3, "unsubscribe": 0, "open": 0}


def test_sizes_and_durations_as_users_write_them():
    config = resolve(nested_config(set_="memory=1.5GB,gamma_period=1d,recency_half_life=36h"), gamma=0.9)
    assert (config.memory, config.gamma_period, config.recency_half_life) == (1_500_000_000, "1d", "36h")
    assert resolve({"memory": "2MiB"}, gamma=0.9).memory == 2 * 2**20
    assert resolve(vars(config) | {"agent": {}}, gamma=0.9) == config
    json.dumps(asdict(config))


@pytest.mark.parametrize(
    ("nested", "said"),
    [
        ({"reward": {"clik": 2}}, r"reward.clik = 2: there is no such metric. Did you mean 'click'"),
        ({"reward": {"click": "high"}}, "reward.click = 'high': .*valid number"),
        ({"reward": {"click": float("nan")}}, "reward.click = nan: .*finite"),
        ({"reward": 3}, "reward = 3: expected weights by metric"),
        ({"gamma_period": "daily"}, "gamma_period = 'daily': 'daily' is not a duration: write it like '1d'"),
        ({"gamma_period": 3}, "gamma_period = 3: .*valid string"),
        ({"gama_period": "1d"}, "gama_period = '1d': .*'gamma_period'"),
        ({"recency_half_life": "-1d"}, "recency_half_life = '-1d': duration '-1d' is not positive"),
        ({"memory": "much"}, "memory = 'much': could not parse"),
        ({"memory": "2XB"}, "memory = '2XB': could not interpret byte unit"),
        ({"memory": 0}, "memory = 0: .*greater than 0"),
    ],
)
def test_a_mistake_in_how_rows_are_read_is_named(nested, said):
    with pytest.raises(ConfigError, match=said):
        resolve(nested, gamma=0.9, reward=WEIGHTS)


@pytest.mark.parametrize("text", ["steps", "=3", "agent..layers=[1]", "a b=1"])
def test_set_must_be_names_and_values(text):
    with pytest.raises(ConfigError, match="is not name=value"):
        parse_set(text)


def test_files_that_are_no_configuration(tmp_path):
    with pytest.raises(ConfigError, match="there is no file"):
        resolve(nested_config(file=tmp_path / "none.yaml"), gamma=0.9)
    wrong = tmp_path / "wrong.yaml"
    for content, said in (("a: [1", "is not YAML"), ("- 1", "expected names and values"), ("3: 4", "expected names")):
        wrong.write_text(content)
        with pytest.raises(ConfigError, match=said):
            resolve(nested_config(file=wrong), gamma=0.9)
    wrong.write_text("")
    assert resolve(nested_config(file=wrong), gamma=0.9) == resolve({}, gamma=0.9)
