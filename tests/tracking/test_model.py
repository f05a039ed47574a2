"""The logged agent: what it decides, how it is described, and where it can be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from mlflow.exceptions import MlflowException
from mlflow.models.model import ModelInfo

from rlbake.tracking.model import log_agent
from rlbake.tracking.references import policy_dir as policy_dir_of
from rlbake.tracking.references import resolve
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect

# By hand, from the values in conftest: left = speed, right = (load - 5) / 2, up = 1.5 in the US.
ROWS = pd.DataFrame(
    {
        "speed": [2.0, 0.0, 0.0, 2.0],
        "load": [5.0, 9.0, 5.0, 5.0],
        "member": [True, False, True, False],
        "country": ["DE", "DE", "US", "never seen"],
    }
)
CHOSEN = ["left", "right", "up", "left"]


@pytest.fixture
def info(tracking_uri: str, policy_dir: Path) -> ModelInfo:
    connect()
    with stage_run("train", application="demo"):
        return log_agent(policy_dir, application="demo")


def test_decisions_are_those_worked_out_by_hand(info: ModelInfo) -> None:
    decided = mlflow.pyfunc.load_model(info.model_uri).predict(ROWS)
    assert decided["action"].tolist() == CHOSEN
    assert decided["action_index"].tolist() == [0, 1, 2, 0]
    assert decided["log_probability"].tolist() == [0.0] * 4
    assert decided["policy_version"].tolist() == [info.model_id] * 4


def test_exploring_draws_each_action_with_the_probability_it_reports(info: ModelInfo) -> None:
    model = mlflow.pyfunc.load_model(info.model_uri)
    many = pd.concat([ROWS.iloc[[0]]] * 20_000, ignore_index=True)
    values = np.array([2.0, 0.0, 0.0])
    soft = np.exp(values) / np.exp(values).sum()
    for temperature, greedy_part in ((0.0, np.array([1.0, 0.0, 0.0])), (1.0, soft)):
        expected = 0.7 * greedy_part + 0.3 / 3
        decided = model.predict(many, params={"explore": True, "temperature": temperature})
        seen = np.bincount(decided["action_index"], minlength=3) / len(many)
        np.testing.assert_allclose(seen, expected, atol=4 * np.sqrt(0.25 / len(many)))
        np.testing.assert_allclose(
            decided["log_probability"], np.log(expected)[decided["action_index"]], rtol=1e-4, atol=1e-5
        )


def test_epsilon_and_the_floor_are_exact_with_or_without_explore(info: ModelInfo) -> None:
    model = mlflow.pyfunc.load_model(info.model_uri)
    many = pd.concat([ROWS.iloc[[0]]] * 20_000, ignore_index=True)
    expected = np.array([1 - 0.3, 0.0, 0.0]) * 0.8 + np.full(3, 0.1) * 0.8 + 0.2 / 3
    for explore in (True, False):
        decided = model.predict(many, params={"explore": explore, "epsilon": 0.3, "floor": 0.2 / 3})
        seen = np.bincount(decided["action_index"], minlength=3) / len(many)
        np.testing.assert_allclose(seen, expected, atol=4 * np.sqrt(0.25 / len(many)))
        np.testing.assert_allclose(decided["log_probability"], np.log(expected)[decided["action_index"]], rtol=1e-5)
    for params, says in (({"epsilon": 1.1}, "epsilon: neither in"), ({"floor": 0.34}, "floor: negative, or more")):
        with pytest.raises(MlflowException, match=says):
            model.predict(ROWS, params=params)


def test_an_action_mask_is_obeyed_and_optional_per_row(info: ModelInfo) -> None:
    model = mlflow.pyfunc.load_model(info.model_uri)
    masked = ROWS.assign(action_mask=[[False, True, True], None, [True, True, False], [True, True, True]])
    assert model.predict(masked)["action"].tolist() == ["right", "right", "left", "left"]


def test_one_dict_is_one_row_and_a_list_of_dicts_is_many(info: ModelInfo) -> None:
    model = mlflow.pyfunc.load_model(info.model_uri)
    records = ROWS.to_dict("records")
    assert model.predict(records[1])["action"].tolist() == ["right"]
    assert model.predict(records)["action"].tolist() == CHOSEN
    assert model.predict({**records[1], "action_mask": [True, False, False]})["action"].tolist() == ["left"]


def test_the_fast_path_takes_columns_and_agrees(info: ModelInfo) -> None:
    agent = mlflow.pyfunc.load_model(info.model_uri).unwrap_python_model()
    decided = agent.decide({name: ROWS[name].to_numpy() for name in ROWS})
    assert decided["action"].tolist() == CHOSEN


def test_the_version_is_the_registered_one_when_loaded_through_the_registry(info: ModelInfo) -> None:
    for expected in ("main.rl.demo/1", "main.rl.demo/2"):
        registered = mlflow.register_model(info.model_uri, "main.rl.demo")
        model = mlflow.pyfunc.load_model(f"models:/main.rl.demo/{registered.version}")
        assert model.predict(ROWS)["policy_version"].tolist() == [expected] * 4
    mlflow.MlflowClient().set_registered_model_alias("main.rl.demo", "champion", "1")
    by_alias = mlflow.pyfunc.load_model("models:/main.rl.demo@champion")
    assert by_alias.predict(ROWS)["policy_version"].tolist() == ["main.rl.demo/1"] * 4
    by_id = mlflow.pyfunc.load_model(info.model_uri)
    assert by_id.predict(ROWS)["policy_version"].tolist() == [info.model_id] * 4


def test_the_signature_names_raw_features_and_the_example_fits_it(info: ModelInfo) -> None:
    assert info.signature is not None
    inputs = {column.name: (str(column.type), column.required) for column in info.signature.inputs}
    assert inputs == {
        "speed": ("DataType.double", True),
        "load": ("DataType.double", True),
        "member": ("DataType.boolean", True),
        "country": ("DataType.string", True),
        "action_mask": ("Array(boolean)", False),
    }
    outputs = [column.name for column in info.signature.outputs]
    assert outputs == ["action", "action_index", "log_probability", "policy_version"]
    assert {p.name: p.default for p in info.signature.params} == {
        "explore": False, "temperature": 0.0, "epsilon": -1.0, "floor": 0.0,
    }  # fmt: skip
    model = mlflow.pyfunc.load_model(info.model_uri)
    assert len(model.predict(model.input_example)) == 1


def test_the_policy_with_its_checkpoint_is_found_again(info: ModelInfo) -> None:
    registered = mlflow.register_model(info.model_uri, "main.rl.demo")
    for reference in (info.model_uri, f"models:/main.rl.demo/{registered.version}"):
        folder = policy_dir_of(resolve(reference))
        assert {path.name for path in folder.iterdir()} == {"saved_model", "policy.json", "checkpoint"}
        assert folder.name == "policy"


def test_requirements_are_pinned_and_few(info: ModelInfo) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(info.model_uri))
    needed = (folder / "requirements.txt").read_text().split()
    assert needed == [f"{name}=={version(name)}" for name in ("mlflow", "tensorflow", "numpy", "pandas")]


def test_nothing_warns(tracking_uri: str, policy_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    connect()
    with warnings.catch_warnings(), caplog.at_level("WARNING"):
        warnings.simplefilter("error")
        with stage_run("train", application="demo"):
            logged = log_agent(policy_dir, application="demo")
        mlflow.pyfunc.load_model(logged.model_uri).predict(ROWS, params={"explore": True, "temperature": 0.5})
    assert caplog.records == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"speed": float("nan")}, "not finite"),
        ({"action_mask": [False, False, False]}, "allows no action"),
        ({"action_mask": [True]}, "1 entries; there are 3 actions"),
        ({"speed": "fast"}, "column speed"),
        ({"member": None}, "feature 'member' of row 0 is missing"),
        ({"country": None}, "feature 'country' of row 0 is missing"),
    ],
)
def test_a_row_that_cannot_be_decided_is_one_clear_error(info: ModelInfo, change: dict, said: str) -> None:
    model = mlflow.pyfunc.load_model(info.model_uri)
    with pytest.raises(MlflowException, match=said) as caught:
        model.predict({**ROWS.iloc[0].to_dict(), **change})
    assert caught.value.get_http_status_code() == 400


def test_an_unknown_category_is_none_of_the_known(info: ModelInfo) -> None:
    rows = ROWS.assign(country=["US", "FR", "US", "FR"])
    assert mlflow.pyfunc.load_model(info.model_uri).predict(rows)["action"].tolist() == ["left", "right", "up", "left"]


PREDICT = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import mlflow, pandas
rows = pandas.DataFrame({rows!r})
decided = mlflow.pyfunc.load_model({uri!r}).predict(rows)
sys.stdout.write(",".join(decided["action"]))
"""


def test_it_predicts_where_rlbake_spark_and_tf_agents_cannot_be_imported(info: ModelInfo, tmp_path: Path) -> None:
    blocked = ["rlbake", "pyspark", "tf_agents", "tensorflow_probability", "hyperopt", "tf_keras", "deltalake"]
    folder = mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path / "elsewhere"))
    code = PREDICT.format(blocked=blocked, rows=ROWS.to_dict("list"), uri=folder)
    environment = {k: x for k, x in os.environ.items() if k not in ("TF_USE_LEGACY_KERAS", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(",") == CHOSEN


def test_one_decision_costs_at_most_twice_the_raw_call(info: ModelInfo, policy_dir: Path) -> None:
    graph = tf.saved_model.load(str(policy_dir / "saved_model")).signatures["serving_default"]
    agent = mlflow.pyfunc.load_model(info.model_uri).unwrap_python_model()
    row = {"speed": np.array([2.0]), "load": np.array([5.0]), "member": np.array([True])}
    row["country"] = np.array(["DE"], object)
    control = {
        "action_mask": np.ones((1, 3), bool),
        "noise": np.zeros(1),
        "explore": np.array(False),
        "temperature": np.array(0.0, np.float32),
        "epsilon": np.array(-1.0),
        "floor": np.array(0.0),
    }

    def raw() -> int:
        out = graph(**{name: tf.constant(value) for name, value in {**row, **control}.items()})
        return int(out["action_index"].numpy()[0])

    def served() -> int:
        return int(agent.decide(row)["action_index"][0])

    assert raw() == served() == 0
    assert _fastest(served) <= 2 * _fastest(raw)


def _fastest(call: Callable[[], int]) -> float:
    """Seconds per call, the best of ten rounds of fifty."""
    rounds = []
    for _ in range(10):
        start = time.perf_counter()
        for _ in range(50):
            call()
        rounds.append((time.perf_counter() - start) / 50)
    return min(rounds)
