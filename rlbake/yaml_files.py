"""YAML files that users write: configurations, gates and spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rlbake.errors import ConfigError


def read_mapping(file: str | Path, what: str) -> dict[str, Any]:
    """The names and values of a file; of an empty one, none.

    Args:
        file: the path.
        what: it is, as the user calls it: "config", say.

    Raises:
        ConfigError: there is no such file, it is not YAML, or it holds something else than names and values.
    """
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"{what}: there is no file {path}.")
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path} is not YAML: {' '.join(str(error).split())}") from error
    if read is None:
        return {}
    if not isinstance(read, dict) or not all(isinstance(name, str) for name in read):
        raise ConfigError(f"{what} {path}: expected names and values, got {type(read).__name__}.")
    return read
