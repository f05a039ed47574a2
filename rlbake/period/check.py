"""The application's contract on real data: what `build_trajectories`, `train` and `score` would say, before they run.

Nothing is written but the run's own record.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.application import Application, user_code
from rlbake.cadence import Window
from rlbake.dataset import columns
from rlbake.errors import DataError
from rlbake.period.period import Period
from rlbake.period.simulate import simulate_missing
from rlbake.policies.behaviour import RulesPolicy
from rlbake.scoring.population import checked as checked_population
from rlbake.sources import read_errors
from rlbake.timesteps import rules
from rlbake.timesteps.contract import BROKEN_RULE, TIMESTEP, Breach, Checked, checked, verdict
from rlbake.tracking.runs import StageRun, stage_run
from rlbake.trajectories import pair
from rlbake.trajectories.build import no_rows
from rlbake.warehouse.content import ContentHash
from rlbake.warehouse.parquet import content_of
from rlbake.warehouse.session import spark_session
from rlbake.world import Observations

_logger = logging.getLogger(__name__)

_SAMPLE = 1_000  # observations that the rules are tried on


@dataclass(frozen=True)
class Findings:
    """What a window of timesteps would become.

    Attributes:
        rows_in: rows the application returned.
        breaches: the rules that some of them break.
        duplicates: repetitions of identical rows.
        fates: decisions by what becomes of them, as `rlbake.trajectories.pair` names it.
    """

    rows_in: int
    breaches: tuple[Breach, ...]
    duplicates: int
    fates: Mapping[str, int]

    @property
    def rejected(self) -> int:
        return sum(breach.count for breach in self.breaches)

    @property
    def transitions(self) -> int:
        return sum(self.fates.get(fate, 0) for fate in pair.TRANSITIONS)


def check(period: Period) -> None:
    """Tells what of an application and its logs breaks the contract, and what would become of the rest.

    Raises:
        DataError: too much of it does.
        SpecError: the rules decide what cannot be done.
        ConfigError: the application's own code raises.
    """
    application = period.application
    with stage_run("check", application=application.name, window=period.window.ds) as run:
        run.log_config({"tables": application.tables, "seed": period.seed})
        simulate_missing(period, [period.window])
        with run.phase("check"):
            found = check_timesteps(application, period.window)
            _tell(run, period, found)
            check_repeatable(application, period.window)
            _logger.info("timesteps: the same rows when asked again.")
            _try_rules(application, period.window)
            _try_population(application, period.window)


def check_timesteps(application: Application, window: Window) -> Findings:
    """What the rows of a window break, and what would become of them.

    Raises:
        DataError: more break the contract than may, or a column is missing or of a wrong type.
        EmptyWindowError: there are none.
        SpecError: a rule that is called fatal does not exist.
    """
    fatal = rules.known(application.fatal)
    with read_errors(f"{application.name}.timesteps, window {window}"):
        return _found(application, window, fatal)


def _found(application: Application, window: Window, fatal: Collection[str]) -> Findings:
    rows = _checked(application, window)
    pairs = pair.paired(rows, None, episode_timeout=application.cadence.episode_timeout, window=window).persist()
    try:
        bad = F.col(BROKEN_RULE).isNotNull()
        counts = pairs.groupBy(pair.FATE, pair.COPY, bad.alias("bad")).agg(F.count(F.lit(1)).alias("rows")).collect()
        if not counts:
            raise no_rows(window)
        breaches = rows.breaches(pairs)
    finally:
        pairs.unpersist()
    found = Findings(
        rows_in=sum(row["rows"] for row in counts),
        breaches=tuple(breaches),
        duplicates=sum(row["rows"] for row in counts if row[pair.COPY] and not row["bad"]),
        fates={row[pair.FATE]: row["rows"] for row in counts if row[pair.FATE] is not None},
    )
    refusal = verdict(breaches, rows_in=found.rows_in, max_rejected=application.max_rejected, fatal=fatal)
    if refusal:
        raise DataError(refusal)
    if not found.transitions and not found.fates.get(pair.OPEN):
        raise DataError(
            f"window {window}: {found.rows_in:,} rows, and none becomes a transition or waits for its successor. "
            "Check the ends, and that a key's rows are the successive decisions of one environment."
        )
    return found


def check_repeatable(application: Application, window: Window) -> None:
    """Sees that `timesteps` returns the same rows when it is asked again.

    Raises:
        DataError: it does not.
    """
    first, second = (_content(application, window) for _ in range(2))
    if first != second:
        raise DataError(
            f"timesteps, window {window}: asked twice, it returned {first.rows:,} and {second.rows:,} rows of "
            "different content. Leave out what changes from call to call: random numbers, the current time, "
            "rows that are dropped in no particular order."
        )


def check_rules(application: Application, window: Window) -> int:
    """Tries the rules on observations of a window; returns on how many.

    Raises:
        SpecError: there are no rules, or they decide what cannot be done.
    """
    observations = _observations(application, window)
    rows = len(next(iter(observations.values())))
    with user_code(f"{application.name}.rules"):
        RulesPolicy(application.rules, application.action).decide(observations, np.zeros(rows))
    return rows


def check_population(application: Application, window: Window) -> int:
    """Sees that everybody in the population can be scored; returns how many they are.

    Raises:
        DataError: somebody cannot, or is in it twice and not alike.
        SpecError: the application has no population.
    """
    with user_code(f"{application.name}.population, window {window}"):
        population = application.population(spark_session(), window)
    with checked_population(
        population, keys=application.keys, observation=application.observation, action=application.action, window=window
    ) as everybody:
        if everybody.breaches:
            said = " Also: ".join(breach.described(everybody.rows_in) for breach in everybody.breaches)
            raise DataError(f"population: {said}")
        return everybody.left


def _tell(run: StageRun, period: Period, found: Findings) -> None:
    _logger.info(
        "timesteps of %s: %s rows; %s rejected (%.2f %%; at most %.2f %%), %s repetitions, %s transitions, %s open, "
        "%s truncated without a final observation, %s after silence, %s final observations that follow nothing.",
        period.window, f"{found.rows_in:,}", f"{found.rejected:,}", 100 * found.rejected / found.rows_in,
        100 * period.application.max_rejected, f"{found.duplicates:,}", f"{found.transitions:,}",
        *(f"{found.fates.get(fate, 0):,}" for fate in (pair.OPEN, pair.UNOBSERVED, pair.TIMED_OUT, pair.STRAY)),
    )  # fmt: skip
    for breach in found.breaches:
        _logger.warning("%s", breach.described(found.rows_in))
    run.metrics(
        {
            "check/rows_in": found.rows_in,
            "check/rows_rejected": found.rejected,
            "check/duplicates": found.duplicates,
            "check/transitions": found.transitions,
            "check/open": found.fates.get(pair.OPEN, 0),
        }
    )


def _try_rules(application: Application, window: Window) -> None:
    if not defines(application, "rules"):
        _logger.info("rules: not defined, so there is nothing to mimic or to compare with.")
    else:
        _logger.info("rules: %s observations, every decision is possible.", f"{check_rules(application, window):,}")


def _try_population(application: Application, window: Window) -> None:
    if defines(application, "population"):
        _logger.info("population: %s to score.", f"{check_population(application, window):,}")
    else:
        _logger.info("population: not defined, so it cannot be scored.")


def defines(application: Application, method: str) -> bool:
    """Whether an application has a method of its own for what need not be there."""
    return getattr(type(application), method) is not getattr(Application, method)


def _timesteps(application: Application, window: Window) -> DataFrame:
    with user_code(f"{application.name}.timesteps, window {window}"):
        return application.timesteps(spark_session(), window)


def _checked(application: Application, window: Window) -> Checked:
    return checked(
        _timesteps(application, window),
        keys=application.keys,
        observation=application.observation,
        action=application.action,
        metrics=application.metrics,
        window=window,
    )


def _content(application: Application, window: Window) -> ContentHash:
    return content_of(_checked(application, window).rows.select(*TIMESTEP, v.STEP_TYPE))


def _observations(application: Application, window: Window) -> Observations:
    good = _checked(application, window).rows.where(F.col(BROKEN_RULE).isNull())
    names = [columns.at(v.OBSERVATION, feature.name) for feature in application.observation]
    sample = good.select(v.ENV_ID, v.TIMESTAMP, *(F.col(name).alias(name) for name in names)).limit(_SAMPLE)
    table = pa.Table.from_pandas(sample.toPandas(), preserve_index=False)
    return columns.features(table, v.OBSERVATION, application.observation, absent=np.zeros(len(table), bool))
