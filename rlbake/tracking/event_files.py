"""TensorBoard event files of a run's metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rlbake.quiet import tensorflow as tf
from rlbake.tracking.runs import StageRun

ARTIFACTS = "tensorboard"


@contextmanager
def event_files(run: StageRun, folder: str | None) -> Iterator[None]:
    """Writes all metrics of a run to `<folder>/<run id>` as well; if the block ends well, the files become artifacts.

    They are on disk as soon as the metrics are logged, so that a run that is killed leaves them; one that is
    resumed adds a file to them.

    Args:
        run: whose metrics.
        folder: for the event files of runs; None: none are written.
    """
    if folder is None:
        yield
        return
    place = Path(folder) / run.run_id
    writer = tf.summary.create_file_writer(str(place))

    def write(values: Mapping[str, float], step: int) -> None:
        with writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step)
        writer.flush()

    run.mirror(write)
    yield
    writer.close()
    run.log_artifacts(place, ARTIFACTS)
