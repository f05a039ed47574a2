"""The project's own files agree with each other."""

import ast
import importlib
import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PINS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_conda_yaml_holds_exactly_the_pins_of_pyproject():
    conda = yaml.safe_load((ROOT / "conda.yaml").read_text())
    (pip,) = (d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert pip == PINS["dependencies"]


@pytest.mark.parametrize("pin", [*PINS["dependencies"], *PINS["optional-dependencies"]["dev"]])
def test_what_is_installed_is_what_is_pinned(pin):
    requirement = Requirement(pin)
    assert metadata.version(requirement.name) in requirement.specifier


def test_every_entry_point_hands_all_its_parameters_to_its_script():
    from click.testing import CliRunner

    project = yaml.safe_load((ROOT / "MLproject").read_text())
    for name, entry in project["entry_points"].items():
        module = __import__(f"entry_points.{name}", fromlist=["command"])
        options = {o.name for o in module.command.params}
        assert options == set(entry["parameters"]), name
        for parameter in entry["parameters"]:
            assert f"--{parameter} {{{parameter}}}" in entry["command"], (name, parameter)
        assert CliRunner().invoke(module.command, ["--help"]).exit_code == 0


def imported(folder: str) -> Iterator[tuple[str, str, str]]:
    """File, module and name of all that the files of a folder import of rlbake, within functions too."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rlbake":
                yield from ((str(file.relative_to(ROOT)), node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "notebooks"])  # mypy sees to the others
def test_what_is_imported_is_there(folder: str):
    found = list(imported(folder))
    assert found
    for file, module, name in found:
        there = hasattr(importlib.import_module(module), name) or find_spec(f"{module}.{name}")
        assert there, f"{file} imports {name} from {module}"
