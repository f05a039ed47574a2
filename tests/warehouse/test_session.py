"""The local session: silent, clean, and clear about a missing Java."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from rlbake.errors import RlbakeError
from rlbake.warehouse.java import java_home
from rlbake.warehouse.session import spark_session


def test_the_active_session_is_used_as_it_is(spark: SparkSession) -> None:
    before = spark.sql("set").collect()
    assert spark_session() is spark
    assert spark.sql("set").collect() == before


def test_a_fresh_session_says_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "from rlbake.warehouse.session import spark_session\n"
        "spark = spark_session()\n"
        "spark.range(9).write.parquet('rows')\n"
        "print(spark.conf.get('spark.sql.session.timeZone'), spark.read.parquet('rows').count())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert (ran.stdout, ran.stderr) == ("UTC 9\n", "")
    assert [p.name for p in tmp_path.iterdir()] == ["rows"]


def fake_java(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return folder


def test_java_home_first_then_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = fake_java(tmp_path / "old", "1.8.0_402"), fake_java(tmp_path / "new", "21.0.2")
    other = fake_java(tmp_path / "other", "17")
    monkeypatch.setenv("PATH", f"{other}/bin:/bin:/usr/bin")
    monkeypatch.setenv("JAVA_HOME", str(new))
    assert java_home() == str(new)
    monkeypatch.setenv("JAVA_HOME", str(old))
    assert java_home() == str(other)


def test_a_java_that_is_too_old_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "old", "11.0.2")))
    monkeypatch.setenv("PATH", str(tmp_path / "old" / "bin"))
    with pytest.raises(RlbakeError, match=r"Spark needs Java 17 or newer: .* holds Java 11.*set JAVA_HOME") as raised:
        java_home()
    assert "\n" not in str(raised.value)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME")
    with pytest.raises(RlbakeError, match="JAVA_HOME is not set and there is no java on the PATH"):
        java_home()
