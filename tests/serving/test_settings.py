"""What a user who starts a server is told at once, before any worker is."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from rlbake.errors import ConfigError, NotFoundError, RlbakeError, SpecError
from rlbake.serving.serve import serve
from rlbake.serving.settings import Settings
from tests.serving.conftest import APPLICATION
from tests.serving.crossing import MODEL, Crossing


class TakenName(Crossing):
    """A key that requests have a column for."""

    keys = ("timestamp",)


def settings(folder: Path, **changes: Any) -> Settings:
    known = {"application": APPLICATION, "model": f"models:/{MODEL}@champion", "port": 0}
    return Settings(**{**known, "tables": str(folder / "tables"), "log": str(folder / "log"), **changes})


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"durability": "maybe"}, ConfigError, "Known: at_least_once, at_most_once"),
        ({"workers": 0}, ConfigError, "workers is 0: at least 1"),
        ({"port": 70000}, ConfigError, "port 70000"),
        ({"budget_ms": float("nan")}, ConfigError, "budget_ms"),
        ({"refresh_s": 0.0}, ConfigError, "refresh_s"),
        ({"model": "models:/main.rl.crosing@champion"}, NotFoundError, "Did you mean 'main.rl.crossing'"),
        ({"model": f"models:/{MODEL}/3"}, SpecError, "decides on other actions"),
        ({"epsilon": 2.0}, ConfigError, "epsilon 2"),
        ({"fallback": "down"}, ConfigError, "fallback 'down': unknown action"),
        ({"features": "nowhere"}, NotFoundError, "neither a Delta table nor a Parquet file at nowhere"),
        ({"application": "tests.serving.test_settings:TakenName"}, SpecError, "'timestamp': requests have"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    own_store: Path, change: dict, error: type[RlbakeError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        serve(settings(own_store, **change))
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_is_said(own_store: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}.*Choose another port"):
            serve(settings(own_store, port=port))


@pytest.fixture
def own_store(tracking_uri: str, registered: Path) -> Path:
    """The registered versions in this process's store, which is in the working folder."""
    database = tracking_uri.removeprefix("sqlite:///")
    shutil.copy(registered, database)
    return Path(database).parent
