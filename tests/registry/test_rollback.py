"""Back to the version before, and never forward again by accident."""

from __future__ import annotations

import mlflow
import pytest
from mlflow.tracking import MlflowClient

import rlbake.registry.rollback as module
from rlbake import vocabulary as v
from rlbake.errors import GateRefused, NotFoundError, StorageError
from rlbake.registry.promote import Promotion, champion_of
from rlbake.registry.rollback import rollback
from rlbake.registry.versions import ResolvedModel, resolve
from rlbake.tracking.runs import stage_run
from rlbake.tracking.store import connect
from tests.registry.conftest import NAME, Register, aliases, evaluate, promoted, tags


@pytest.fixture
def three(champion: ResolvedModel, registered: Register) -> None:
    """Versions 1, 2 and 3 have been champion, one after the other."""
    for _ in range(2):
        next_one(registered)


def next_one(registered: Register) -> None:
    model = registered()
    evaluate(model)
    promoted(model)


def rolled_back(dry_run: bool = False) -> tuple[Promotion, str]:
    with stage_run("promote", application="demo") as run:
        return rollback(NAME, run=run, dry_run=dry_run), run.run_id


def test_it_goes_back_without_the_gate_and_is_recorded(three: None) -> None:
    promise = tags("2")[v.TAG_PROMISE]
    done, run_id = rolled_back()
    assert done.champion == champion_of(NAME)
    assert (done.champion.version, done.replaced, done.moved) == ("2", "3", True)
    assert aliases() == {v.CHAMPION: "2", v.PREVIOUS: "1"}
    assert tags("2")[v.TAG_ROLLED_BACK_FROM] == "3"
    assert tags("2")[v.TAG_PROMISE] == promise
    assert tags("3")[v.TAG_ROLLED_BACK] == run_id
    assert mlflow.get_run(run_id).data.tags[v.TAG_ROLLED_BACK_FROM] == "main.rl.demo/3"


def test_twice_goes_further_back_and_a_third_time_is_refused(three: None) -> None:
    rolled_back()
    assert rolled_back()[0].champion.version == "1"
    assert aliases() == {v.CHAMPION: "1"}
    with pytest.raises(NotFoundError, match=r"main.rl.demo has no version to go back to; its champion is version 1"):
        rolled_back()
    assert aliases() == {v.CHAMPION: "1"}


def test_a_version_that_was_given_up_is_never_gone_back_to(three: None, registered: Register) -> None:
    rolled_back()  # 3 is given up for 2
    next_one(registered)  # 4 replaces 2
    assert rolled_back()[0].champion.version == "2"
    assert aliases() == {v.CHAMPION: "2", v.PREVIOUS: "1"}  # neither 3 nor 4
    rolled_back()
    with pytest.raises(NotFoundError):
        rolled_back()


def test_an_old_champion_that_is_promoted_again_does_not_flip_with_the_one_it_replaced(three: None) -> None:
    evaluate(resolve("1", name=NAME))
    promoted(resolve("1", name=NAME))
    assert aliases() == {v.CHAMPION: "1", v.PREVIOUS: "3"}
    rolled_back()
    assert aliases() == {v.CHAMPION: "3", v.PREVIOUS: "2"}
    rolled_back()
    assert aliases() == {v.CHAMPION: "2"}  # which had replaced 1, and that was given up


def test_the_gate_can_bring_a_given_up_version_back(three: None) -> None:
    rolled_back()
    evaluate(resolve("3", name=NAME))
    promoted(resolve("3", name=NAME))
    assert aliases() == {v.CHAMPION: "3", v.PREVIOUS: "2"}
    assert v.TAG_ROLLED_BACK not in tags("3")


def test_a_dry_run_moves_nothing(three: None) -> None:
    before = aliases(), tags("2"), tags("3")
    done, _ = rolled_back(dry_run=True)
    assert (done.champion.version, done.moved) == ("2", False)
    assert (aliases(), tags("2"), tags("3")) == before


def test_what_the_gate_never_saw_is_not_gone_back_to(champion: ResolvedModel, registered: Register) -> None:
    registered()
    MlflowClient().set_registered_model_alias(NAME, v.PREVIOUS, "2")
    with pytest.raises(GateRefused, match=r"main.rl.demo/2 bears the alias previous, but the gate never judged it"):
        rolled_back()


def test_aliases_that_change_meanwhile_stop_it(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = module._earlier

    def slowly(*arguments: object) -> str | None:
        MlflowClient().set_registered_model_alias(NAME, v.CHAMPION, "1")
        return earlier(*arguments)

    monkeypatch.setattr(module, "_earlier", slowly)
    with pytest.raises(StorageError, match=r"champion of main.rl.demo changed from 3 to 1"):
        rolled_back()
    assert v.TAG_ROLLED_BACK_FROM not in tags("2")


def test_nothing_is_registered(tracking_uri: str) -> None:
    connect()
    with pytest.raises(NotFoundError, match="it has no champion"):
        rolled_back()
