"""What a model reference means, and what is said when it means nothing."""

from __future__ import annotations

import pytest
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import NotFoundError
from rlbake.registry.versions import register, resolve
from tests.registry.conftest import NAME, Register


def test_every_form_of_reference_finds_the_same_model(registered: Register) -> None:
    registered()
    model = registered()
    assert (model.name, model.version) == (NAME, "2")
    assert model.policy_version == "main.rl.demo/2"
    assert model.uri == "models:/main.rl.demo/2"
    assert MlflowClient().get_run(model.run_id).data.tags[v.TAG_STAGE] == "train"
    for reference in ("models:/main.rl.demo/2", "models:/main.rl.demo@challenger"):
        assert resolve(reference) == model
    for reference in ("2", "challenger", "models:/main.rl.demo/2"):
        assert resolve(reference, name=NAME) == model


def test_a_logged_model_needs_no_registration(registered: Register) -> None:
    model = registered()
    by_id = resolve(f"models:/{model.model_id}")
    assert (by_id.name, by_id.version) == (None, None)
    assert by_id.policy_version == model.model_id
    assert (by_id.model_id, by_id.run_id, by_id.source) == (model.model_id, model.run_id, model.source)


def test_registering_again_is_the_next_version_and_the_challenger(registered: Register) -> None:
    model = registered()
    again = register(model, NAME)
    assert again.version == "2"
    assert again.model_id == model.model_id
    assert resolve("challenger", name=NAME) == again


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (
            "models:/main.rl.demo/9",
            r"main\.rl\.demo has 2 version\(s\), the latest 2, 1; its aliases are: challenger = 2",
        ),
        ("models:/main.rl.demo@champion", "aliases are: challenger = 2"),
        ("models:/main.rl.deno/1", r"Did you mean 'main\.rl\.demo'"),
        ("models:/m-0123456789abcdef0123456789abcdef", "another tracking store"),
        ("models:/main.rl.demo", "names no model: write models:/<name>@<alias>"),
        ("runs:/abc/agent", "names no model"),
        ("9", "names no model"),
        ("", "names no model"),
    ],
)
def test_a_reference_to_nothing_says_what_there_is(registered: Register, reference: str, said: str) -> None:
    registered()
    registered()
    with pytest.raises(NotFoundError, match=said):
        resolve(reference)


def test_an_empty_registry_says_so(tracking_uri: str) -> None:
    with pytest.raises(NotFoundError, match="No model is registered yet"):
        resolve("models:/main.rl.demo@champion")


def test_a_version_that_is_no_logged_model_is_refused(registered: Register, tmp_path) -> None:
    registered()
    MlflowClient().create_model_version(NAME, source=f"{tmp_path}/elsewhere")
    with pytest.raises(NotFoundError, match="not from a logged model"):
        resolve("2", name=NAME)
