"""The champion decides for everybody."""

from __future__ import annotations

import logging
from dataclasses import asdict

from rlbake import vocabulary as v
from rlbake.application import user_code
from rlbake.errors import NotFoundError
from rlbake.period.models import champion_of
from rlbake.period.period import Period
from rlbake.period.promote import promote
from rlbake.policies.exploration import Exploration
from rlbake.registry.versions import ResolvedModel, policy_dir, resolve
from rlbake.scoring.score import ScoreResult
from rlbake.scoring.score import score as score_population
from rlbake.tracking.runs import stage_run
from rlbake.warehouse.session import spark_session
from rlbake.warehouse.table import Table

AS_TRAINED = Exploration()

_logger = logging.getLogger(__name__)


def score(
    period: Period, model: str | None = None, output: str | None = None, exploration: Exploration = AS_TRAINED
) -> ScoreResult:
    """Decides for the application's population as of the period's window.

    Args:
        model: URI; the champion, made first if there is none, if not given.
        output: URI of the table; `scores` beside the application's other tables if not given.
        exploration: of the decisions; as the model was trained to explore, if not given.

    Raises:
        ConfigError: the exploration is out of range, or not of such actions.
        DataError: the population is empty or breaks the contract.
        NotFoundError: there is no such model.
        GateRefused: there is no champion, and the challenger does not become one.
    """
    application = period.application
    exploration.refuse_for(application.action)
    with stage_run("score", application=application.name, window=period.window.ds) as run:
        chosen = resolve(model) if model else _champion(period)
        table = Table(output or f"{period.folder}/{v.SCORES_TABLE}")
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
                run_id=run.run_id,
            )
        run.metrics({v.SCORE_ROWS: result.rows}, model_id=chosen.model_id)
        _logger.info("%s decided for %s in %s.", chosen.policy_version, f"{result.rows:,}", table.uri)
        return result


def _champion(period: Period) -> ResolvedModel:
    try:
        return champion_of(period)
    except NotFoundError:
        _logger.info("%s has no champion yet. Promoting first.", period.model_name)
        promote(period)
        return champion_of(period)
