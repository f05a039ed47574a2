"""Every column, tag and label that crosses a stage, spelled once.

The terms are TF-Agents'. An environment is one decision-maker's world, a timestep is one
decision in it, and the reward on a row is what followed that row's action. A trajectory row
is one transition: timestep t joined with what the environment looked like at t + 1.

Types are Spark SQL's; "by spec" means that the application's specs decide.
"""

# --- identity and time -------------------------------------------------------------------
DS = "ds"  # string: UTC start of the window in which the row was completed, ISO 8601
ENV_ID = "env_id"  # string: the application's key columns, joined
EPISODE = "episode"  # timestamp: of the episode's first decision
TIMESTAMP = "timestamp"  # timestamp: of the decision
NEXT_TIMESTAMP = "next_timestamp"  # timestamp: of the decision's successor; NULL if terminated
TIME_GAP = "time_gap"  # double: seconds from timestamp to next_timestamp; NULL if terminated

# --- what was seen, done and earned ------------------------------------------------------
OBSERVATION = "observation"  # struct<feature: float | boolean | string>: as logged
NEXT_OBSERVATION = "next_observation"  # same struct; NULL only when terminated
ACTION = "action"  # by spec: int, array<int> or array<float>; NULL on a final observation
NEXT_ACTION = "next_action"  # same type; NULL at an end
ACTION_MASK = "action_mask"  # array<boolean>: allowed actions; NULL = all
NEXT_ACTION_MASK = "next_action_mask"  # array<boolean>; NULL = all
LOG_PROBABILITY = "log_probability"  # float: of the logged action when logged; density if Continuous; NULL = unknown
METRICS = "metrics"  # struct<metric: float>: outcomes attributed to this decision
REWARD = "reward"  # double: sum of metrics weighted by the application's reward
DISCOUNT = "discount"  # float: 0 if terminated, else 1; the agent's gamma multiplies it
STEP_TYPE = "step_type"  # int: FIRST or MID, of the timestep
NEXT_STEP_TYPE = "next_step_type"  # int: MID or LAST, of its successor
END = "end"  # string: one of ENDS
POLICY_VERSION = "policy_version"  # string: who decided; NULL = unknown

# --- TF-Agents' StepType -----------------------------------------------------------------
FIRST, MID, LAST = 0, 1, 2

# --- the ends of an episode; an open timestep has none of them yet --------------------------
NOT_ENDED = "none"
TERMINATED = "terminated"  # the world ended: nothing to bootstrap from
TRUNCATED = "truncated"  # we stopped looking: bootstraps from the final observation
ENDS = (NOT_ENDED, TERMINATED, TRUNCATED)

# --- values of policy_version that are not a model version -------------------------------
RANDOM_POLICY = "random"
RULES_POLICY = "rules"
FALLBACK_POLICY = "fallback"  # of a server whose model could not decide

# --- decisions: what scoring and serving write -------------------------------------------
ACTION_INDEX = "action_index"  # int: of the chosen action, whose name ACTION holds there; array<int>: of several
# sets, whose ACTION is array<string>; NULL: of numbers, whose ACTION is array<float>
DECISION_ID = "decision_id"  # string: names one decision, the same when it is made again
FALLBACK = "fallback"  # boolean: the policy could not decide, and something simpler did in its place
OUTCOME_ID = "outcome_id"  # string: names one outcome, the same when it is told again; NULL = unknown
HOUR = "hour"  # string: UTC hour of timestamp, 2026-01-01T06; partitions the experience log

# --- quarantine: what was rejected and why; ENV_ID and TIMESTAMP besides -------------------
RULE = "rule"  # string: which rule the row breaks
COLUMN = "column"  # string: where, as the application calls it
VALUE = "value"  # string: the offending value; NULL where the row's key says enough
ROW = "row"  # string: the whole row as the application returned it, as JSON

# --- tables below <tables>/<application>/ -------------------------------------------------
TIMESTEPS_TABLE = "timesteps"
OPEN_TABLE = "open"
TRAJECTORIES_TABLE = "trajectories"
QUARANTINE_TABLE = "quarantine"
PROFILES_TABLE = "profiles"
SCORES_TABLE = "scores"
UNSCORED_TABLE = "unscored"
EXPERIENCE_LOG = "experience"  # a folder, which holds the two tables below
DECISIONS_TABLE = "decisions"
OUTCOMES_TABLE = "outcomes"

# --- MLflow tags -------------------------------------------------------------------------
TAG_APPLICATION = "rlbake.application"
TAG_STAGE = "rlbake.stage"
TAG_WINDOW = "rlbake.window"
TAG_FAILURE = "rlbake.failure"
TAG_GIT_DIRTY = "rlbake.git_dirty"
TAG_MODELS = "rlbake.models"  # ids of the logged models that the run used, comma-separated
TAG_EVALUATION = "rlbake.evaluation"  # id of the logged model whose evaluation the run holds
TAG_TRAINING = "rlbake.training"  # digest of everything that decides the weights that a training ends with
TAG_CHECKPOINT = "rlbake.checkpoint"  # JSON: the newest checkpoint of a training that is not finished
TAG_TRAINER = "rlbake.trainer"  # JSON: the process that trains, and its last sign of life
TAG_RESUMED = "rlbake.resumed"  # id of a run that was cut short before, and was finished within this one
TAG_TUNING = "rlbake.tuning"  # digest of everything that decides which points a sweep tries and what they are worth
TAG_TRIAL = "rlbake.trial"  # number of a sweep's trial; only trials that have ended have one
TAG_LEDGER = "rlbake.ledger"  # kept, or breach: the champion earned less than was promised

# --- MLflow tags of a run's input dataset --------------------------------------------------
TAG_TABLE = "rlbake.table"  # URI
TAG_TABLE_VERSION = "rlbake.table_version"
TAG_WINDOWS = "rlbake.windows"
TAG_BUILD_RUNS = "rlbake.build_runs"  # run ids, comma-separated

# --- MLflow tags of a registered version ---------------------------------------------------
TAG_GATE_RUN = "rlbake.gate_run"
TAG_REPLACED = "rlbake.replaced"  # version that was champion before
TAG_FORCED = "rlbake.forced"  # true: promoted although the gate refused
TAG_PROMISE = "rlbake.promise"  # JSON: what the version was promised to earn when it was promoted
TAG_ROLLED_BACK_FROM = "rlbake.rolled_back_from"  # on a champion: version that was given up for it
TAG_ROLLED_BACK = "rlbake.rolled_back"  # on a version that was given up: run that did it
TAG_COPIED_FROM = "rlbake.copied_from"  # <name>/<version> that the version is a copy of

# --- MLflow metrics of a build: <BUILD>/rows_in, transitions, open, …     ---------
BUILD = "build"

# --- MLflow metrics that the gate reads as evidence ---------------------------------------
SIM_MEAN = "sim/mean_return"
SIM_LOW = "sim/low"
SIM_HIGH = "sim/high"
SIM_BEST = "sim/best_return"
SIM_RANDOM = "sim/random_return"
SIM_SCORE = "sim/score"
SIM_DEPLOYED = "sim/deployed_return"  # exploring, as it will decide

SCORE_ROWS = "score/rows"
SCORE_REJECTED = "score/rejected"
SCORE_CHANGED = "score/changed"

TUNE_SCORE = "tune/score"
TUNE_LEVEL = "tune/level"
TUNE_SPEED = "tune/speed"
TUNE_WORST = "tune/worst"

# --- registry aliases --------------------------------------------------------------------
CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
