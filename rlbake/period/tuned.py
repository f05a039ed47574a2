"""What a sweep came to: the best configuration, whether it is really better, and what made the difference."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from rlbake.errors import DataError, RlbakeError
from rlbake.sweep import plots
from rlbake.sweep.hopeless import always
from rlbake.sweep.importance import Importance, importances
from rlbake.sweep.objective import DONE, Point, Trial, best_of
from rlbake.sweep.offline import Logs
from rlbake.sweep.scenarios import Scenarios
from rlbake.sweep.space import Space, nested
from rlbake.tracking.params import plain
from rlbake.tracking.runs import StageRun
from rlbake.training.config import merge

BEST_CONFIG = "best.yaml"
"""Artifact of the run; `train -P config=runs:/<run id>/best.yaml` takes it."""

TABLE, IMPORTANCE, COMPARISON, REALITY = "trials.csv", "importance.csv", "held_out.csv", "reality_check.csv"
CONFIDENCE = 0.95
COMPARED = 5
"""So many of the best configurations are tried on logs, where there are any."""

_UNSEEN = 10_000  # seeds of held-out populations start here
_SIZES = (0.5, 2.0)  # of the populations that no trial has seen, in those of the trials

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Difference:
    """Score of the best configuration minus that of the defaults, paired by held-out seed and population size.

    Attributes:
        best, default: mean scores.
        value: their difference.
        low, high: Student's t interval of 95 % over the pairs.
        pairs: how many.
    """

    best: float
    default: float
    value: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Tuned:
    """What a sweep found.

    Attributes:
        run_id: of its run.
        trials: all of them, by number.
        best: the trial with the highest score; None if none was finished.
        config: the best configuration, nested, as `best.yaml` has it.
        importance: of the hyperparameters; empty where there are too few trials to say.
        held_out: the best configuration against the defaults; None if that was not looked at.
        rank_correlation: between scores and what logs say of the best configurations; None without logs.
    """

    run_id: str
    trials: tuple[Trial, ...]
    best: Trial | None
    config: Mapping[str, Any]
    importance: tuple[Importance, ...] = ()
    held_out: Difference | None = None
    rank_correlation: float | None = None


def conclude(
    run: StageRun,
    trials: Sequence[Trial],
    space: Space,
    objective: Scenarios | Logs,
    *,
    seed: int,
    held_out: int,
    logs: Logs | None,
    price_per_hour: float,
) -> Tuned:
    """Logs tables, plots and the best configuration, and says what they show.

    Args:
        run: of the sweep.
        trials: by number.
        space: that they are from.
        objective: what they were judged by.
        seed: of importances.
        held_out: seeds to compare the best and the default configuration on; 0: they are not compared.
        logs: to compare the best trials' scores with; None: they are not compared.
        price_per_hour: of a machine that makes one trial at a time.
    """
    run.log_text(_csv(_table(trials, price_per_hour)), TABLE)
    best = best_of(trials)
    hours = sum(trial.seconds for trial in trials) / 3600
    run.metrics({"tune/trials": len(trials), "tune/hours": hours, "tune/price": hours * price_per_hour})
    if best is None or best.outcome is None:
        return Tuned(run.run_id, tuple(trials), None, {})
    config = merge(objective.base, nested(best.point))
    run.log_text(yaml.safe_dump(plain(config), sort_keys=False), BEST_CONFIG)
    _draw(run, trials, best, space, "folds" if isinstance(objective, Logs) else "cycles")
    run.metrics({"tune/best": best.outcome.score, "tune/best_worst_task": best.outcome.worst[1]})
    task, worst = best.outcome.worst
    _logger.info(
        "Best of %d trials: %s, score %.3f (worst %s, %.3f): %s. Configuration: runs:/%s/%s",
        len(trials), best.name, best.outcome.score, task, worst,
        ", ".join(f"{path}={_shown(value)}" for path, value in best.point.items()), run.run_id, BEST_CONFIG,
    )  # fmt: skip
    for doubt in best.outcome.doubts:
        _logger.warning("Of the best trial the logs say: %s", doubt)
    found = _importances(run, trials, space, seed)
    difference = None
    if held_out and isinstance(objective, Scenarios):
        with run.phase("held_out"):
            difference = _held_out(run, objective, best.point, held_out)
    correlation = None
    if logs is not None:
        with run.phase("reality_check"):
            correlation = _reality(run, trials, logs)
    return Tuned(run.run_id, tuple(trials), best, config, tuple(found), difference, correlation)


def _table(trials: Sequence[Trial], price_per_hour: float) -> pd.DataFrame:
    """A row per trial."""
    return pd.DataFrame(
        {
            "trial": trial.number + 1,
            "status": trial.status,
            **trial.point,
            **_figures(trial),
            "seconds": round(trial.seconds, 3),
            "price": trial.seconds / 3600 * price_per_hour,
            "reason": trial.reason,
        }
        for trial in trials
    )


def _figures(trial: Trial) -> dict[str, Any]:
    outcome = trial.outcome
    if outcome is None:
        return {}
    task, worst = outcome.worst
    return {
        "score": outcome.score,
        "level": outcome.level,
        "speed": outcome.speed,
        "median": outcome.median,
        "spread": outcome.spread,
        "worst_task": task,
        "worst": worst,
        **{f"score/{name}": score for name, score in outcome.by_task.items()},
        "train_seconds": outcome.seconds.get("train"),
        "doubts": "; ".join(outcome.doubts),
    }


def _draw(run: StageRun, trials: Sequence[Trial], best: Trial, space: Space, x_label: str) -> None:
    run.log_text(plots.coordinates_page(trials, space), "parallel_coordinates.html")
    run.log_text(plots.curves_page(trials, best, x_label), "learning_curves.html")
    _log_bytes(run, plots.coordinates_picture(trials, space), "parallel_coordinates.png")
    _log_bytes(run, plots.curves_picture(trials, best, x_label), "learning_curves.png")


def _importances(run: StageRun, trials: Sequence[Trial], space: Space, seed: int) -> list[Importance]:
    try:
        found = importances(trials, space, seed)
    except DataError as few:
        _logger.info("No importance of hyperparameters: %s", few)
        return []
    run.log_text(_csv(pd.DataFrame(asdict(one) for one in found)), IMPORTANCE)
    _log_bytes(run, plots.importance_picture(found), "importance.png")
    _logger.info("What scores depend on: %s.", ", ".join(f"{one.path} ({one.share:.0%})" for one in found[:3]))
    return found


def _held_out(run: StageRun, objective: Scenarios, best: Point, seeds: int) -> Difference | None:
    """The best and the default configuration, on populations of other sizes and seeds than any trial's.

    None if one of them cannot be trained there: what the sweep has found is not lost for that.
    """
    try:
        table = pd.DataFrame(
            _compared(objective, best, _UNSEEN + number, size) for number in range(seeds) for size in _SIZES
        )
    except RlbakeError as error:
        _logger.warning("The best configuration was not compared with the defaults: %s", error)
        return None
    run.log_text(_csv(table), COMPARISON)
    apart = (table["best"] - table["default"]).to_numpy()
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart)))
    value = float(apart.mean())
    found = Difference(
        float(table["best"].mean()), float(table["default"].mean()), value, value - half, value + half, len(apart)
    )
    run.metrics({f"tune/held_out/{name}": float(figure) for name, figure in asdict(found).items()})
    verdict = "better" if found.low > 0 else "worse" if found.high < 0 else "not to be told from them"
    _logger.info(
        "Held out (%d seeds, half and twice the population): best %.3f, defaults %.3f, difference %+.3f, "
        "95 %% interval [%+.3f, %+.3f]: %s.",
        seeds, found.best, found.default, found.value, found.low, found.high, verdict,
    )  # fmt: skip
    return found


def _compared(objective: Scenarios, best: Point, seed: int, size: float) -> dict[str, float]:
    variant = replace(objective, seeds=(seed,), rows=max(1, int(objective.rows * size)))
    scores = {name: variant(point, always).score for name, point in (("best", best), ("default", {}))}
    return {"seed": seed, "rows": variant.rows, **scores}


def _reality(run: StageRun, trials: Sequence[Trial], logs: Logs) -> float | None:
    """Spearman's rank correlation between the scores of the best configurations and what logs say of them."""
    ranked = sorted((t for t in trials if t.status == DONE and t.outcome), key=lambda t: -t.outcome.score)  # type: ignore[union-attr]
    rows: list[dict[str, Any]] = []
    for trial in ranked[:COMPARED]:
        assert trial.outcome is not None
        try:
            judged = logs(trial.point, always)
        except RlbakeError as error:
            _logger.warning("Reality check: %s cannot be trained on the logs: %s", trial.name, error)
            continue
        doubts = "; ".join(judged.doubts)
        rows.append(
            {"trial": trial.number + 1, "score": trial.outcome.score, "estimate": judged.score, "doubts": doubts}
        )
    table = pd.DataFrame(rows, columns=["trial", "score", "estimate", "doubts"])
    run.log_text(_csv(table), REALITY)
    if len(table) < 3 or table["score"].nunique() < 2 or table["estimate"].nunique() < 2:
        _logger.info("Reality check: %d configurations, or all alike: too few to compare.", len(table))
        return None
    correlation, chance = (float(one) for one in stats.spearmanr(table["score"], table["estimate"]))
    run.metrics({"tune/rank_correlation": correlation, "tune/rank_correlation_p": chance})
    doubtful = int((table["doubts"] != "").sum())
    _logger.info(
        "Reality check: rank correlation %.2f (p = %.2f) between scores and off-policy estimates of the best %d%s.",
        correlation, chance, len(table), f"; the logs hardly support {doubtful} of these" if doubtful else "",
    )  # fmt: skip
    return correlation


def _csv(table: pd.DataFrame) -> str:
    buffer = io.StringIO()
    table.to_csv(buffer, index=False)
    return buffer.getvalue()


def _log_bytes(run: StageRun, content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        run.log_artifact(path)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
