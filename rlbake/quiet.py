"""Importing what talks to the terminal before anybody can tell it not to.

TensorFlow's native start-up remarks (CPU features, absent CUDA drivers) and gym's notice obey no
setting. `quietly` holds them back, and lets them out if the import fails; every module here takes
TensorFlow as `from rlbake.quiet import tensorflow as tf`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps everything off stderr, native code's writes too, unless the block raises."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def __getattr__(name: str) -> Any:
    if name != "tensorflow":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with quietly():
        import tensorflow

        tensorflow.config.list_physical_devices("GPU")  # the first look at them has its remarks too
    return tensorflow
