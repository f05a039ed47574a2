"""How a server is set up, and how its worker processes are told."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rlbake.errors import ConfigError, nearest
from rlbake.policies.exploration import Exploration

AT_LEAST_ONCE, AT_MOST_ONCE = "at_least_once", "at_most_once"

TOKEN = "RLBAKE_TOKEN"
"""Environment variable of the token that clients must bring; none is asked for where it is not set."""

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of the folder in which workers keep their counts; prometheus_client reads it."""

_SETTINGS = "RLBAKE_SERVING"  # environment variable in which workers find their settings


@dataclass(frozen=True)
class Settings:
    """What a server is told when it starts; clients can change none of it.

    Attributes:
        application: `package.module:Class` or `path/to/file.py:Class`.
        tables: URI of the folder that holds the tables.
        model: URI of a registered model; an alias is followed when it moves.
        log: URI of the experience log.
        spool: folder in which each process keeps what is not in the log's tables yet; None: the log's own choice.
        host: address to listen on.
        port: to listen on; 0: a free one.
        workers: processes.
        durability: `at_least_once`: an answer waits until its decisions are durable; `at_most_once`: it does not.
        features: URI of a Delta or Parquet table of the key columns and features, so that a client may send the
            key alone; None: there is none.
        fallback: who decides when the model cannot: `rules`, `random` (uniform over what is allowed) or the name of
            an action; None: the rules where the application has some, else `random`.
        budget_ms: the model's time for a request, after which the fallback decides; 0: as long as it takes.
        refresh_s: how often the alias and the table of features are looked at.
        explore, temperature, epsilon, floor: as `Exploration` has them.
        max_rows: of one request.
        max_bytes: of one request's body.
        cors: origins whose pages may call; none unless named.

    Raises:
        ConfigError: a number is out of range, or durability is none of the two.
    """

    application: str
    tables: str
    model: str
    log: str
    spool: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    durability: str = AT_LEAST_ONCE
    features: str | None = None
    fallback: str | None = None
    budget_ms: float = 1000.0
    refresh_s: float = 5.0
    explore: bool = True
    temperature: float = 0.0
    epsilon: float = -1.0
    floor: float = 0.0
    max_rows: int = 1000
    max_bytes: int = 2**20
    cors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "cors", tuple(self.cors))
        if self.durability not in (AT_LEAST_ONCE, AT_MOST_ONCE):
            raise ConfigError(
                f"durability {self.durability!r}. {nearest(self.durability, (AT_LEAST_ONCE, AT_MOST_ONCE))}"
            )
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"port {self.port} is none: use 1 to 65535, or 0 for a free one.")
        for name in ("workers", "max_rows", "max_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: at least 1.")
        if not (math.isfinite(self.budget_ms) and self.budget_ms >= 0):
            raise ConfigError(f"budget_ms is {self.budget_ms}: a finite number, at least 0, which is no budget.")
        if not (math.isfinite(self.refresh_s) and self.refresh_s > 0):
            raise ConfigError(f"refresh_s is {self.refresh_s}: a finite number above 0.")

    @property
    def exploration(self) -> Exploration:
        """How the policy explores."""
        return Exploration(self.explore, self.temperature, self.epsilon, self.floor)

    def hand_over(self) -> None:
        """Leaves the settings in the environment of the processes that are started from here."""
        os.environ[_SETTINGS] = json.dumps(asdict(self))

    @classmethod
    def handed_over(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """What `hand_over` left for this process."""
        given: dict[str, Any] = json.loads(environment[_SETTINGS])
        return cls(**given)
