# Databricks notebook source
# MAGIC %md
# MAGIC # Tune before anybody meets the agent
# MAGIC
# MAGIC Nobody has a simulator of real users. But simple scenarios in which the best outcome is known exactly show
# MAGIC whether an agent learns what it should, and how soon. Here a sweep looks for the hyperparameters under which it
# MAGIC does: a population lives with the agent window after window, as users would, and every trial is a run.
# MAGIC
# MAGIC With `PARALLELISM` above 1 the trials are Spark tasks, so the cluster's size is how many run at once.

# COMMAND ----------

import logging
import os

import matplotlib.pyplot as plt
import mlflow
import pandas as pd

from rlbake.period.tune import tune
from rlbake.period.tuning import tuning_of

logging.basicConfig(format="%(message)s")
logging.getLogger("rlbake").setLevel(logging.INFO)

SCENARIOS = os.environ.get("RLBAKE_SCENARIOS", "message_timing,level_difficulty,sparse_reward")
PARALLELISM = int(os.environ.get("RLBAKE_PARALLELISM", "4"))
TRIALS = int(os.environ.get("RLBAKE_TRIALS", "30"))
HYPERPARAMETERS = os.environ.get("RLBAKE_SET", "steps=3000")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Search
# MAGIC
# MAGIC The space is the one that rlbake brings for double DQN; `space="my_space.yaml"` names another. Hopeless trials
# MAGIC are stopped, failed ones are recorded, and a sweep that was cut short goes on where it was.

# COMMAND ----------

tuning = tuning_of(
    scenarios=SCENARIOS,
    set=HYPERPARAMETERS,
    max_evals=TRIALS,
    parallelism=PARALLELISM,
    cycles=int(os.environ.get("RLBAKE_CYCLES", "4")),
    rows=int(os.environ.get("RLBAKE_ROWS", "10000")),
    held_out=int(os.environ.get("RLBAKE_HELD_OUT", "3")),
)
tuned = tune(tuning)

# COMMAND ----------

# MAGIC %md
# MAGIC ## What came out
# MAGIC
# MAGIC The trials from best to worst, the learning curves, and what the scores depend on. The run holds interactive
# MAGIC pages of the same, and `best.yaml`, which `train` takes as its configuration.

# COMMAND ----------

scores = {trial.name: trial.outcome.score for trial in tuned.trials if trial.outcome}
trials = pd.DataFrame(
    {"trial": trial.name, "status": trial.status, "score": scores.get(trial.name), **trial.point}
    for trial in tuned.trials
).sort_values("score", ascending=False)
trials.head(10)

# COMMAND ----------

figure, axes = plt.subplots(figsize=(7, 4))
for trial in tuned.trials:
    if trial.outcome:
        curve, best = trial.outcome.learning_curve, trial == tuned.best
        axes.plot(
            range(1, len(curve) + 1), curve, marker=".", color="#0072B2" if best else "#bbbbbb", zorder=2 + best,
            linewidth=2.5 if best else 1,
        )  # fmt: skip
axes.set(xlabel="cycles", ylabel="mean score", title="Learning curves; the best trial in blue")
figure.savefig("tune_curves.png", dpi=150)

# COMMAND ----------

pd.DataFrame(vars(one) for one in tuned.importance)

# COMMAND ----------

# MAGIC %md
# MAGIC `mlflow run . -e train -P config=runs:/<run id>/best.yaml` trains with the best configuration. The log above
# MAGIC says whether it is better than the defaults on populations that no trial has seen.

# COMMAND ----------

mlflow.artifacts.load_text(f"runs:/{tuned.run_id}/best.yaml")
