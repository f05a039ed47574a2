"""A challenger becomes champion, or hears why not; a champion is given up."""

from __future__ import annotations

import logging
from dataclasses import asdict

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import ConfigError, NotFoundError
from rlbake.period.evaluate import evaluate
from rlbake.period.period import Period
from rlbake.registry import promote as registry
from rlbake.registry.config import GateConfig, read_gate
from rlbake.registry.copy import copy_version
from rlbake.registry.evidence import latest_evaluation
from rlbake.registry.rollback import rollback
from rlbake.registry.versions import ResolvedModel, resolve
from rlbake.tracking.runs import StageRun, stage_run

_logger = logging.getLogger(__name__)


def promote(
    period: Period,
    version: str = v.CHALLENGER,
    *,
    rules: GateConfig | None = None,
    source: str | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> registry.Promotion:
    """Moves the alias `champion` to a version if the gate passes; evaluates it first if nobody has, against today's.

    The version `previous` is gone back to without asking the gate.

    Args:
        version: number or alias.
        rules: what the gate demands; the application's if not given.
        source: version of another registered model to copy here and to judge, in place of `version`.
        force: promote although the gate refuses; recorded.
        dry_run: tell what would happen, and move nothing; a refusal is no failure then.

    Raises:
        GateRefused: the message holds every reason; nothing has moved.
        NotFoundError: there is no such version.
        ConfigError: what is asked for contradicts itself.
    """
    name, rules = period.model_name, rules or read_gate(period.application.gate)
    with stage_run("promote", application=period.application.name, window=period.window.ds) as run:
        asked = {"name": name, "version": version, "source": source, "force": force, "dry_run": dry_run}
        run.log_config({**asked, "gate": asdict(rules)})
        if version == v.PREVIOUS:
            if source:
                raise ConfigError("source and version=previous cannot go together: copy, or roll back.")
            return _rolled_back(rollback(name, run=run, dry_run=dry_run), run)
        challenger = _challenger(period, version, source, rules, dry_run)
        _ensure_evaluated(period, challenger, rules)
        run.log_model_input(challenger.model_id)
        promotion = registry.promote(
            name,
            challenger.uri,
            run=run,
            config=rules,
            cadence=period.application.cadence,
            newest=_newest(period),
            force=force,
            dry_run=dry_run,
        )
        _tell(promotion, dry_run, force)
        return promotion


def _challenger(period: Period, version: str, source: str | None, rules: GateConfig, dry_run: bool) -> ResolvedModel:
    if source:
        if dry_run:
            return resolve(source)
        copied = copy_version(source, period.model_name)
        _logger.info("%s is %s now.", source, copied.policy_version)
        return copied
    try:
        return resolve(version, name=period.model_name)
    except NotFoundError:
        if version != v.CHALLENGER or dry_run:
            raise
        evaluate(period, rules=rules)  # trains it first
        return resolve(version, name=period.model_name)


def _ensure_evaluated(period: Period, challenger: ResolvedModel, rules: GateConfig) -> None:
    """An evaluation against another champion says nothing about today's."""
    champion = registry.champion_of(period.model_name)
    if champion is not None and champion.model_id == challenger.model_id:
        return
    found = latest_evaluation(challenger)
    if found is not None and found.champion_id == (champion.model_id if champion else None):
        return
    against = f"against {champion.policy_version} " if champion else ""
    _logger.info("%s has not been evaluated %syet. Evaluating first.", challenger.policy_version, against)
    evaluate(period, challenger.uri, rules=rules)


def _newest(period: Period) -> Window:
    """The period's window, or a later one that the trajectories hold already."""
    known = period.trajectories.windows() if period.trajectories.exists() else []
    return max([period.window, *(period.application.cadence.window(ds) for ds in known[-1:])])


def _tell(promotion: registry.Promotion, dry_run: bool, force: bool) -> None:
    who = promotion.champion.policy_version
    replaced = f" It replaces version {promotion.replaced}." if promotion.replaced else ""
    if promotion.moved:
        _logger.info("%s is champion.%s", who, replaced)
    elif not dry_run or not promotion.results:
        _logger.info("%s is champion already; nothing has moved.", who)
    elif promotion.refused and not force:
        _logger.info("Dry run, nothing has moved. %s would be refused: %s", who, " ".join(promotion.refused))
    else:
        forced = " by force" if promotion.refused else ""
        _logger.info("Dry run, nothing has moved. %s would become champion%s.%s", who, forced, replaced)


def _rolled_back(promotion: registry.Promotion, run: StageRun) -> registry.Promotion:
    who = promotion.champion
    run.log_model_input(who.model_id)
    given_up = f"version {promotion.replaced}" if promotion.replaced else "no champion"
    if promotion.moved:
        _logger.warning("ROLLED BACK from %s: %s is champion again.", given_up, who.policy_version)
    else:
        _logger.info("Nothing has moved. %s would be champion again, after %s.", who.policy_version, given_up)
    return promotion
