"""A challenger becomes champion, or hears why not."""

from __future__ import annotations

import logging

from rlbake import vocabulary as v
from rlbake.errors import NotFoundError
from rlbake.period.evaluate import evaluate
from rlbake.period.period import Period
from rlbake.registry import promote as registry
from rlbake.registry.gate import read_evidence
from rlbake.registry.versions import ResolvedModel, resolve
from rlbake.tracking.runs import stage_run

_logger = logging.getLogger(__name__)


def promote(
    period: Period, version: str = v.CHALLENGER, *, margin: float = 0.0, force: bool = False
) -> registry.Promotion:
    """Moves the alias `champion` to a version if the gate passes; evaluates it and the champion first if nobody has.

    Args:
        version: number or alias.
        margin: what it must be better by than the champion, in the unit of the return.
        force: promote although the gate refuses; recorded.

    Raises:
        GateRefused: the message holds every reason; nothing has moved.
        NotFoundError: there is no such version.
    """
    with stage_run("promote", application=period.application.name, window=period.window.ds) as run:
        run.log_config({"name": period.model_name, "version": version, "margin": margin, "force": force})
        challenger = _known(period, version)
        for model in (challenger, registry.champion_of(period.model_name)):
            _ensure_evaluated(period, model)
        promotion = registry.promote(period.model_name, str(challenger.version), run=run, margin=margin, force=force)
        replaced = f" It replaces version {promotion.replaced}." if promotion.replaced else ""
        forced = " FORCED: the gate had refused it." if promotion.forced else ""
        _logger.info("%s is champion.%s%s", promotion.champion.policy_version, replaced, forced)
        return promotion


def _known(period: Period, version: str) -> ResolvedModel:
    try:
        return resolve(version, name=period.model_name)
    except NotFoundError:
        if version != v.CHALLENGER:
            raise
        evaluate(period)  # trains it first
        return resolve(version, name=period.model_name)


def _ensure_evaluated(period: Period, model: ResolvedModel | None) -> None:
    if model is None or period.application.world() is None or read_evidence(model).has(v.SIM_LOW):
        return
    _logger.info("%s has not been evaluated yet. Evaluating first.", model.policy_version)
    evaluate(period, model.uri)
