"""What champions were promised to earn against what they earned, window by window."""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.dataset.snapshot import Snapshot, pin
from rlbake.errors import DataError, NotFoundError, StorageError
from rlbake.period.earned import Earned, per_decision, per_episode
from rlbake.period.ledger_plot import draw
from rlbake.period.period import Period
from rlbake.registry.aliases import read_aliases
from rlbake.registry.promise import Promise, promise_kept_by
from rlbake.tracking.runs import StageRun

LEDGER, PLOT = "ledger.json", "ledger.png"
COVERAGE, BREACHES = "ledger/coverage", "ledger/breaches"

WINDOWS = 60
"""The ledger looks back on so many windows at most."""

MOST_OTHERS = 0.1
"""With more decisions of others in its episodes, what they earned says little of a version."""

PER_DECISION = "reward per decision"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One version in one window in which it decided.

    Attributes:
        version: `<name>/<version>`.
        window: `ds`.
        unit: of all amounts.
        promised, promised_low, promised_high: the estimate at promotion, with its 95 % interval.
        earned, earned_low, earned_high: what followed, with its 95 % interval, clustered by environment.
        decisions: it was earned by.
        others: share of them that somebody else made, in episodes that the version had begun.
        environments: in which they were made.
        covered: promise and earnings differ by no more than chance explains in 95 % of cases: their distance is
            within the root of the sum of squares of the two half intervals that face each other. None
            where fewer than 2 environments, or too many decisions of others, leave it open.
        breach: the whole interval of the earnings lies below that of the promise, and others had little to do with it.
    """

    version: str
    window: str
    unit: str
    promised: float
    promised_low: float
    promised_high: float
    earned: float
    earned_low: float
    earned_high: float
    decisions: int
    others: float
    environments: int
    covered: bool | None
    breach: bool


@dataclass(frozen=True)
class Ledger:
    """Entries in order of window and version."""

    entries: tuple[Entry, ...]

    @property
    def breaches(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.breach)

    @property
    def coverage(self) -> float | None:
        """Share of the entries that are covered, which should be 0.95 or more; None if none tells."""
        told = [entry.covered for entry in self.entries if entry.covered is not None]
        return sum(told) / len(told) if told else None

    def coverage_over_time(self) -> dict[str, float]:
        """The coverage of all entries up to a window, by window."""
        shares = {}
        for window in dict.fromkeys(entry.window for entry in self.entries):
            until = Ledger(tuple(entry for entry in self.entries if entry.window <= window)).coverage
            if until is not None:
                shares[window] = until
        return shares

    def to_json(self) -> dict[str, Any]:
        entries = [{k: _finite(x) for k, x in asdict(entry).items()} for entry in self.entries]
        return {"coverage": self.coverage, "coverage_over_time": self.coverage_over_time(), "entries": entries}


def ledger(period: Period) -> Ledger:
    """The ledger of a period's registered model, up to the period's window.

    Raises:
        StorageError: the registry or the trajectories cannot be read.
    """
    promises = _promises(period.model_name)
    snapshot = _snapshot(period, promises)
    if snapshot is None:
        return Ledger(())
    groups: dict[tuple[bool, float], list[str]] = defaultdict(list)
    for version, promise in promises.items():
        single = promise.unit == PER_DECISION
        groups[single, 0.0 if single else promise.gamma].append(version)
    entries = []
    for (single, gamma), versions in groups.items():
        earned = per_decision(snapshot, versions) if single else per_episode(snapshot, versions, gamma)
        entries += [_entry(promises[found.version], found) for found in earned]
    return Ledger(tuple(sorted(entries, key=lambda entry: (entry.window, entry.version))))


def check_ledger(period: Period, run: StageRun) -> Ledger:
    """Logs the ledger with a run and, if the champion earned less than promised in its latest window, says so.

    Artifacts `ledger.json` and `ledger.png`, metrics `ledger/coverage` and `ledger/breaches`, and the tag
    `rlbake.ledger`: "breach", or "kept". Nothing is logged while no promise can be checked.

    Raises:
        StorageError: the registry or the trajectories cannot be read.
    """
    found = ledger(period)
    if not found.entries:
        return found
    run.log_text(json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n", LEDGER)
    with tempfile.TemporaryDirectory() as folder:
        plot = Path(folder) / PLOT
        plot.write_bytes(draw(found.entries, found.coverage_over_time(), period.model_name))
        run.log_artifact(plot)
    metrics = {BREACHES: float(len(found.breaches))}
    run.metrics(metrics if found.coverage is None else {**metrics, COVERAGE: found.coverage})
    breach = _breach_of_champion(found, period.model_name)
    run.tag({v.TAG_LEDGER: "breach" if breach else "kept"})
    if breach:
        _logger.warning("%s %s", _told(breach), _advice(period))
    return found


def _promises(name: str) -> dict[str, Promise]:
    """By policy version; versions that were made champion without a promise have none to break."""
    try:
        versions = MlflowClient().search_model_versions(f"name = '{name}'", max_results=10_000)
    except MlflowException as error:
        raise StorageError(f"the versions of {name} cannot be read: {error}") from error
    kept = {f"{name}/{version.version}": promise_kept_by(version) for version in versions}
    return {version: promise for version, promise in kept.items() if promise is not None}


def _snapshot(period: Period, promises: Mapping[str, Promise]) -> Snapshot | None:
    """The windows since the first promise was made; None if there is nothing to look at."""
    table = period.trajectories
    if not promises or not table.exists():
        return None
    first = min(promise.window for promise in promises.values())
    windows = [ds for ds in table.windows() if first < ds <= period.window.ds][-WINDOWS:]
    try:
        return pin(table.uri, windows)
    except (NotFoundError, DataError):  # nothing was decided since
        return None


def _entry(promise: Promise, found: Earned) -> Entry:
    earned = found.interval
    below = earned.value < promise.value
    halves = (
        (promise.value - promise.low, earned.high - earned.value)
        if below
        else (promise.high - promise.value, earned.value - earned.low)
    )
    covered = abs(earned.value - promise.value) <= math.hypot(*halves)
    own = found.others <= MOST_OTHERS
    return Entry(
        found.version,
        found.window,
        promise.unit,
        promise.value,
        promise.low,
        promise.high,
        earned.value,
        earned.low,
        earned.high,
        found.decisions,
        found.others,
        earned.units,
        covered if math.isfinite(earned.se) and own else None,
        own and earned.high < promise.low,
    )


def _breach_of_champion(found: Ledger, name: str) -> Entry | None:
    champion = read_aliases(name).champion
    own = [entry for entry in found.entries if entry.version == f"{name}/{champion}"]
    return own[-1] if own and own[-1].breach else None


def _told(breach: Entry) -> str:
    return (
        f"BREACH: {breach.version} earned {breach.earned:.4g} {breach.unit} in {breach.window}, at most "
        f"{breach.earned_high:.4g} with 95 % confidence, and was promised {breach.promised:.4g}, at least "
        f"{breach.promised_low:.4g}."
    )


def _advice(period: Period) -> str:
    previous = read_aliases(period.model_name).previous
    if previous is None:
        return "There is no version to go back to: promote another one by its number."
    where = f"-P application={period.target} -P tables={period.application.tables} -P name={period.model_name}"
    return f"To go back to version {previous}: mlflow run . -e promote {where} -P version=previous"


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
