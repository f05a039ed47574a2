"""Requests made up from the OpenAPI document, valid ones and others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.conftest import Server

SECONDS = 15


@pytest.mark.slow
def test_every_answer_is_as_the_openapi_document_says_and_none_is_a_failure(server: Server, tmp_path: Path) -> None:
    schemathesis = Path(sys.executable).with_name("schemathesis")
    command = [
        schemathesis,
        "run",
        f"{server.url}/openapi.json",
        "--checks",
        "all",
        "--max-time",
        str(SECONDS),
        "--seed",
        "7",
    ]
    ended = subprocess.run(
        [*command, "--phases", "examples,coverage,fuzzing", "--generation-database", "none", "--no-color"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS * 6,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert server.get("/ready").status_code == 200
