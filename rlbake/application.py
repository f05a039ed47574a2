"""The one class that a data scientist writes."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from rlbake.cadence import Cadence, Window
from rlbake.errors import ConfigError, RlbakeError, SpecError, nearest
from rlbake.specs import Action, Binary, Category, Continuous, Discrete, Feature, MultiDiscrete, Number, to_json
from rlbake.world import Observations, World

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@runtime_checkable
class Source(Protocol):
    """Where timesteps come from, by configuration: see `rlbake.sources`."""

    def timesteps(self, spark: SparkSession, window: Window, application: Application) -> DataFrame:
        """What `Application.timesteps` returns."""

    def lineage(self, window: Window) -> list[tuple[str, str]]:
        """What is read for a window: names, each with a URI, a table's name or SQL text."""


class Application:
    """One batch reinforcement learning problem: what is seen, done and earned, and when.

    Attributes:
        name: an identifier; names the tables, the registered model and the runs.
        keys: the columns that together identify an environment.
        cadence: when decisions are made.
        observation: the features that the agent sees.
        action: what the agent may do.
        metrics: outcomes that follow a decision.
        reward: weight of each metric in the reward; a metric without one weighs 0.
        gamma: discount per step, in [0, 1].
        max_rejected: share of a window's rows that may break the contract; they go to the
            quarantine, and more than that fail the build.
        source: where the timesteps come from, unless `timesteps` is written: see `rlbake.sources`.
        fatal: rules of which a single breach fails the build; see `rlbake.timesteps.rules`.
        gate: what a challenger must show, where it differs from `rlbake/registry/gate.yaml`.
        segments: features by which an evaluation is told apart; None: every Category and Binary.
        tables: URI of the folder that holds this run's tables; set by rlbake.
    """

    name: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    cadence: ClassVar[Cadence]
    observation: ClassVar[tuple[Feature, ...]]
    action: ClassVar[Action]
    metrics: ClassVar[tuple[str, ...]]
    reward: ClassVar[Mapping[str, float]]
    gamma: ClassVar[float] = 0.99
    source: ClassVar[Source | None] = None
    max_rejected: ClassVar[float] = 0.01
    fatal: ClassVar[tuple[str, ...]] = ("action_length", "mask_length")
    gate: ClassVar[Mapping[str, Any]] = {}
    segments: ClassVar[tuple[str, ...] | None] = None

    tables: str = "tables"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if hasattr(cls, "name"):
            _check(cls)

    def timesteps(self, spark: SparkSession, window: Window) -> DataFrame:
        """The decisions made in a window, one row each, in any order.

        Columns: the keys, `timestamp`, one per feature, `action` (name or index; list for
        vectors), one per metric, and optionally `log_probability`, `action_mask`,
        `policy_version` and `end`. A row whose action is NULL is the final observation of an
        episode that was cut.
        """
        if self.source is None:
            raise SpecError(f"{type(self).__name__} has no source and does not define timesteps(spark, window).")
        return self.source.timesteps(spark, window, self)

    def population(self, spark: SparkSession, date: Window) -> DataFrame:
        """Whom to score: the keys, one column per feature, optionally `action_mask`."""
        raise SpecError(f"{type(self).__name__} does not define population(spark, date), so it cannot be scored.")

    def rules(self, observations: Observations) -> np.ndarray:
        """Today's policy: one action index (or vector) per observation."""
        raise SpecError(f"{type(self).__name__} does not define rules(observations).")

    def world(self) -> World | None:
        """A simulated world with a known best return, where there is one."""
        return None

    def world_at(self, window: Window) -> World | None:
        """The simulated world as it is in a window; always the same one, unless overridden."""
        return self.world()

    def latest_complete(self, now: datetime) -> Window:
        """The last window whose logs are complete; by the clock, unless overridden."""
        return self.cadence.latest_complete(now)


def describe(application: Application | type[Application]) -> dict[str, object]:
    """What decides how an application's data is built, as JSON-ready data."""
    return {
        "name": application.name,
        "keys": list(application.keys),
        "observation": [to_json(f) for f in application.observation],
        "action": to_json(application.action),
        "metrics": list(application.metrics),
        "reward": {m: float(w) for m, w in application.reward.items()},
    }


def load_application(target: str, tables: str) -> Application:
    """An instance of the class named by `package.module:Class` or `path/to/file.py:Class`.

    Raises:
        ConfigError: there is no such module, file or class, or the file does not run.
        SpecError: the class contradicts itself.
    """
    source, separator, name = target.rpartition(":")
    if not separator or not source or not name:
        raise ConfigError(f"application {target!r}: write it as package.module:Class or path/to/file.py:Class.")
    module = _module(source, target)
    found = getattr(module, name, None)
    if not (inspect.isclass(found) and issubclass(found, Application)):
        known = [
            n
            for n, c in vars(module).items()
            if inspect.isclass(c) and issubclass(c, Application) and hasattr(c, "name")
        ]
        hint = nearest(name, known) if known else "It holds no Application."
        raise ConfigError(f"application {target!r}: {source} has no Application {name!r}. {hint}")
    if not hasattr(found, "name"):
        raise SpecError(f"application {target!r}: the class sets no name.")
    application = found()
    application.tables = tables.rstrip("/")
    return application


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Turns whatever the user's own code raises into one line that names its place.

    Raises:
        ConfigError: the code raised something that is not an RlbakeError already.
    """
    try:
        yield
    except RlbakeError:
        raise
    except SyntaxError as error:
        raise ConfigError(
            f"{what}: {error.filename}, line {error.lineno}: {error.msg}: {(error.text or '').strip()}"
        ) from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith("<")]
        place = (own or frames)[-1]
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ConfigError(f"{what}: {place.filename}, line {place.lineno}: {type(error).__name__}: {reason}") from error


def _module(source: str, target: str) -> object:
    what = f"application {target!r}"
    if source.endswith(".py") and not Path(source).is_file():
        raise ConfigError(f"{what}: there is no file {source}.")
    try:
        with user_code(what):
            return importlib.import_module(source) if not source.endswith(".py") else _executed(Path(source))
    except ConfigError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise ConfigError(f"{what}: there is no module {error.__cause__.name!r}.") from error
        raise


def _executed(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # a .py path always has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _check(cls: type[Application]) -> None:
    """Refuses an application that contradicts itself.

    Raises:
        SpecError: names the attribute and the fix.
    """
    where = f"application {cls.__name__}"
    needed = ("name", "keys", "cadence", "observation", "action", "metrics", "reward")
    missing = [a for a in needed if not hasattr(cls, a)]
    if missing:
        raise SpecError(f"{where}: {', '.join(missing)} not set.")
    if not isinstance(cls.name, str) or not cls.name.isidentifier():
        raise SpecError(f"{where}: name {cls.name!r} is not an identifier.")
    for attribute in ("keys", "metrics"):
        names = getattr(cls, attribute)
        if isinstance(names, str) or not names or not all(isinstance(n, str) for n in names):
            raise SpecError(f'{where}: {attribute} must be a tuple of column names, such as ("player_id",).')
    if not isinstance(cls.cadence, Cadence):
        raise SpecError(f"{where}: cadence must be an rlbake.Cadence.")
    if not cls.observation or not all(isinstance(f, Number | Binary | Category) for f in cls.observation):
        raise SpecError(f"{where}: observation must be a tuple of Number, Binary and Category.")
    if not isinstance(cls.action, Discrete | Continuous | MultiDiscrete):
        raise SpecError(f"{where}: action must be Discrete, Continuous or MultiDiscrete.")
    if cls.source is not None and not isinstance(cls.source, Source):
        raise SpecError(f"{where}: source must be one of rlbake.sources, got {cls.source!r}.")
    columns = [*cls.keys, *(f.name for f in cls.observation), *cls.metrics]
    for column in columns:
        if columns.count(column) > 1:
            raise SpecError(f"{where}: column {column!r} is used twice among keys, observation and metrics.")
    for metric, weight in cls.reward.items():
        if metric not in cls.metrics:
            raise SpecError(f"{where}: reward weighs {metric!r}. {nearest(metric, cls.metrics)}")
        if not np.isfinite(weight):
            raise SpecError(f"{where}: reward weight of {metric!r} is {weight}.")
    features = [f.name for f in cls.observation]
    for name in cls.segments or ():
        if name not in features:
            raise SpecError(f"{where}: segments names {name!r}. {nearest(name, features)}")
    for share in ("gamma", "max_rejected"):
        if not 0 <= getattr(cls, share) <= 1:
            raise SpecError(f"{where}: {share} {getattr(cls, share)} is outside [0, 1].")
