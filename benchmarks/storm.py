"""Load on a server while its alias moves, a worker is killed, and nonsense is mixed in; what must hold all the same.

Every answered decision is in the log exactly once, every outcome that was taken too, every probability is that of
the version which says it decided, and nothing is a server error but what the killed worker left unanswered.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import psutil
import requests
from deltalake import DeltaTable
from mlflow.tracking import MlflowClient

from rlbake import vocabulary as v
from rlbake.experience.tables import TABLES
from rlbake.policies.saved import SavedPolicy

Row = dict[str, Any]

NONSENSE = (b"", b"{", b"[[[[", b"null", b'{"speed": NaN}', b'[{"action_mask": [false]}]', b"\xff")
_JSON = {"content-type": "application/json"}


@dataclass
class Seen:
    """What clients got.

    Attributes:
        answers: of decisions, each with the row that was sent.
        statuses: of all requests.
        outcomes: ids of those that were taken.
        broken: connections that ended without an answer.
        failures: bodies of server errors.
    """

    answers: list[tuple[Row, Row]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    outcomes: list[str] = field(default_factory=list)
    broken: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def by(self) -> Counter[str]:
        """Decisions by who decided."""
        return Counter(answer[v.POLICY_VERSION] for _, answer in self.answers)


def storm(
    url: str,
    rows: Sequence[Row],
    *,
    seconds: float,
    clients: int,
    supervisor: int,
    registry: MlflowClient,
    name: str,
    versions: Sequence[str],
    every_s: float,
) -> Seen:
    """Asks for decisions for so long.

    Args:
        url: of the server, of two workers or more.
        rows: to decide on; clients take any 1 to 8 of them.
        clients: at a time.
        supervisor: process whose worker is killed half-way.
        registry: whose alias `champion` of `name` moves to the next of `versions` every `every_s` seconds.
    """
    seen, over = [Seen() for _ in range(clients)], Event()
    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(_ask, url, rows, seen[number], over, number) for number in range(clients)]
        try:
            _disturb(seconds, supervisor, registry, name, versions, every_s)
        finally:
            over.set()
        for one in asking:
            one.result()
    whole = Seen()
    for part in seen:
        whole.answers += part.answers
        whole.statuses += part.statuses
        whole.outcomes += part.outcomes
        whole.broken += part.broken
        whole.failures += part.failures
    return whole


def _disturb(
    seconds: float, supervisor: int, registry: MlflowClient, name: str, versions: Sequence[str], every_s: float
) -> None:
    end, killed, moved = time.monotonic() + seconds, False, 0
    while time.monotonic() < end:
        registry.set_registered_model_alias(name, v.CHAMPION, versions[moved % len(versions)])
        moved += 1
        time.sleep(min(every_s, max(0.0, end - time.monotonic())))
        if not killed and end - time.monotonic() < seconds / 2:
            workers(supervisor)[0].send_signal(signal.SIGKILL)
            killed = True


def workers(supervisor: int) -> list[psutil.Process]:
    """The processes that answer, the oldest first."""
    children = psutil.Process(supervisor).children()
    return sorted((child for child in children if _answers(child)), key=psutil.Process.create_time)


def _answers(child: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(child.cmdline())
    except psutil.NoSuchProcess:  # it has died, and its supervisor may not have noticed
        return False


def _ask(url: str, rows: Sequence[Row], seen: Seen, over: Event, number: int) -> None:
    chance = random.Random(number)
    session = requests.Session()
    while not over.is_set():
        try:
            if chance.random() < 0.1:
                answer = session.post(f"{url}/decide", data=chance.choice(NONSENSE), headers=_JSON, timeout=60)
                seen.statuses[answer.status_code] += 1
            else:
                _one_turn(url, session, chance.choices(rows, k=chance.randint(1, 8)), seen, chance)
        except requests.ConnectionError:
            seen.broken += 1
            session = requests.Session()


def _one_turn(url: str, session: requests.Session, asked: list[Row], seen: Seen, chance: random.Random) -> None:
    """Some decisions, and what followed one of them."""
    answer = session.post(f"{url}/decide", json=asked, timeout=60)
    seen.statuses[answer.status_code] += 1
    if answer.status_code != 200:
        seen.failures.append(answer.text)
        return
    answers = answer.json()
    seen.answers += zip(asked, answers, strict=True)
    told = {v.OUTCOME_ID: f"{chance.getrandbits(128):032x}", v.DECISION_ID: answers[0][v.DECISION_ID]}
    taken = session.post(f"{url}/outcome", json={**told, v.END: v.TERMINATED}, timeout=60)
    seen.statuses[taken.status_code] += 1
    if taken.status_code == 200:
        seen.outcomes.append(told[v.OUTCOME_ID])


def faults(seen: Seen, log: Path, policies: Mapping[str, SavedPolicy]) -> list[str]:
    """What does not hold, after the server has ended; nothing if all is well.

    Args:
        log: folder of the experience log.
        policies: who decided, by version.
    """
    said = [f"status {status}: {count} times" for status, count in seen.statuses.items() if status not in (200, 422)]
    decisions, outcomes = (DeltaTable(log / table).to_pyarrow_table() for table in TABLES)
    logged = Counter(decisions[v.DECISION_ID].to_pylist())
    answered = Counter(answer[v.DECISION_ID] for _, answer in seen.answers)
    said += [
        f"decision {one} answered {n} times, logged {logged[one]}" for one, n in answered.items() if logged[one] != 1
    ]
    said += [f"decision {one} logged {n} times" for one, n in logged.items() if n > 1]
    taken = Counter(outcomes[v.OUTCOME_ID].to_pylist())
    said += [f"outcome {one} logged {taken[one]} times" for one in seen.outcomes if taken[one] != 1]
    return said + _improbable(seen, policies)


def _improbable(seen: Seen, policies: Mapping[str, SavedPolicy]) -> list[str]:
    """Decisions whose probability is not that of the version that decided."""
    said = []
    for version, policy in policies.items():
        pairs = [(row, answer) for row, answer in seen.answers if answer[v.POLICY_VERSION] == version]
        if not pairs:
            continue
        features = [feature.name for feature in policy.observation]
        observed = {name: np.array([row.get(name) for row, _ in pairs], object) for name in features}
        probabilities = policy.probabilities(observed)
        index = np.array([answer[v.ACTION_INDEX] for _, answer in pairs])
        expected = np.log(probabilities[np.arange(len(pairs)), index])
        told = np.array([answer[v.LOG_PROBABILITY] for _, answer in pairs])
        wrong = np.flatnonzero(~np.isclose(expected, told, atol=1e-4))
        said += [f"{version}: log-probability {told[n]} instead of {expected[n]}" for n in wrong[:3]]
    return said
