"""Why a request gets no answer, with the place of every fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Complaint:
    """One fault.

    Attributes:
        row: its place in the request, counted from 0; None: the request as a whole.
        column: None: the row as a whole.
        reason: what is wrong, and what would be right.
    """

    row: int | None
    column: str | None
    reason: str


class Refusal(Exception):
    """A request that is answered with an HTTP status of 400 or more.

    Args:
        status: HTTP's.
        complaints: at least one.
        more: complaints that are left out.
    """

    def __init__(self, status: int, complaints: Sequence[Complaint] | str, more: int = 0) -> None:
        self.status = status
        self.complaints = [Complaint(None, None, complaints)] if isinstance(complaints, str) else list(complaints)
        self.more = more
        super().__init__("; ".join(complaint.reason for complaint in self.complaints))

    def content(self) -> dict[str, Any]:
        """The answer's body."""
        return {"detail": [asdict(complaint) for complaint in self.complaints], "more": self.more}
