"""What the gate demands, and who has the last word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlbake.errors import ConfigError
from rlbake.registry.config import Guardrail, read_gate


def test_the_later_layer_wins(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text("margin: 0.2\nmax_age: 9\n")
    application = {"margin": 0.1, "max_age": 8, "min_ess": 7}
    assert read_gate().margin == 0
    assert read_gate(application).margin == 0.1
    gate = read_gate(application, file, 0.3)
    assert (gate.margin, gate.max_age, gate.min_ess) == (0.3, 9, 7)
    assert read_gate(application, file).margin == 0.2
    assert read_gate(application, file, 0.0).margin == 0
    assert gate.max_drift == read_gate().max_drift == 0.25


def test_guardrails_add_up_and_null_drops_one(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text("guardrails:\n  click: null\n  kwh: {limit: 2, better: lower, of: value}\n")
    application = {"guardrails": {"click": {"limit": 0}, "comfort": {"limit": -1}}}
    assert read_gate(application, file).guardrails == {
        "comfort": Guardrail(-1.0, "difference", "higher"),
        "kwh": Guardrail(2.0, "value", "lower"),
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"min_es": 3}, r"the application's gate: min_es = 3: there is no such rule. Did you mean 'min_ess'"),
        ({"min_overlap": -1}, r"min_overlap = -1: input should be greater than or equal to 0"),
        ({"margin": float("nan")}, "margin = nan"),
        ({"loads_in": "heaven"}, "loads_in = 'heaven': input should be 'fresh' or 'process'"),
        ({"guardrails": {"click": {"limt": 1}}}, r"guardrails.click.limt = 1: no such field. Did you mean 'limit'"),
        ({"guardrails": {"click": {}}}, r"guardrails.click.limit"),
        ({"guardrails": 3}, "guardrails = 3"),
    ],
)
def test_a_mistake_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_gate(given)


@pytest.mark.parametrize(
    ("text", "said"),
    [("margin: [", "is not YAML"), ("- margin", "expected names and values, got list"), (None, "there is no file")],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "my.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=f"my.yaml.*{said}|{said}.*my.yaml"):
        read_gate({}, file)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").touch()
    assert read_gate({}, tmp_path / "gate.yaml") == read_gate()
