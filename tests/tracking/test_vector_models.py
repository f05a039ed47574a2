"""Logged agents that choose several things at once, and numbers: what MLflow makes of them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models.model import ModelInfo
from mlflow.pyfunc.scoring_server import predictions_to_json

from rlbake.policies.export import export_policy
from rlbake.policies.saved import SavedPolicy
from rlbake.tracking.environment import loads
from rlbake.tracking.model import log_agent
from rlbake.tracking.references import resolve
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect
from rlbake.training.fitted import FittedAgent
from tests.vector_agents import BUNDLE, BUNDLES, EPSILON, MEANS, PRICES, ROWS, bundle_agent, price_agent

FRAME = pd.DataFrame(ROWS)
NAMES = [["sword", "none"], ["sword", "half"], ["shield", "half"], ["cape", "half"]]
BEST = np.clip(MEANS, PRICES.low, PRICES.high).tolist()


def logged(agent: FittedAgent, folder: Path) -> ModelInfo:
    connect()
    with stage_run("train", application="demo"):
        return log_agent(export_policy(agent, folder / type(agent.action).__name__), application="demo")


@pytest.fixture
def bundles(tracking_uri: str, tmp_path: Path) -> ModelInfo:
    return logged(bundle_agent(), tmp_path)


@pytest.fixture
def prices(tracking_uri: str, tmp_path: Path) -> ModelInfo:
    return logged(price_agent(), tmp_path)


def outputs(info: ModelInfo) -> dict[str, tuple[str, bool]]:
    assert info.signature is not None
    return {column.name: (str(column.type), column.required) for column in info.signature.outputs}


def test_several_choices_are_a_list_of_names_and_one_of_indices(bundles: ModelInfo) -> None:
    assert outputs(bundles) == {
        "action": ("Array(string)", True),
        "action_index": ("Array(integer)", True),
        "log_probability": ("DataType.float", True),
        "policy_version": ("DataType.string", True),
    }
    decided = mlflow.pyfunc.load_model(bundles.model_uri).predict(FRAME)
    assert list(decided) == list(outputs(bundles))
    assert decided["action"].tolist() == NAMES
    assert decided["action_index"].tolist() == BUNDLES
    assert decided["log_probability"].tolist() == [0] * 4


def test_several_choices_are_drawn_with_the_probability_that_they_report(bundles: ModelInfo) -> None:
    many = pd.concat([FRAME.iloc[[3]]] * 20_000, ignore_index=True)
    decided = mlflow.pyfunc.load_model(bundles.model_uri).predict(many, params={"explore": True})
    number = BUNDLE.flat(np.array(decided["action_index"].tolist()))
    expected = np.full(6, EPSILON / 6)
    expected[5] += 1 - EPSILON
    seen = np.bincount(number, minlength=6) / len(many)
    np.testing.assert_allclose(seen, expected, atol=4 * np.sqrt(0.25 / len(many)))
    np.testing.assert_allclose(decided["log_probability"], np.log(expected)[number], rtol=1e-4)


def test_numbers_have_no_index_and_greedy_ones_no_density(prices: ModelInfo) -> None:
    assert outputs(prices) == {
        "action": ("Array(float)", True),
        "log_probability": ("DataType.float", False),
        "policy_version": ("DataType.string", True),
    }
    decided = mlflow.pyfunc.load_model(prices.model_uri).predict(FRAME)
    assert list(decided) == list(outputs(prices))
    np.testing.assert_allclose(decided["action"].tolist(), BEST)
    assert decided["log_probability"].tolist() == [None] * 4


def test_numbers_that_were_drawn_have_their_density(prices: ModelInfo, tmp_path: Path) -> None:
    many = pd.concat([FRAME.iloc[[1]]] * 20_000, ignore_index=True)
    wide = {"explore": True, "temperature": 5.0}
    decided = mlflow.pyfunc.load_model(prices.model_uri).predict(many, params=wide)
    chosen, density = np.array(decided["action"].tolist()), np.exp(decided["log_probability"].to_numpy(np.float64))
    assert (chosen >= PRICES.low).all()
    assert (chosen <= PRICES.high).all()
    inverse = 1 / density  # on average the area that they are drawn from
    assert abs(inverse.mean() - 19.0) < 4 * inverse.std() / np.sqrt(len(many))
    in_process = SavedPolicy(tmp_path / "Continuous", "", explore=True, temperature=5.0).decide(
        {name: column.to_numpy() for name, column in many.items()}, np.random.default_rng(0).random(len(many))
    )
    np.testing.assert_allclose(chosen.mean(axis=0), in_process.action.mean(axis=0), rtol=0.05)


@pytest.mark.parametrize("params", [{"epsilon": 0.1}, {"floor": 0.1}])
def test_numbers_have_neither_epsilon_nor_floor(prices: ModelInfo, params: dict[str, float]) -> None:
    with pytest.raises(MlflowException, match="numbers are explored with the temperature"):
        mlflow.pyfunc.load_model(prices.model_uri).predict(FRAME, params=params)


@pytest.mark.parametrize("kind", ["bundles", "prices"])
def test_dicts_lists_and_the_registry_answer_alike(kind: str, request: pytest.FixtureRequest) -> None:
    info = request.getfixturevalue(kind)
    expected = mlflow.pyfunc.load_model(info.model_uri).predict(FRAME)
    registered = mlflow.register_model(info.model_uri, "main.rl.demo")
    model = mlflow.pyfunc.load_model(f"models:/main.rl.demo/{registered.version}")
    records = FRAME.to_dict("records")
    for given in (FRAME, records):
        decided = model.predict(given)
        assert decided["action"].tolist() == expected["action"].tolist()
        assert decided["policy_version"].tolist() == ["main.rl.demo/1"] * 4
    assert model.predict(records[2])["action"].tolist() == expected["action"].tolist()[2:3]
    assert len(model.predict(model.input_example)) == 1


@pytest.mark.parametrize("kind", ["bundles", "prices"])
def test_an_answer_is_json(kind: str, request: pytest.FixtureRequest) -> None:
    model = mlflow.pyfunc.load_model(request.getfixturevalue(kind).model_uri)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    answer = io.StringIO()
    predictions_to_json(model.predict(FRAME), answer)
    read = json.loads(answer.getvalue(), parse_constant=refuse)["predictions"]
    assert [row["action"] for row in read] == model.predict(FRAME)["action"].tolist()


@pytest.mark.parametrize("kind", ["bundles", "prices"])
def test_a_mask_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    agent = mlflow.pyfunc.load_model(request.getfixturevalue(kind).model_uri).unwrap_python_model()
    with pytest.raises(MlflowException, match=r"only Discrete actions can be masked, not (MultiDiscrete|Continuous)"):
        agent.decide(ROWS, [[True] * 6] * 4)


PREDICT = """
import json, sys
for name in ("rlbake", "pyspark", "tf_agents", "tensorflow_probability", "tf_keras", "deltalake"):
    sys.modules[name] = None
import mlflow, pandas
rows = pandas.DataFrame(json.loads(sys.argv[1]))
answers = [mlflow.pyfunc.load_model(folder).predict(rows)["action"].tolist() for folder in sys.argv[2:]]
sys.stdout.write(json.dumps(answers))
"""


def test_they_predict_where_rlbake_cannot_be_imported(bundles: ModelInfo, prices: ModelInfo, tmp_path: Path) -> None:
    folders = [
        mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path / info.model_id))
        for info in (bundles, prices)
    ]
    environment = {k: x for k, x in os.environ.items() if k not in ("TF_USE_LEGACY_KERAS", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, json.dumps(FRAME.to_dict("list")), *folders],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    chosen, numbers = json.loads(done.stdout)
    assert chosen == NAMES
    np.testing.assert_allclose(numbers, BEST)


def test_the_gate_sees_that_numbers_load_elsewhere(prices: ModelInfo) -> None:
    passed, said = loads(resolve(prices.model_uri), fresh=False)
    assert passed, said
