"""Where an application's timesteps come from, by configuration instead of code.

`source = Folder(...)`, `SparkTable(...)` or `Query(...)` is one wide table, one row per decision;
`Logs(...)` joins three of them; `ReAgent(...)` reads ReAgent's format, `ExperienceLog(...)` what
serving and scoring remember. Whatever they read is named by `lineage(window)`.

Declaring a source imports neither Spark nor starts it.
"""

from rlbake.sources.experience import ExperienceLog
from rlbake.sources.failures import read_errors
from rlbake.sources.folder import Folder
from rlbake.sources.logs import Logs
from rlbake.sources.query import Query
from rlbake.sources.reagent import ReAgent
from rlbake.sources.spark_table import SparkTable

__all__ = ["ExperienceLog", "Folder", "Logs", "Query", "ReAgent", "SparkTable", "read_errors"]
