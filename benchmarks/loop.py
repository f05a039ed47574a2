"""The loop, for real: players talk HTTP to a server, and every night `main` learns from what it remembered.

python -m benchmarks.loop [--application message_timing] [--application level_difficulty] [--days 15]

A simulated day after the other: the scenario's players ask a real `serve` process for decisions, act on them, and
tell it what followed; at night `main` runs on the experience log alone. If the gate lets the new version pass, the
alias moves, and the server swaps by itself. Until there is a first champion, chance decides, and remembers it in the
same log. Writes <out>/loop.csv, a row per day, and <out>/loop.png.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import click
import numpy as np
import pyarrow as pa
import requests
from deltalake import DeltaTable
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.live import LIVES, Answer, Day, Row
from rlbake import Application
from rlbake import vocabulary as v
from rlbake.errors import GateRefused, NotFoundError
from rlbake.experience import Decision, Experience, Outcome
from rlbake.policies.behaviour import RandomPolicy
from rlbake.quality.plots import BLUE, GREY, INK, ORANGE

if TYPE_CHECKING:
    from rlbake.period.period import Period

ROOT = Path(__file__).parents[1]
ROWS = 500  # of one request
AT_ONCE = 4  # requests
TOLD_TWICE = 10  # one request in so many is sent again, as by a client that lost the answer
GREEN = "#4c9f70"
PATIENCE = 120  # seconds for what should take a few


@dataclass(frozen=True)
class Line:
    """One day of the loop.

    Attributes:
        decided_by: version that made most of the day's decisions.
        earned: mean return.
        random, best: what chance and the best policy would have earned.
        score: (earned - random) / (best - random).
        champion: who decides the day after; "" if nobody has been promoted yet.
        promoted: whether that changed in the night.
        day_s, night_s: how long the day and its `main` took.
    """

    application: str
    ds: str
    decided_by: str
    decisions: int
    earned: float
    random: float
    best: float
    score: float
    champion: str
    promoted: bool
    day_s: float
    night_s: float


class Chance:
    """Decides at random, and remembers it as a server does: what there is before anything is learned."""

    def __init__(self, application: Application, log: str) -> None:
        self._application, self._rng = application, np.random.default_rng(0)
        self._policy = RandomPolicy(application.action)
        self._log = Experience(
            log,
            keys=application.keys,
            observation=application.observation,
            action=application.action,
            metrics=application.metrics,
        )

    def decide(self, rows: Sequence[Row]) -> list[Answer]:
        decided = self._policy.decide({}, self._rng.random(len(rows)))
        made = [
            Decision(
                decision_id=self._rng.bytes(16).hex(),
                timestamp=_instant(row),
                env_keys={key: row[key] for key in self._application.keys},
                observation={feature.name: row[feature.name] for feature in self._application.observation},
                action=action,
                action_mask=None,
                log_probability=log_probability,
                policy_version=v.RANDOM_POLICY,
            )
            for row, action, log_probability in zip(
                rows, decided.action.tolist(), decided.log_probability.tolist(), strict=True
            )
        ]
        self._log.log_decisions(made).result()
        return [Answer(decision.decision_id, int(decision.action), v.RANDOM_POLICY) for decision in made]  # type: ignore[arg-type]

    def tell(self, rows: Sequence[Row]) -> None:
        self._log.log_outcomes(
            [
                Outcome(
                    timestamp=_instant(row),
                    decision_id=row.get(v.DECISION_ID),
                    env_keys=None if v.DECISION_ID in row else {key: row[key] for key in self._application.keys},
                    metrics={metric: row[metric] for metric in self._application.metrics if metric in row},
                    end=row.get(v.END),
                    outcome_id=row[v.OUTCOME_ID],
                )
                for row in rows
            ]
        ).result()

    def remembered(self) -> None:
        """Returns once everything is in the log's tables."""
        self._log.flush()

    def close(self) -> None:
        self._log.close()


class Server:
    """A `serve` process, and a client of it."""

    def __init__(self, target: str, tables: str, model: str, log: str) -> None:
        self._log, self._decisions, self._outcomes = log, _count(log, v.DECISIONS_TABLE), _count(log, v.OUTCOMES_TABLE)
        given = {"application": target, "tables": tables, "model": model, "log": log, "port": 0, "refresh_s": 1}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "entry_points.serve", *(f"--{name}={value}" for name, value in given.items())],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        self._url = self._until(lambda: (m := re.search(r"on (http://\S+)", "".join(self._said))) and m[1])
        self._until(self._alive)
        self._clients = ThreadPoolExecutor(AT_ONCE)
        self._session = requests.Session()

    def decide(self, rows: Sequence[Row]) -> list[Answer]:
        answers = [row for part in self._clients.map(self._post("/decide"), _parts(rows)) for row in part]
        self._decisions += len(rows)
        return [Answer(row[v.DECISION_ID], row[v.ACTION_INDEX], row[v.POLICY_VERSION]) for row in answers]

    def tell(self, rows: Sequence[Row]) -> None:
        parts = _parts(rows)
        again = parts[::TOLD_TWICE]
        list(self._clients.map(self._post("/outcome"), [*parts, *again]))
        self._outcomes += sum(map(len, [*parts, *again]))

    def remembered(self) -> None:
        """Returns once every answered decision and every outcome is in the log's tables, and none twice.

        Raises:
            AssertionError: they hold more rows than that, or do not come to hold them.
        """
        for table, rows in ((v.DECISIONS_TABLE, self._decisions), (v.OUTCOMES_TABLE, self._outcomes)):
            self._until(lambda table=table, rows=rows: _count(self._log, table) >= rows)  # type: ignore[misc]
            assert _count(self._log, table) == rows, f"{table}: {_count(self._log, table)} rows instead of {rows}"

    def decides(self, version: str) -> None:
        """Returns once a version has taken over."""
        self._until(lambda: requests.get(f"{self._url}/version", timeout=PATIENCE).json()["policy_version"] == version)

    def close(self) -> None:
        self._clients.shutdown()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE)

    def _post(self, path: str) -> Callable[[Sequence[Row]], Any]:
        def post(rows: Sequence[Row]) -> Any:
            answer = self._session.post(self._url + path, json=rows, timeout=PATIENCE)
            assert answer.status_code == 200, answer.text[:2000]
            return answer.json()

        return post

    def _alive(self) -> bool:
        try:
            return requests.get(f"{self._url}/ready", timeout=PATIENCE).status_code == 200
        except requests.ConnectionError:
            return False

    def _listen(self) -> None:
        assert self._process.stderr is not None
        self._said.extend(self._process.stderr)

    def _until(self, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            if found := condition():
                return found
            time.sleep(0.1)
        raise AssertionError(f"it never came true. The server said: {''.join(self._said)[-2000:]}")


class Loop:
    """One application from its first day on: `day` and `night` in turn.

    Args:
        name: one of `LIVES`.
        players: how many; 0: as many as the scenario has.
        folder: for tables, log and models.
        set_: what the training does otherwise.

    Attributes:
        period: of the day that is lived.
        champion: who decides, `name/version`; "" for chance.
    """

    def __init__(self, name: str, players: int, seed: int, folder: str, set_: str = "") -> None:
        from rlbake.period import open_period

        self._application, population = LIVES[name]
        self._set = set_
        self.period = open_period(
            f"benchmarks.live:{self._application.__name__}",
            f"{folder}/tables",
            self._application.cadence.first.ds,
            seed,
        )
        self._first = self.period.window
        self._log = f"{self.period.folder}/{v.EXPERIENCE_LOG}"
        self.population = population(players or self._application.units, seed)
        self.champion = ""
        self._decider: Chance | Server = Chance(self.period.application, self._log)

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        self._decider.close()

    def day(self) -> Day:
        """Everybody lives a day; returns when all of it is in the log's tables."""
        lived = self.population.live(self.period.window, self._decider)
        self._decider.remembered()
        return lived

    def night(self) -> None:
        """`main` learns from the last window whose outcomes are in, and whoever is champion then decides tomorrow."""
        cadence = self._application.cadence
        complete = cadence.previous(self.period.window, self._application.nights_behind)
        if complete is not None and complete >= cadence.following(self._first, self._application.warm_up - 1):
            self.champion = _learned(self.period.at(complete), self._set)
        if self.champion and isinstance(self._decider, Chance):
            self._decider.close()
            self._decider = Server(
                self.period.target,
                self.period.application.tables,
                f"models:/{self.period.model_name}@{v.CHAMPION}",
                self._log,
            )
        if isinstance(self._decider, Server):
            self._decider.decides(self.champion)
        self.period = self.period.at(cadence.following(self.period.window))


def days(name: str, count: int, players: int, seed: int, folder: str, set_: str = "") -> Iterator[Line]:
    """The first days of an application's life; arguments as those of `Loop`."""
    with Loop(name, players, seed, folder, set_) as loop:
        for _ in range(count):
            window, before, morning = loop.period.window, loop.champion, time.monotonic()
            lived = loop.day()
            evening = time.monotonic()
            loop.night()
            chance, best = loop.population.bounds(window)
            yield Line(
                application=name,
                ds=window.ds,
                decided_by=max(lived.by, key=lambda who: lived.by[who]),
                decisions=lived.decisions,
                earned=lived.earned,
                random=chance,
                best=best,
                score=(lived.earned - chance) / (best - chance),
                champion=loop.champion,
                promoted=loop.champion != before,
                day_s=evening - morning,
                night_s=time.monotonic() - evening,
            )


def _learned(period: Period, set_: str) -> str:
    """`main` of a window; who is champion afterwards, "" if nobody."""
    from rlbake.period.main import run_period
    from rlbake.period.models import champion_of
    from rlbake.period.train import training_config

    with contextlib.suppress(GateRefused):  # the first challenger was refused: there is nobody who could score
        run_period(period, training_config(period, set_=set_))
    try:
        return champion_of(period).policy_version
    except NotFoundError:
        return ""


def draw(lines: Sequence[Line]) -> bytes:
    """A PNG: for each application the return per day between what chance and the best policy would have earned."""
    names = list(dict.fromkeys(line.application for line in lines))
    figure = Figure(figsize=(9, 3.2 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
        own = [line for line in lines if line.application == name]
        day = np.arange(1, len(own) + 1)
        axes.step(day, [line.best for line in own], color=GREEN, where="mid", linewidth=1.2, label="best possible")
        axes.step(day, [line.random for line in own], color=GREY, where="mid", linewidth=1.2, label="random")
        axes.plot(day, [line.earned for line in own], color=BLUE, marker="o", label="earned")
        for number, line in zip(day, own, strict=True):
            if line.promoted:
                axes.axvline(number + 0.5, color=ORANGE, linestyle=":", linewidth=1.2)
                version = f"v{line.champion.rpartition('/')[2]}"
                axes.annotate(version, (number + 0.5, 1), xycoords=("data", "axes fraction"), color=ORANGE, fontsize=8)
        axes.plot([], [], color=ORANGE, linestyle=":", label="new champion in the night")
        axes.set_title(name, color=INK, parse_math=False, loc="left", pad=12)
        axes.set_xticks(day)
        axes.set_xlabel("day")
        axes.set_ylabel("mean return")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    return drawn.getvalue()


def kept(path: Path) -> list[Line]:
    """The lines of an earlier run."""
    if not path.exists():
        return []
    kinds = get_type_hints(Line)
    with path.open(newline="") as file:
        return [
            Line(**{k: t == "True" if kinds[k] is bool else kinds[k](t) for k, t in row.items()})
            for row in csv.DictReader(file)
        ]


def keep(path: Path, lines: Sequence[Line]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Line)])
        writer.writeheader()
        writer.writerows(map(asdict, lines))


@click.command()
@click.option("--application", "names", multiple=True, type=click.Choice(list(LIVES)), help="All, if none is named.")
@click.option("--days", "count", default=15)
@click.option("--players", default=0, help="As many as the scenario has, if not given.")
@click.option("--seed", default=0)
@click.option("--set", "set_", default="", help="What the training does otherwise, as in `mlflow run`.")
@click.option("--out", default="docs", help="Folder for loop.csv and loop.png.")
def main(names: Sequence[str], count: int, players: int, seed: int, set_: str, out: str) -> None:
    target = Path(out).absolute()
    target.mkdir(parents=True, exist_ok=True)
    lines = kept(target / "loop.csv")
    for name in names or LIVES:
        lines = [line for line in lines if line.application != name]
        click.echo(
            f"{name}\n{'day':<12}{'decided by':<32}{'decisions':>10}{'random':>9}{'earned':>9}{'best':>9}{'score':>7}"
        )
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
            for line in days(name, count, players, seed, folder, set_):
                lines.append(line)
                keep(target / "loop.csv", lines)
                click.echo(
                    f"{line.ds:<12}{line.decided_by:<32}{line.decisions:>10,}{line.random:>9.3f}{line.earned:>9.3f}"
                    f"{line.best:>9.3f}{line.score:>7.2f}  {line.champion if line.promoted else ''}"
                    f"  (day {line.day_s:.0f} s, night {line.night_s:.0f} s)"
                )
    (target / "loop.png").write_bytes(draw(lines))


def _parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]


def _instant(row: Row) -> datetime:
    return datetime.fromisoformat(row[v.TIMESTAMP]).astimezone(UTC)


def _count(log: str, table: str) -> int:
    """Rows of a table, as its commits tell."""
    return int(
        pa.table(DeltaTable(f"{log}/{table}").get_add_actions(flatten=True)).column("num_records").to_numpy().sum()
    )


if __name__ == "__main__":
    main()
