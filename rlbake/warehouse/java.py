"""Finds a Java that Spark can run on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from rlbake.errors import RlbakeError

OLDEST = 17


def java_home() -> str:
    """The home of a Java >= 17: JAVA_HOME if it is one, else the `java` on the PATH.

    Raises:
        RlbakeError: there is none; the message says what was found and how to get one.
    """
    candidates = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    on_path = shutil.which("java")
    if on_path:
        candidates.append(Path(on_path).resolve().parent.parent)
    seen = []
    for home in candidates:
        version = _major_version(home / "bin" / "java")
        if version >= OLDEST:
            return str(home)
        seen.append(f"{home} holds {f'Java {version}' if version else 'no working java'}")
    found = "; ".join(seen) or "JAVA_HOME is not set and there is no java on the PATH"
    raise RlbakeError(
        f"Spark needs Java {OLDEST} or newer: {found}. Install one, for example with `apt-get install "
        f"openjdk-17-jre-headless`, `brew install openjdk@17` or `conda install openjdk=17`, and set JAVA_HOME to it."
    )


def _major_version(java: Path) -> int:
    """17 for Java 17, 8 for the old spelling 1.8; 0 if it does not run."""
    try:
        answer = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(found.group(1)) if found else 0
