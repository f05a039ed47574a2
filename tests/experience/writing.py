"""A process that logs decisions as fast as it can and says which are durable.

python -m tests.experience.writing <log> <first number> [bytes that a file may have]
"""

from __future__ import annotations

import resource
import sys
from itertools import count

from rlbake.errors import StorageError
from tests.experience.conftest import decision, opened


def main(uri: str, first: int, largest_file: int | None) -> None:
    log = opened(uri, flush_s=0.02 if largest_file is None else 3600.0)
    if largest_file is not None:  # as if the disk were full
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    for number in count(first, 3):
        rows = [decision(0, decision_id=f"d{number + n}") for n in range(3)]
        sys.stdout.write(f"trying {number}\n")
        sys.stdout.flush()
        try:
            log.log_decisions(rows).result()
        except StorageError as error:
            while True:  # until there is not even room for a page
                try:
                    log.log_decisions([]).result()
                except StorageError:
                    break
            sys.stdout.write(f"failed {error}\n")
            sys.stdout.flush()
            return
        sys.stdout.write(f"durable {number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
