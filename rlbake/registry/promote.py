"""Moving the alias `champion`, when the gate lets it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from rlbake import vocabulary as v
from rlbake.cadence import Cadence, Window
from rlbake.errors import ConfigError, GateRefused, StorageError
from rlbake.registry.aliases import move_champion, read_aliases
from rlbake.registry.config import GateConfig
from rlbake.registry.contest import RuleResult
from rlbake.registry.evidence import latest_evaluation
from rlbake.registry.gate import judge, refusals
from rlbake.registry.promise import promise_of
from rlbake.registry.versions import ResolvedModel, resolve
from rlbake.tracking.runs import StageRun

GATE = "gate.json"
"""Artifact of a promoting run: what was demanded, and every rule's answer."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promotion:
    """What a promotion did, or would have done.

    Attributes:
        champion: the model that is champion now; with `dry_run`, that would be.
        replaced: version that was champion before; None if none was, or the same.
        results: of every rule.
        refused: the gate's reasons; empty if it passed.
        forced: whether the gate was overruled.
        moved: whether the alias moved.
    """

    champion: ResolvedModel
    replaced: str | None
    results: tuple[RuleResult, ...]
    refused: tuple[str, ...]
    forced: bool
    moved: bool


def promote(
    name: str,
    version: str,
    *,
    run: StageRun,
    config: GateConfig,
    cadence: Cadence,
    newest: Window,
    force: bool = False,
    dry_run: bool = False,
) -> Promotion:
    """Makes a version champion if the gate passes, and the old champion `previous`.

    A refused version gets the alias `challenger`, and nothing else moves. Either way the run gets one
    metric `gate/<rule>` (1 or 0) per rule and `gate.json`, and the version says which run judged it. On
    the new champion stand whom it replaced, what it was promised to earn, and whether it was forced.

    Args:
        name: registered model.
        version: number or alias of the challenger; with `dry_run` also any other model's URI.
        run: that records the judgement.
        config: what the gate demands.
        cadence: of the application, to count periods by.
        newest: the newest window there is.
        force: promote although the gate refuses; recorded on the version and the run.
        dry_run: judge, and move and tag nothing, whatever the gate says.

    Raises:
        GateRefused: the message holds every reason.
        NotFoundError: there is no such version.
        StorageError: the registry does not answer, or aliases changed meanwhile.
    """
    challenger, aliases = resolve(version, name=name), read_aliases(name)
    if challenger.name != name and not dry_run:
        raise ConfigError(f"{challenger.policy_version} is no version of {name}: copy it there first (source).")
    champion = None if aliases.champion is None else resolve(aliases.champion, name=name)
    if champion is not None and champion.model_id == challenger.model_id:
        return Promotion(champion, None, (), (), forced=False, moved=False)
    evaluation = latest_evaluation(challenger)
    windows = evaluation.windows if evaluation else ()
    results = judge(challenger, champion, evaluation, config, _age(windows, cadence, newest))
    refused = refusals(results)
    _record(run, config, challenger, champion, results)
    promotion = Promotion(
        challenger, aliases.champion, results, refused, forced=bool(refused) and force, moved=not dry_run
    )
    if dry_run:
        return promotion
    if refused and not force:
        _refuse(name, str(challenger.version), run)
        raise GateRefused(f"{challenger.policy_version} does not become champion: {' '.join(refused)}")
    promise = promise_of(evaluation, config.primary)
    tags = {v.TAG_GATE_RUN: run.run_id, v.TAG_FORCED: str(promotion.forced).lower()} | (
        promise.to_tag() if promise else {}
    )
    if aliases.champion is not None:
        tags[v.TAG_REPLACED] = aliases.champion
    number = str(challenger.version)
    move_champion(name, number, expected=aliases, previous=aliases.champion or aliases.previous, tags={number: tags})
    _clear(name, number, promised=promise is not None)
    if promotion.forced:
        _say_forced(name, number, run, refused)
    return promotion


def champion_of(name: str) -> ResolvedModel | None:
    """The champion of a registered model; None if there is none yet.

    Raises:
        NotFoundError: the champion is not a logged model, or that is gone.
        StorageError: the registry does not answer.
    """
    version = read_aliases(name).champion
    return None if version is None else resolve(version, name=name)


def _age(windows: Sequence[str], cadence: Cadence, newest: Window) -> int | None:
    """Periods from the last of the windows to the newest window."""
    return (newest.start - cadence.window(windows[-1]).start) // cadence.every if windows else None


def _record(
    run: StageRun,
    config: GateConfig,
    challenger: ResolvedModel,
    champion: ResolvedModel | None,
    results: tuple[RuleResult, ...],
) -> None:
    run.metrics({f"gate/{result.name}": float(result.passed) for result in results})
    for result in results:
        _logger.info("gate/%s %s: %s", result.name, "passed" if result.passed else "FAILED", result.message)
    judged = {
        "challenger": challenger.policy_version,
        "champion": champion.policy_version if champion else None,
        "config": asdict(config),
        "rules": [{**asdict(r), "numbers": {k: str(x) for k, x in r.numbers.items()}} for r in results],
    }
    run.log_text(json.dumps(judged, indent=2) + "\n", GATE)


def _refuse(name: str, version: str, run: StageRun) -> None:
    client = MlflowClient()
    with _registry(f"cannot note that the gate refused {name}/{version}"):
        client.set_model_version_tag(name, version, v.TAG_GATE_RUN, run.run_id)
        client.set_registered_model_alias(name, v.CHALLENGER, version)


def _clear(name: str, version: str, *, promised: bool) -> None:
    """What an earlier time as champion left on the version is no longer true."""
    client = MlflowClient()
    stale = {v.TAG_ROLLED_BACK, v.TAG_ROLLED_BACK_FROM} | (set() if promised else {v.TAG_PROMISE})
    with _registry(f"cannot change the tags of {name}/{version}, which is champion now"):
        for key in stale & set(client.get_model_version(name, version).tags):
            client.delete_model_version_tag(name, version, key)


def _say_forced(name: str, version: str, run: StageRun, refused: Sequence[str]) -> None:
    """Where nobody can overlook it: the log, the run and the version's description."""
    said = f"FORCED by run {run.run_id}: {name}/{version} is champion against the gate: {' '.join(refused)}"
    _logger.warning("%s", said)
    run.tag({v.TAG_FORCED: "true", MLFLOW_RUN_NOTE: said})
    with _registry(f"cannot describe {name}/{version}, which is champion now"):
        MlflowClient().update_model_version(name, version, description=said)


@contextmanager
def _registry(failed: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise StorageError(f"the registry {failed}: {error}") from error
