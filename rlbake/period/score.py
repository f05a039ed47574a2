"""The champion decides for everybody."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from rlbake import vocabulary as v
from rlbake.application import user_code
from rlbake.errors import NotFoundError
from rlbake.period.models import champion_of
from rlbake.period.period import Period
from rlbake.period.promote import promote
from rlbake.policies.exploration import Exploration
from rlbake.registry.versions import ResolvedModel, policy_dir, resolve
from rlbake.scoring.changes import changes
from rlbake.scoring.score import ScoreResult
from rlbake.scoring.score import score as score_population
from rlbake.tracking.runs import StageRun, stage_run
from rlbake.warehouse.session import spark_session
from rlbake.warehouse.table import Table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

AS_TRAINED = Exploration()

_logger = logging.getLogger(__name__)


def score(
    period: Period, model: str | None = None, output: str | None = None, exploration: Exploration = AS_TRAINED
) -> ScoreResult:
    """Decides for the application's population as of the period's window, and tells what that changes.

    Args:
        model: URI; the champion, made first if there is none, if not given.
        output: URI of the table; `scores` beside the application's other tables if not given. Rows that cannot be
            decided on go to `unscored` there, else to `<output>_unscored`.
        exploration: of the decisions; as the model was trained to explore, if not given.

    Raises:
        ConfigError: the exploration is out of range, or not of such actions.
        DataError: the population is empty, lacks a column, or nobody in it can be decided on.
        NotFoundError: there is no such model.
        GateRefused: there is no champion, and the challenger does not become one.
    """
    application = period.application
    exploration.refuse_for(application.action)
    with stage_run("score", application=application.name, window=period.window.ds) as run:
        chosen = resolve(model) if model else _champion(period)
        table = Table(output or f"{period.folder}/{v.SCORES_TABLE}")
        unscored = Table(f"{output}_{v.UNSCORED_TABLE}" if output else f"{period.folder}/{v.UNSCORED_TABLE}")
        chosen_by = {"model": chosen.uri, "model_id": chosen.model_id, "output": table.uri, "seed": period.seed}
        run.log_config(chosen_by | asdict(exploration))
        run.log_model_input(chosen.model_id)
        with run.phase("spark"):
            spark = spark_session()
        with user_code(f"{application.name}.population, window {period.window}"):
            population = application.population(spark, period.window)
        with run.phase("score"):
            result = score_population(
                population,
                keys=application.keys,
                observation=application.observation,
                action=application.action,
                policy_dir=policy_dir(chosen),
                policy_version=chosen.policy_version,
                window=period.window,
                exploration=exploration,
                seed=period.seed,
                output=table,
                unscored=unscored,
                run_id=run.run_id,
            )
        run.metrics({v.SCORE_ROWS: result.rows, v.SCORE_REJECTED: result.rejected}, model_id=chosen.model_id)
        _logger.info("%s decided for %s in %s.", chosen.policy_version, f"{result.rows:,}", table.uri)
        if result.rejected:
            whole = result.rows + result.rejected
            said = " Also: ".join(breach.described(whole) for breach in result.breaches)
            _logger.warning("%s of %s rows are not scored, but in %s: %s", result.rejected, whole, unscored.uri, said)
        with run.phase("changes"):
            _log_changes(period, run, table, spark)
        return result


def _log_changes(period: Period, run: StageRun, scores: Table, spark: SparkSession) -> None:
    application = period.application
    found = changes(scores, spark, period.window.ds, observation=application.observation, segments=application.segments)
    if found is None:
        return
    run.log_text(found.as_csv(), "changes.csv")
    run.log_text(found.as_json(), "changes.json")
    everybody = found.changes[0]
    if everybody.both:
        run.metrics({v.SCORE_CHANGED: everybody.changed})
        _logger.info(
            "%.1f %% of %s decisions are others than in %s; %s environments are new, %s are gone.",
            100 * everybody.changed, f"{everybody.both:,}", found.previous, f"{everybody.new:,}", f"{everybody.gone:,}",
        )  # fmt: skip


def _champion(period: Period) -> ResolvedModel:
    try:
        return champion_of(period)
    except NotFoundError:
        _logger.info("%s has no champion yet. Promoting first.", period.model_name)
        promote(period)
        return champion_of(period)
