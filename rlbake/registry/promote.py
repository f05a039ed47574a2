"""Moving the alias `champion`, when the gate lets it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import ConfigError, GateRefused, StorageError
from rlbake.registry.gate import Contest, RuleResult, judge, read_evidence
from rlbake.registry.versions import ResolvedModel, resolve
from rlbake.tracking.runs import StageRun


@dataclass(frozen=True)
class Promotion:
    """What a promotion did.

    Attributes:
        champion: the model that is champion now.
        replaced: version that was champion before; None if none was, or the same.
        results: of every rule.
        forced: whether the gate was overruled.
    """

    champion: ResolvedModel
    replaced: str | None
    results: tuple[RuleResult, ...]
    forced: bool


def promote(name: str, version: str, *, run: StageRun, margin: float = 0.0, force: bool = False) -> Promotion:
    """Makes a version champion if the gate passes, and the old champion `previous`.

    A refused version gets the alias `challenger`, and nothing else moves. Either way the run
    gets one metric `gate/<rule>` (1 or 0) per rule, and the version says which run judged it.

    Args:
        name: registered model.
        version: number or alias of the challenger.
        run: that records the judgement.
        margin: what the challenger's lower bound must exceed the champion's by; may be negative.
        force: promote although the gate refuses.

    Raises:
        GateRefused: the message holds every reason.
        NotFoundError: there is no such version.
        StorageError: the registry does not answer, or the champion changed meanwhile.
    """
    if not math.isfinite(margin):
        raise ConfigError(f"margin {margin} is not a finite number.")
    challenger = resolve(version, name=name)
    champion = champion_of(name)
    if champion is not None and champion.version == challenger.version:
        return Promotion(champion, None, (), forced=False)
    results = judge(Contest(read_evidence(challenger), read_evidence(champion) if champion else None, margin))
    run.metrics({f"gate/{result.name}": float(result.passed) for result in results})
    refused = [result.message for result in results if not result.passed]
    number, replaced = str(challenger.version), champion.version if champion else None
    try:
        if refused and not force:
            _refuse(name, number, run)
            raise GateRefused(f"{challenger.policy_version} does not become champion: {' '.join(refused)}")
        _move(name, number, replaced, run, forced=bool(refused))
    except MlflowException as error:
        raise StorageError(f"the registry refuses to promote {challenger.policy_version}: {error}") from error
    return Promotion(challenger, replaced, results, forced=bool(refused))


def champion_of(name: str) -> ResolvedModel | None:
    """The champion of a registered model; None if there is none yet.

    Raises:
        NotFoundError: the champion is not a logged model, or that is gone.
        StorageError: the registry does not answer.
    """
    version = _champion_version(name)
    return None if version is None else resolve(version, name=name)


def _champion_version(name: str) -> str | None:
    try:
        version = MlflowClient().get_registered_model(name).aliases.get(v.CHAMPION)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return None
        raise StorageError(f"the champion of {name} cannot be looked up: {error}") from error
    return None if version is None else str(version)


def _refuse(name: str, version: str, run: StageRun) -> None:
    client = MlflowClient()
    client.set_model_version_tag(name, version, v.TAG_GATE_RUN, run.run_id)
    client.set_registered_model_alias(name, v.CHALLENGER, version)


def _move(name: str, version: str, replaced: str | None, run: StageRun, *, forced: bool) -> None:
    """`previous` first: a crash in between leaves a champion, and the right one to go back to."""
    client = MlflowClient()
    found = _champion_version(name)
    if found != replaced:
        raise StorageError(
            f"the champion of {name} changed from {replaced} to {found} while the gate ran, so nothing was moved. "
            "Promote again."
        )
    if replaced is not None:
        client.set_registered_model_alias(name, v.PREVIOUS, replaced)
    client.set_registered_model_alias(name, v.CHAMPION, version)
    tags = {v.TAG_GATE_RUN: run.run_id, v.TAG_FORCED: str(forced).lower()}
    if replaced is not None:
        tags[v.TAG_REPLACED] = replaced
    for key, text in tags.items():
        client.set_model_version_tag(name, version, key, text)
    if str(client.get_registered_model(name).aliases.get(v.CHALLENGER)) == version:
        client.delete_registered_model_alias(name, v.CHALLENGER)
