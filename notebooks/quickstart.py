# Databricks notebook source
# MAGIC %md
# MAGIC # From raw logs to a promoted agent
# MAGIC
# MAGIC At which hour should each player of a worldwide game get today's message? The live policy has
# MAGIC picked hours at random for three days. From what it logged we train an agent, judge it, promote it
# MAGIC if it is really better, let it decide the next days, and watch it learn from its own decisions.
# MAGIC
# MAGIC The players are simulated, so the best possible outcome is known exactly. Everything else is
# MAGIC what runs in production: Spark, Delta tables, TF-Agents, the MLflow registry.

# COMMAND ----------

import logging
import os

import matplotlib.pyplot as plt
import mlflow
import numpy as np

from rlbake.period import open_period
from rlbake.period.build import build_trajectories
from rlbake.period.evaluate import evaluate
from rlbake.period.main import run_period
from rlbake.period.promote import promote
from rlbake.period.score import score
from rlbake.period.train import train, training_config
from rlbake.warehouse.session import spark_session
from rlbake.warehouse.table import Table

logging.basicConfig(format="%(message)s")
logging.getLogger("rlbake").setLevel(logging.INFO)

APPLICATION = "rlbake.scenarios.message_timing:MessageTiming"
TABLES = os.environ.get("RLBAKE_TABLES", "tables")
DAYS = int(os.environ.get("RLBAKE_DAYS", "5"))
HYPERPARAMETERS = os.environ.get("RLBAKE_SET", "")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Logs to trajectories
# MAGIC
# MAGIC The application joins three raw logs: what was seen, what was decided, what came of it. Each
# MAGIC trajectory row is one decision joined with the next one of the same player; the reward on a row
# MAGIC is what followed that row's action.

# COMMAND ----------

period = open_period(APPLICATION, TABLES, date="latest", seed=0)
first, last = period.application.cadence.first, period.window
build_trajectories(period, start=first.ds)

spark = spark_session()
trajectories = period.trajectories.read(spark)
trajectories.select("env_id", "timestamp", "observation", "action", "log_probability", "reward", "end", "ds").show(
    5, truncate=60
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Train, evaluate, promote
# MAGIC
# MAGIC Training reads the pinned version of the table without Spark. The agent is judged in worlds it
# MAGIC has never seen, and becomes champion only if its lower bound says so.

# COMMAND ----------

config = training_config(period, set_=HYPERPARAMETERS)
challenger = train(period, config)
first_result = evaluate(period, challenger.uri).simulated
promote(period)
score(period)

# COMMAND ----------

history = mlflow.MlflowClient().get_metric_history(challenger.run_id, "train/loss")
holdout = mlflow.MlflowClient().get_metric_history(challenger.run_id, "train/holdout_loss")

figure, axes = plt.subplots(figsize=(7, 4))
axes.plot([m.step for m in history], [m.value for m in history], label="training players")
axes.plot([m.step for m in holdout], [m.value for m in holdout], label="held-out players")
axes.set(xlabel="gradient step", ylabel="TD loss", title=f"Training {challenger.policy_version}")
axes.legend()
figure.tight_layout()
figure.savefig("quickstart_training.png", dpi=120)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The days after
# MAGIC
# MAGIC Every day the champion decides with a little exploration, its decisions are logged with their
# MAGIC probabilities, and the whole period runs again on what is new.

# COMMAND ----------

days, returns = [last.ds], [first_result]
for n in range(1, DAYS):
    today = period.at(period.application.cadence.following(last, n))
    run_period(today, config)
    days.append(today.window.ds)
    returns.append(evaluate(today, f"models:/{today.model_name}@champion").simulated)

# COMMAND ----------

result = returns[-1]
figure, axes = plt.subplots(figsize=(7, 4))
mean = np.array([r.mean for r in returns])
axes.errorbar(
    days, mean, yerr=[mean - [r.low for r in returns], [r.high for r in returns] - mean], marker="o", label="champion"
)
axes.axhline(result.best, color="tab:green", linestyle="--", label="best possible")
axes.axhline(result.random, color="tab:red", linestyle="--", label="random")
axes.set(ylabel="return per player and week", title="The champion, day by day (95 % intervals)")
axes.tick_params(axis="x", rotation=30)
axes.legend()
figure.tight_layout()
figure.savefig("quickstart_days.png", dpi=120)

# COMMAND ----------

# MAGIC %md
# MAGIC ## What it decided
# MAGIC
# MAGIC Scores are a Delta table like the others: action, propensity, policy version and decision id.

# COMMAND ----------

scores = Table(f"{period.folder}/scores").read(spark, windows=[days[-1]])
scores.select("env_id", "action", "log_probability", "policy_version", "decision_id").show(5, truncate=40)

hours = scores.groupBy("action").count().orderBy("action").toPandas()
figure, axes = plt.subplots(figsize=(7, 4))
axes.bar(hours["action"], hours["count"])
axes.set(xlabel="UTC hour", ylabel="players", title=f"When the champion sends, {days[-1]}")
axes.tick_params(axis="x", rotation=90)
figure.tight_layout()
figure.savefig("quickstart_hours.png", dpi=120)

# COMMAND ----------

# MAGIC %md
# MAGIC And the way back, from the champion to the logs it was trained on:
# MAGIC `python -m rlbake.tracking models:/main.rl.message_timing@champion`
