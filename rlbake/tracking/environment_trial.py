"""Run as a script, `environment_trial.py <model folder>`, by an interpreter that may have no rlbake.

Prints one line of JSON: whether the model loads and predicts its own input example, and what is wrong if not.
"""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.simplefilter("ignore")
for name in ("rlbake", "pyspark", "tf_agents"):
    sys.modules[name] = None  # type: ignore[assignment] # importing it is an error


def trial(folder: str) -> str | None:
    """What is wrong with the model in a folder; None if nothing is."""
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(folder)
    example = model.input_example
    if example is None:
        return "it has no input example to try it on."
    decided = model.predict(example)
    promised = model.metadata.get_output_schema().input_names()
    missing = [column for column in promised if column not in decided]
    if missing:
        return f"its predictions lack {', '.join(missing)}, which its signature promises."
    if len(decided) != len(example):
        return f"it answers {len(example)} rows with {len(decided)}."
    if "log_probability" not in decided:
        return None
    return _wrong_probability(decided["log_probability"], density="action_index" not in promised)


def _wrong_probability(values: Any, density: bool) -> str | None:
    """Probabilities are at most 1; densities, of numbers, may be above, and need not be there."""
    for value in values:
        if density and (value is None or math.isnan(value)):
            continue
        if not math.isfinite(value) or (value > 1e-6 and not density):
            return f"the log probability of its decision is {value}, which is none."
    return None


if __name__ == "__main__":
    try:
        found = trial(sys.argv[1])
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        found = f"{type(error).__name__}: {lines[0][:300] if lines else 'no reason was given'}"
    where = f"Python {sys.version.split()[0]}"
    answer = {"passed": found is None, "message": found or f"it loads and predicts in {where}."}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
