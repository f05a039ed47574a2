"""The promote entry point: exit codes, what is printed, and what the runs and the registry say afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from entry_points import terminal
from entry_points.promote import command
from rlbake import vocabulary as v
from rlbake.evaluation.evaluation import CHAMPION
from rlbake.registry.versions import ResolvedModel
from tests.registry.conftest import (  # noqa: F401 (fixtures)
    NAME,
    Register,
    aliases,
    around,
    champion,
    evaluate,
    registered,
    store_with_champion,
    tags,
)

DEMO = """
import rlbake

class Demo(rlbake.Application):
    name = "demo"
    keys = ("player",)
    cadence = rlbake.Cadence(start="2026-01-01")
    observation = (rlbake.Number("x"), rlbake.Number("y"))
    action = rlbake.Discrete(["a", "b"])
    metrics = ("click", "unsubscribe")
    reward = {"click": 1.0}
    gate = {"margin": 0.01}
"""


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    printed: str
    run: Run


Enter = Callable[..., Outcome]


@pytest.fixture
def enter(
    tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Enter:
    """Promotes in this process, as the command line does."""
    (tmp_path / "demo.py").write_text(DEMO)

    def call(**parameters: object) -> Outcome:
        given = {"application": "demo.py:Demo", "date": "2026-01-31", **parameters}
        monkeypatch.setattr(sys, "argv", ["promote", *(s for k, x in given.items() for s in (f"--{k}", str(x)))])
        capfd.readouterr()
        code = 0
        try:
            terminal.run(command)
        except SystemExit as end:
            code = int(end.code or 0)
        (run,) = mlflow.search_runs(
            search_all_experiments=True, filter_string=f"tags.`{v.TAG_STAGE}` = 'promote'",
            order_by=["start_time DESC"], max_results=1, output_format="list",
        )  # fmt: skip
        return Outcome(code, "".join(capfd.readouterr()), run)

    return call


def test_a_refusal_fails_the_run_and_a_dry_one_does_not(
    champion: ResolvedModel, registered: Register, enter: Enter  # noqa: F811
) -> None:  # fmt: skip
    evaluate(registered(), differences={CHAMPION: around(0.0199)})
    tried = enter(dry_run="true")
    assert (tried.exit_code, tried.run.info.status) == (0, "FINISHED"), tried.printed
    assert "Dry run, nothing has moved. main.rl.demo/2 would be refused: main.rl.demo/2 earns +0.0199" in tried.printed
    assert "below the margin 0.01." in tried.printed
    assert tags("2") == {}

    refused = enter()
    assert (refused.exit_code, refused.run.info.status) == (1, "FAILED")
    assert "gate/better FAILED: main.rl.demo/2 earns" in refused.printed
    assert refused.run.data.tags[v.TAG_FAILURE].startswith(
        "main.rl.demo/2 does not become champion: main.rl.demo/2 earns"
    )
    assert refused.run.data.params["cfg.gate.margin"] == "0.01"
    assert aliases() == {v.CHAMPION: "1", v.CHALLENGER: "2"}

    wanted = enter(margin="0.005", dry_run="true")
    assert "main.rl.demo/2 would become champion. It replaces version 1." in wanted.printed
    assert aliases() == {v.CHAMPION: "1", v.CHALLENGER: "2"}


def test_the_users_file_has_the_last_word_but_for_the_margin(
    champion: ResolvedModel, registered: Register, enter: Enter, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    evaluate(registered())
    (tmp_path / "mine.yaml").write_text("max_flips: 0.1\nmargin: 0.5\n")
    refused = enter(gate="mine.yaml", margin="0")
    assert refused.exit_code == 1
    assert "more than the budget 0.1" in refused.printed
    assert refused.run.data.metrics["gate/better"] == 1
    (tmp_path / "mine.yaml").write_text("max_flip: 0.1\n")
    unknown = enter(gate="mine.yaml")
    assert unknown.exit_code == 1
    assert "gate mine.yaml: max_flip = 0.1: there is no such rule. Did you mean 'max_flips'" in unknown.printed


def test_forward_and_back(champion: ResolvedModel, registered: Register, enter: Enter) -> None:  # noqa: F811
    evaluate(registered())
    done = enter()
    assert (done.exit_code, done.run.info.status) == (0, "FINISHED"), done.printed
    assert "main.rl.demo/2 is champion. It replaces version 1." in done.printed
    assert aliases() == {v.CHAMPION: "2", v.PREVIOUS: "1"}

    back = enter(version="previous")
    assert back.exit_code == 0, back.printed
    assert "ROLLED BACK from version 2: main.rl.demo/1 is champion again." in back.printed
    assert back.run.data.tags[v.TAG_ROLLED_BACK_FROM] == "main.rl.demo/2"
    assert aliases() == {v.CHAMPION: "1"}

    again = enter(version="previous")
    assert (again.exit_code, again.run.info.status) == (1, "FAILED")
    assert "has no version to go back to" in again.run.data.tags[v.TAG_FAILURE]
    assert aliases() == {v.CHAMPION: "1"}


def test_from_dev_to_prod(champion: ResolvedModel, enter: Enter) -> None:  # noqa: F811
    prod = {"source": f"models:/{NAME}@champion", "name": "prod.rl.demo"}
    tried = enter(**prod, dry_run="true")
    assert "main.rl.demo/1 would become champion." in tried.printed
    done = enter(**prod)
    assert done.exit_code == 0, done.printed
    assert f"models:/{NAME}@champion is prod.rl.demo/1 now." in done.printed
    assert aliases("prod.rl.demo") == {v.CHAMPION: "1"}
    assert tags("1", "prod.rl.demo")[v.TAG_COPIED_FROM] == "main.rl.demo/1"
    assert "champion already" in enter(**prod).printed
    wrong = enter(source=f"models:/{NAME}/1", version="previous")
    assert (wrong.exit_code, "cannot go together" in wrong.printed) == (1, True)
