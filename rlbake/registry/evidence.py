"""Where the evaluation of a model is kept: with the run that made it."""

from __future__ import annotations

import json

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pydantic import ValidationError

from rlbake import vocabulary as v
from rlbake.errors import StorageError
from rlbake.evaluation.evaluation import Evaluation
from rlbake.tracking.references import ResolvedModel
from rlbake.tracking.runs import StageRun

EVALUATION = "evaluation.json"
"""Artifact of an evaluating run: `Evaluation.to_json`."""


def store_evaluation(run: StageRun, evaluation: Evaluation) -> None:
    """Stores what a run found out about a model, and tags the run so that it is found by the model."""
    run.log_text(json.dumps(evaluation.to_json(), indent=2, allow_nan=False) + "\n", EVALUATION)
    run.tag({v.TAG_EVALUATION: evaluation.model_id})


def latest_evaluation(model: ResolvedModel) -> Evaluation | None:
    """The newest evaluation of a model by a run that finished, of whichever experiment; None if there is none.

    It goes with the logged model, so every registered version and copy of it has the same.

    Raises:
        StorageError: the tracking store does not answer, or what it holds is no evaluation.
    """
    run: Run | None = None
    try:
        run = _newest(model.model_id)
        if run is None:
            return None
        text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{EVALUATION}")
        return Evaluation.from_json(json.loads(text))
    except (ValidationError, json.JSONDecodeError) as error:
        raise StorageError(
            f"the evaluation of {model.policy_version} was written by another version of "
            f"rlbake, which this one cannot read: {str(error).splitlines()[0]}. Evaluate it again."
        ) from error
    except (MlflowException, OSError) as error:
        raise StorageError(f"the evaluation of {model.policy_version} cannot be read: {error}") from error


def _newest(model_id: str) -> Run | None:
    client = MlflowClient()
    found = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        f"tags.`{v.TAG_EVALUATION}` = '{model_id}' AND attributes.status = 'FINISHED'",
        order_by=["attributes.end_time DESC", "attributes.start_time DESC"],
        max_results=1,
    )
    return found[0] if found else None
