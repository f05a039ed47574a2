"""Back to the version that was champion before."""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.errors import GateRefused, NotFoundError, StorageError
from rlbake.registry.aliases import move_champion, read_aliases
from rlbake.registry.promote import Promotion
from rlbake.registry.versions import resolve
from rlbake.tracking.runs import StageRun


def rollback(name: str, *, run: StageRun, dry_run: bool = False) -> Promotion:
    """Makes the version `previous` champion again, without asking the gate, which it once passed.

    `previous` then is what that version had itself replaced, so rolling back again goes one further
    back in time and never forward to a version that was given up. Where there is none, or it was
    given up itself, the alias goes, and rolling back once more is an error that says so.

    Args:
        name: registered model.
        run: that records it.
        dry_run: move and tag nothing.

    Raises:
        NotFoundError: there is no version to go back to.
        GateRefused: the gate never judged that version.
        StorageError: the registry does not answer, or aliases changed meanwhile.
    """
    aliases = read_aliases(name)
    if aliases.previous is None or aliases.previous == aliases.champion:
        current = f"its champion is version {aliases.champion}" if aliases.champion else "it has no champion"
        raise NotFoundError(
            f"{name} has no version to go back to; {current}. Promote a version by its number instead "
            "(-P version=3), which the gate judges."
        )
    back, given_up = resolve(aliases.previous, name=name), aliases.champion
    promotion = Promotion(back, given_up, (), (), forced=False, moved=not dry_run)
    tags = _tags(name, aliases.previous)
    if v.TAG_GATE_RUN not in tags:
        raise GateRefused(
            f"{back.policy_version} bears the alias previous, but the gate never judged it. Promote it by its number: "
            f"-P version={aliases.previous}."
        )
    if dry_run:
        return promotion
    recorded = {aliases.previous: {v.TAG_ROLLED_BACK_FROM: given_up or ""}}
    if given_up is not None:
        recorded[given_up] = {v.TAG_ROLLED_BACK: run.run_id}
    earlier = _earlier(name, aliases.previous, {aliases.previous, given_up})
    move_champion(name, aliases.previous, expected=aliases, previous=earlier, tags=recorded)
    run.tag({v.TAG_ROLLED_BACK_FROM: f"{name}/{given_up}"})
    return promotion


def _earlier(name: str, version: str, seen: set[str | None]) -> str | None:
    """The version that a version had replaced, or that one's, if it is still there and was not given up."""
    replaced = _tags(name, version).get(v.TAG_REPLACED)
    while replaced is not None and replaced not in seen:
        seen.add(replaced)
        try:
            tags = _tags(name, replaced)
        except NotFoundError:
            return None
        if v.TAG_ROLLED_BACK not in tags:
            return replaced
        replaced = tags.get(v.TAG_REPLACED)
    return None


def _tags(name: str, version: str) -> dict[str, str]:
    resolve(version, name=name)
    try:
        return dict(MlflowClient().get_model_version(name, version).tags)
    except MlflowException as error:
        raise StorageError(f"the tags of {name}/{version} cannot be read: {error}") from error
