"""Scoring: the exported policy's own decisions, made on Spark, logged and repeatable."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import functions as F

from rlbake import vocabulary as v
from rlbake.errors import ConfigError, DataError, NotFoundError, SpecError
from rlbake.policies.exploration import Exploration
from rlbake.policies.saved import SavedPolicy
from rlbake.scoring.score import decision_id, noise, score
from rlbake.specs import Binary, Category, Continuous, Discrete, Number
from rlbake.warehouse.table import Table
from tests.scoring.conftest import ACTION, DAY, NEXT_DAY, OBSERVATION, ROWS, VERSION, players

FEATURES = [feature.name for feature in OBSERVATION]


@pytest.fixture(scope="module")
def scored(spark, policy_dir, tmp_path_factory) -> pd.DataFrame:
    """The masked population, scored while exploring, with its noise; sorted by player."""
    table = Table(str(tmp_path_factory.mktemp("scored") / "scores"))
    result = score(
        players(spark),
        keys=("player_id",),
        observation=OBSERVATION,
        action=ACTION,
        policy_dir=policy_dir,
        policy_version=VERSION,
        window=DAY,
        exploration=Exploration(temperature=0.05),
        seed=3,
        output=table,
        unscored=Table(f"{table.uri}_unscored"),
        run_id="run",
    )
    assert result.rows == ROWS
    rows = table.read(spark, windows=[DAY.ds]).withColumn("noise", noise(("player_id",), DAY, 3))
    return rows.select("*", f"{v.OBSERVATION}.*").toPandas().sort_values("player_id", ignore_index=True)


def masks(frame: pd.DataFrame) -> np.ndarray:
    return np.array([[True] * 3 if mask is None else list(mask) for mask in frame[v.ACTION_MASK]])


def test_it_decides_as_the_policy_does_in_process(scored, policy_dir):
    policy = SavedPolicy(policy_dir, VERSION, explore=True, temperature=0.05)
    expected = policy.decide(
        {name: scored[name].to_numpy() for name in FEATURES}, scored["noise"].to_numpy(), masks(scored)
    )
    np.testing.assert_array_equal(scored[v.ACTION_INDEX], expected.action)
    np.testing.assert_allclose(scored[v.LOG_PROBABILITY], expected.log_probability, rtol=1e-5)
    assert len(set(np.round(scored[v.LOG_PROBABILITY], 3))) > 100  # the policy is not trivial


def test_a_row_holds_all_that_is_needed_to_learn_from_it(scored):
    assert scored.player_id.tolist() == list(range(ROWS))
    assert scored[v.ENV_ID].tolist() == [str(n) for n in range(ROWS)]
    assert scored[v.ACTION].tolist() == [ACTION.names[i] for i in scored[v.ACTION_INDEX]]
    assert (scored[v.TIMESTAMP] == datetime(2026, 1, 6)).all()  # all of the window's day was known
    assert (scored[v.DS] == DAY.ds).all()
    assert (scored[v.POLICY_VERSION] == VERSION).all()
    assert scored[v.DECISION_ID].str.fullmatch("[0-9A-F]{32}").all()
    assert scored[v.DECISION_ID].is_unique
    assert (scored[v.ACTION_MASK].isna() == (scored.player_id % 5 == 0)).all()
    assert [scored[v.OBSERVATION][0][name] for name in FEATURES] == [scored[name][0] for name in FEATURES]


def test_masked_actions_are_never_chosen(scored):
    chosen = masks(scored)[np.arange(ROWS), scored[v.ACTION_INDEX]]
    assert chosen.all()
    assert not masks(scored).all()


def test_actions_are_as_frequent_as_their_logged_probability_says(scored, policy_dir):
    policy = SavedPolicy(policy_dir, VERSION, explore=True, temperature=0.05)
    probabilities = policy.probabilities({name: scored[name].to_numpy() for name in FEATURES}, masks(scored))
    counts = np.bincount(scored[v.ACTION_INDEX], minlength=3)
    deviation = np.sqrt((probabilities * (1 - probabilities)).sum(axis=0))
    assert (np.abs(counts - probabilities.sum(axis=0)) < 4 * deviation).all()
    # An inverse propensity is on average the number of actions it could have been.
    inverse = np.exp(-scored[v.LOG_PROBABILITY].to_numpy(np.float64))
    assert abs(inverse.mean() - masks(scored).sum(axis=1).mean()) < 4 * inverse.std() / np.sqrt(ROWS)


def test_noise_is_uniform_and_depends_on_the_seed_and_the_window(spark, scored):
    drawn = scored["noise"].to_numpy()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    assert ((counts - ROWS / 20) ** 2 / (ROWS / 20)).sum() < 43.8  # chi-squared, 19 degrees of freedom, p = 0.001
    others = spark.range(ROWS).select(
        noise(("id",), DAY, 3).alias("same"),
        noise(("id",), DAY, 4).alias("seed"),
        noise(("id",), NEXT_DAY, 3).alias("window"),
    )
    other = others.toPandas()
    np.testing.assert_array_equal(other["same"], drawn)
    for changed in ("seed", "window"):
        assert abs(np.corrcoef(other[changed], drawn)[0, 1]) < 4 / np.sqrt(ROWS)


def test_a_rerun_makes_no_new_version_however_the_population_is_partitioned(run, spark):
    first = run(players(spark, 7000, partitions=1))
    again = run(players(spark, 7000, partitions=5).orderBy(F.rand(1)), run_id="another run")
    assert first.commit.changed
    assert not again.commit.changed
    assert again.commit.content == first.commit.content
    assert again.commit.version == first.commit.version


def test_a_decision_made_again_has_the_same_name_and_another_one_another(spark):
    frame = spark.createDataFrame([("x", "a"), ("xa", "")], "first string, second string")
    keys = ("first", "second")
    names = frame.select(
        decision_id(keys, DAY, VERSION),
        decision_id(keys, DAY, VERSION),
        decision_id(keys, NEXT_DAY, VERSION),
        decision_id(keys, DAY, "main.rl.players/8"),
    ).collect()
    assert all(row[0] == row[1] for row in names)
    assert len({name for row in names for name in row}) == 6


def test_another_window_is_added_and_another_seed_replaces(run, spark, tmp_path):
    run()
    run(window=NEXT_DAY)
    replaced = run(seed=4)
    table = Table(str(tmp_path / "scores"))
    assert table.windows() == [DAY.ds, NEXT_DAY.ds]
    assert replaced.commit.changed
    assert table.read(spark).count() == 100


def test_without_exploration_the_best_allowed_action_is_certain(run, spark, policy_dir, tmp_path):
    run(players(spark, 500), exploration=Exploration(explore=False))
    rows = Table(str(tmp_path / "scores")).read(spark).select("*", f"{v.OBSERVATION}.*").toPandas()
    values = SavedPolicy(policy_dir, VERSION).values({name: rows[name].to_numpy() for name in FEATURES})
    best = np.where(masks(rows), values, -np.inf).argmax(axis=1)
    np.testing.assert_array_equal(rows[v.ACTION_INDEX], best)
    assert (rows[v.LOG_PROBABILITY] == 0).all()


def test_several_keys_stay_columns_and_make_one_environment(run, spark, tmp_path):
    matches = players(spark, 10).drop(v.ACTION_MASK).withColumn("match", F.concat(F.lit("m|"), "player_id"))
    run(matches, keys=("player_id", "match"))
    row = Table(str(tmp_path / "scores")).read(spark).where("player_id = 4").first()
    assert (row["match"], row[v.ENV_ID], row[v.ACTION_MASK]) == ("m|4", r"4|m\|4", None)


def test_a_policy_may_read_fewer_features_than_there_are(run, spark, tmp_path):
    seen = (Number("age"), *OBSERVATION)
    run(players(spark, 30).withColumn("age", F.lit(30)), observation=seen)
    row = Table(str(tmp_path / "scores")).read(spark).first()
    assert row[v.OBSERVATION]["age"] == 30


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda p: p.where(F.lit(False)), "population: nobody is in it at 2026-01-05"),
        (lambda p: p.drop("payer"), "population: 'payer' is missing"),
        (lambda p: p.withColumn("payer", F.lit("yes")), "population: column 'payer' is STRING"),
        (lambda p: p.select("*", F.lit(1).alias("level")), "population: it has two columns named 'level'"),
    ],
)
def test_what_is_no_population_is_refused(run, spark, tmp_path, change, says):
    with pytest.raises(DataError, match=says):
        run(change(players(spark, 50)))
    assert not Table(str(tmp_path / "scores")).exists()
    assert not Table(str(tmp_path / "unscored")).exists()


def test_a_number_far_beyond_what_was_seen_is_decided_on(run, spark):
    assert run(players(spark, 50).withColumn("spend", F.lit(3e38))).rows == 50


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"action": Continuous([0], [1], ["price"])}, SpecError, r"night instead of price in \[0, 1\]\. Train"),
        ({"action": Discrete(["a", "b"])}, SpecError, "morning, noon, night instead of a, b"),
        ({"observation": OBSERVATION[1:]}, SpecError, r"reads features .* not have: level \(Number\)"),
        ({"observation": (Binary("level"), *OBSERVATION[1:])}, SpecError, r"level \(Number\).*level \(Binary\)"),
        ({"observation": (Number("level", optional=True), *OBSERVATION[1:])}, SpecError, r"never missing.*: level\."),
        ({"keys": (v.ENV_ID,)}, SpecError, "key 'env_id': scores have a column of this name"),
        ({"exploration": Exploration(temperature=-1.0)}, ConfigError, "temperature -1.0"),
        ({"exploration": Exploration(temperature=float("nan"))}, ConfigError, "temperature nan"),
        ({"exploration": Exploration(epsilon=-0.5)}, ConfigError, r"epsilon -0.5 must be in \[0, 1\], or -1"),
        ({"exploration": Exploration(floor=float("nan"))}, ConfigError, "floor nan"),
        ({"policy_dir": "nowhere"}, NotFoundError, "there is no policy in nowhere"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(run, changed, error, says):
    with pytest.raises(error, match=says):
        run(**changed)


def test_a_category_that_the_policy_has_not_seen_is_no_mistake(run, spark):
    seen = (*OBSERVATION[:3], Category("country", ["US", "DE", "JP", "BR"]))
    result = run(players(spark, 20).withColumn("country", F.lit("BR")), observation=seen)
    assert result.rows == 20


def test_no_dictionary_is_tried_for_what_never_repeats(run, tmp_path):
    run()
    encodings: dict[str, set[str]] = {}
    for file in (tmp_path / "scores").glob("ds=*/*/*.parquet"):
        group = pq.ParquetFile(file).metadata.row_group(0)
        for column in map(group.column, range(group.num_columns)):
            encodings.setdefault(column.path_in_schema, set()).update(column.encodings)
    plain = {name for name, of in encodings.items() if not any("DICTIONARY" in encoding for encoding in of)}
    assert plain >= {"player_id", v.ENV_ID, v.DECISION_ID}
    assert not {v.ACTION, v.POLICY_VERSION} & plain
