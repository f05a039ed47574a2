"""One decision for everybody in a population, made on Spark and logged so that it can be learned from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyspark import cloudpickle
from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F
from pyspark.sql.types import FloatType, IntegerType, StructField, StructType

from rlbake import vocabulary as v
from rlbake.cadence import Window
from rlbake.errors import DataError, SpecError
from rlbake.policies.exploration import Exploration
from rlbake.scoring import joint, worker
from rlbake.scoring.masks import never_null
from rlbake.scoring.population import checked
from rlbake.scoring.shipment import pack
from rlbake.specs import Action, Continuous, Feature, Number, to_json
from rlbake.timesteps import columns
from rlbake.timesteps.contract import Breach, as_json
from rlbake.timesteps.env_id import env_id
from rlbake.timesteps.rules import Rule
from rlbake.warehouse.content import EMPTY
from rlbake.warehouse.table import Commit, Table

cloudpickle.register_pickle_by_value(worker)  # executors have no rlbake

SCORED = (
    v.TIMESTAMP,
    v.ENV_ID,
    v.OBSERVATION,
    v.ACTION_MASK,
    v.ACTION,
    v.ACTION_INDEX,
    v.LOG_PROBABILITY,
    v.POLICY_VERSION,
    v.DECISION_ID,
)
"""Columns of the table `scores`, which follow the key columns; `ds` is the last.

The types of the two that say what was decided are the action's: see `rlbake.vocabulary`.
"""

_KEY, _REFUSED = "key_{}", "_refused"

UNDECIDED = Rule(
    "undecided",
    "row that the policy has no finite action values for",
    "its numbers",
    None,
    None,
    "A number may lie far outside of what it was trained on: give the Number a low and a high. If all is as it should "
    "be, train a new model.",
)


@dataclass(frozen=True)
class ScoreResult:
    """What scoring did.

    Attributes:
        rows: decisions, one for each environment that could be decided on.
        rejected: rows of the population that could not.
        breaches: why; the rules that most of them break come first.
        commit: to the table; not `changed` if the table held just these decisions.
    """

    rows: int
    rejected: int
    breaches: tuple[Breach, ...]
    commit: Commit


def score(
    population: DataFrame,
    *,
    keys: Sequence[str],
    observation: Sequence[Feature],
    action: Action,
    policy_dir: str | Path,
    policy_version: str,
    window: Window,
    exploration: Exploration,
    seed: int,
    output: Table,
    unscored: Table,
    run_id: str,
) -> ScoreResult:
    """Decides for everybody in a population as seen at the end of a window, and makes the table hold just that.

    The same input gives the same decisions, however it is partitioned, and no new table version. Rows that cannot be
    decided on go to another table, which is written first: a call that was cut short is made good by another.

    Args:
        population: the keys, one column per feature, optionally `action_mask`.
        policy_dir: local folder with `saved_model/` and `policy.json`.
        policy_version: who decides, as logged.
        window: the window of both tables that is replaced; the decisions' timestamp is its end.
        exploration: of the decisions.
        seed: of the noise that actions are drawn with.
        unscored: what could not be decided on, as the quarantine of timesteps has it.
        run_id: MLflow run that scores.

    Raises:
        DataError: the population is empty, lacks a column or has one of a wrong type, or nobody in it can be
            decided on.
        SpecError: the policy is for other features or actions, or a key has the name of one of the table's
            own columns.
        NotFoundError: there is no policy in the folder.
        ConfigError: the exploration is out of range, or not of such actions.
        StorageError: the table cannot be written to.
    """
    policy = pack(policy_dir, observation=observation, action=action, exploration=exploration)
    if v.ACTION_MASK not in population.columns:
        exploration.refuse_floor(policy.actions)
    taken = [key for key in keys if key in (*SCORED, v.DS)]
    if taken:
        raise SpecError(f"key {taken[0]!r}: scores have a column of this name. Rename the key.")
    specs: dict[str, Any] = {"keys": keys, "observation": observation, "action": action, "window": window}
    with checked(population, **specs, floor=exploration.floor) as known:
        rows = decide(known.rows, **specs, policy=policy, policy_version=policy_version, seed=seed)
        refusals = Observation()
        observed = rows.observe(refusals, F.count_if(F.col(v.ACTION).isNull()).alias(_REFUSED))
        breaches = list(known.breaches)

        def judge() -> None:
            refused = refusals.get[_REFUSED] if known.left else 0
            rejected = known.rejected
            if refused:
                without = _undecided(rows, keys, observation)
                breaches.append(Breach(UNDECIDED, refused, _shown(without)))
                rejected = rejected.unionByName(without)
            _replace(unscored, rejected, window, run_id, bool(breaches))
            if refused == known.left:
                said = " Also: ".join(breach.described(known.rows_in) for breach in breaches)
                raise DataError(f"population: nobody can be decided on. {said} All are in {unscored.uri}, ds={window}.")

        if not known.left:
            judge()
        commit = output.replace_window(
            observed.where(F.col(v.ACTION).isNotNull()),
            window.ds,
            run_id=run_id,
            config_digest=_digest(observation, action, policy_version, exploration, seed),
            before_commit=judge,
            unrepeated=unrepeated(keys),
        )
    return ScoreResult(commit.rows, sum(breach.count for breach in breaches), tuple(breaches), commit)


def unrepeated(keys: Sequence[str]) -> list[str]:
    """The columns of a window's scores in which no value comes twice; of several keys each may repeat."""
    return [*(keys if len(keys) == 1 else ()), v.ENV_ID, v.DECISION_ID]


def _replace(unscored: Table, rejected: DataFrame, window: Window, run_id: str, any_: bool) -> None:
    """Makes the table hold the window's rejected rows, and no others."""
    held = unscored.exists() and window.ds in unscored.windows() and unscored.contents([window.ds])[window.ds] != EMPTY
    if any_ or held:
        unscored.replace_window(rejected, window.ds, run_id=run_id, config_digest="")


def _undecided(rows: DataFrame, keys: Sequence[str], observation: Sequence[Feature]) -> DataFrame:
    """The rows without a decision, as the quarantine has them; the value is the number of largest magnitude."""
    seen = F.col(v.OBSERVATION)
    numbers = [feature.name for feature in observation if isinstance(feature, Number)]
    sizes = [F.struct(F.abs(seen[name]), F.concat(F.lit(f"{name}: "), seen[name].cast("string"))) for name in numbers]
    largest = F.array_max(F.array(*sizes))["col2"] if numbers else F.lit(None).cast("string")
    whole = F.struct(*(F.col(f"`{key}`") for key in keys), f"{v.OBSERVATION}.*", v.ACTION_MASK)
    return rows.where(F.col(v.ACTION).isNull()).select(
        v.ENV_ID,
        v.TIMESTAMP,
        F.lit(UNDECIDED.name).alias(v.RULE),
        F.lit(UNDECIDED.where).alias(v.COLUMN),
        largest.alias(v.VALUE),
        as_json(whole).alias(v.ROW),
    )


def _shown(rejected: DataFrame) -> tuple[str, ...]:
    first = rejected.select(v.ENV_ID, v.VALUE).orderBy(v.ENV_ID).limit(5).collect()
    return tuple(row[v.ENV_ID] if row[v.VALUE] is None else f"{row[v.ENV_ID]}: {row[v.VALUE]}" for row in first)


def _digest(
    observation: Sequence[Feature], action: Action, policy_version: str, exploration: Exploration, seed: int
) -> str:
    """Of all but the population that decides what is decided: 32 hex digits."""
    specs = [to_json(feature) for feature in observation], to_json(action)
    decisive = json.dumps([*specs, policy_version, asdict(exploration), seed], sort_keys=True)
    return hashlib.sha256(decisive.encode()).hexdigest()[:32]


def decide(
    population: DataFrame,
    *,
    keys: Sequence[str],
    observation: Sequence[Feature],
    action: Action,
    policy: worker.Policy,
    policy_version: str,
    window: Window,
    seed: int,
) -> DataFrame:
    """A checked population → the keys and the columns of `SCORED`, one row each. Lazy."""
    decided = _in_worker(population, keys, observation, policy, noise(keys, window, seed))
    passed = [_KEY.format(n) for n in range(len(keys))]
    scored = {
        v.TIMESTAMP: F.lit(window.end),
        v.ENV_ID: env_id(passed),
        v.OBSERVATION: F.struct(*(F.col(worker.FEATURE.format(n)).alias(f.name) for n, f in enumerate(observation))),
        v.ACTION_MASK: _mask(decided),
        **_chosen(action, policy),
        v.LOG_PROBABILITY: F.col(worker.LOG_PROBABILITY),
        v.POLICY_VERSION: F.lit(policy_version),
        v.DECISION_ID: decision_id(passed, window, policy_version),
    }
    return decided.select(
        *(F.col(name).alias(key) for name, key in zip(passed, keys, strict=True)),
        *(scored[name].alias(name) for name in SCORED),
    )


def _chosen(action: Action, policy: worker.Policy) -> dict[str, Column]:
    """What was decided: `action` and `action_index`, NULL where the policy refused."""
    decided = [F.col(name) for name in worker.decision(policy)]
    if isinstance(action, Continuous):
        numbers = F.when(decided[0].isNotNull(), F.array(*decided))
        return {v.ACTION: numbers, v.ACTION_INDEX: F.lit(None).cast("int")}
    return {v.ACTION: joint.names(decided[0], action), v.ACTION_INDEX: joint.indices(decided[0], action)}


def _mask(decided: DataFrame) -> Column:
    """As it was given, NULL where it was."""
    if worker.ACTION_MASK not in decided.columns:
        return F.lit(None).cast("array<boolean>")
    return F.when(F.size(worker.ACTION_MASK) > 0, F.col(worker.ACTION_MASK))


def noise(keys: Sequence[str], window: Window, seed: int) -> Column:
    """Uniform in [0, 1), a function of the environment, the window and the seed: the top 53 bits of a 64-bit hash."""
    hash_ = F.xxhash64(env_id(keys), F.lit(window.ds), F.lit(seed).cast("long"))
    return F.shiftrightunsigned(hash_, 11).cast("double") * F.lit(2.0**-53)


def decision_id(keys: Sequence[str], window: Window, policy_version: str) -> Column:
    """32 hexadecimal digits: two hashes of policy version, `ds` and environment, with the top bit of each set.

    So every hash has 16 digits, and no string is padded for every row.
    """
    decision = F.lit(policy_version), F.lit(window.ds), env_id(keys)
    hashes = (F.xxhash64(F.lit(salt), *decision).bitwiseOR(F.lit(-(2**63))) for salt in (0, 1))
    return F.concat(*map(F.hex, hashes))


def _in_worker(
    population: DataFrame, keys: Sequence[str], observation: Sequence[Feature], policy: worker.Policy, noise: Column
) -> DataFrame:
    """The population and its decisions, in the worker's own column names; what is flat crosses to Python cheaply."""
    flat = population.select(
        *(F.col(f"`{key}`").alias(_KEY.format(n)) for n, key in enumerate(keys)),
        *(columns.feature(f).alias(worker.FEATURE.format(n)) for n, f in enumerate(observation)),
        *([never_null(v.ACTION_MASK).alias(worker.ACTION_MASK)] if v.ACTION_MASK in population.columns else []),
        noise.alias(worker.NOISE),
    )
    kept = [field for field in flat.schema.fields if field.name != worker.NOISE]
    type_ = FloatType() if policy.numbers else IntegerType()
    decided = [StructField(name, type_) for name in worker.decision(policy)]
    returned = StructType([*kept, *decided, StructField(worker.LOG_PROBABILITY, FloatType())])
    return flat.mapInArrow(worker.decider(policy), returned)
