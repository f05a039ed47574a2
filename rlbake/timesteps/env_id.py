"""An environment's identity: its key columns, joined."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

from rlbake import vocabulary as v

SEPARATOR = "|"


def env_id(keys: Sequence[str]) -> Column:
    """The key columns as one string; different keys never give the same one.

    A single key is taken as it is. Several are joined by "|", after a "|" or a backslash inside
    one was preceded by a backslash. NULL if any key is.
    """
    texts = [F.col(f"`{key}`").cast("string") for key in keys]
    if len(texts) > 1:
        escaped = [F.regexp_replace(text, r"([\\|])", r"\\$1") for text in texts]
        texts = [escaped[0], *(F.concat(F.lit(SEPARATOR), text) for text in escaped[1:])]
    return F.concat(*texts).alias(v.ENV_ID)
