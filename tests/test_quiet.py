import os
import subprocess
import sys

import pytest

from rlbake.quiet import quietly


def fail_to_import() -> None:
    with quietly():
        os.write(2, b"the reason\n")
        raise ImportError("no such library")


def test_nothing_is_said_unless_something_fails(capfd: pytest.CaptureFixture[str]):
    with quietly():
        os.write(2, b"remark\n")
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError):
        fail_to_import()
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "the reason\nafterwards\n"


@pytest.mark.parametrize("module", ["rlbake.training.fit", "rlbake.policies.saved"])
def test_tensorflow_starts_without_a_word(module: str):
    code = f"import {module}, tensorflow; tensorflow.constant(1.0) + 1.0"
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert started.stdout + started.stderr == ""


def test_tensorflow_imported_too_early_is_told():
    code = "import tensorflow, rlbake"
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    started = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "import rlbake first" in started.stderr
