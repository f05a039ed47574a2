"""What Spark says when it cannot read, as one line that names the file, the record and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rlbake.errors import DataError, NotFoundError, RlbakeError, SpecError

# Spark's error conditions: https://spark.apache.org/docs/latest/sql-error-conditions.html
_CONDITION = re.compile(
    r"\[(?P<name>[A-Z][A-Z0-9_]+(?:\.[A-Z0-9_]+)*)\] (?P<says>.*?)(?: ?SQLSTATE: (?P<state>\w{5})|$)", re.M
)
_FILE = re.compile(  # the first is Spark 4's; 3.5 says it in many ways
    r"(?:while reading file|converted in file|CSV file:|footer for file:|RuntimeException:) (\w+:/\S+?)\.?(?:\s|$)"
)
_TYPE = re.compile(r"Column: (\[.*\], Expected: .*, Found: .*?)\.$", re.M)  # Spark 3.5
_RECORD = re.compile(r"detected in record parsing: (.*?)\.?$", re.M)
_CAUSES = (  # the most telling first
    re.compile(r"\[MALFORMED_CSV_RECORD\] (.*?)(?: SQLSTATE|$)", re.M),
    re.compile(r"Exception: (For input string: .*)$", re.M),
    re.compile(r"Exception: (Text '.*' could not be parsed.*)$", re.M),
    re.compile(r"Exception: (Cannot parse .*)$", re.M),
)
_NOT_FOUND = re.compile(
    r"PATH_NOT_FOUND|UNABLE_TO_INFER_SCHEMA|(TABLE|VIEW|SCHEMA|CATALOG)\w*_NOT_FOUND|REQUIRES_SINGLE_PART_NAMESPACE"
)
DATA_EXCEPTION = "22"  # class of SQLSTATE
_DATA_EXCEPTIONS = re.compile(  # by name, as Spark 3.5 keeps the SQLSTATE to itself
    r"(BINARY_)?ARITHMETIC_OVERFLOW|CANNOT_PARSE_TIMESTAMP|CAST_\w+|CONVERSION_INVALID_INPUT|DATETIME_OVERFLOW|"
    r"DIVIDE_BY_ZERO|INVALID_(ARRAY_INDEX|FRACTION_OF_SECOND|INDEX_OF_ZERO)\w*|NUMERIC_VALUE_OUT_OF_RANGE"
)


@contextmanager
def read_errors(what: str = "reading the logs") -> Iterator[None]:
    """Turns what Spark raises about data that cannot be read into one line.

    Reading is lazy, so a broken cell comes to light where the rows are written: that is where
    this must stand. What is not about the data goes through untouched.

    Raises:
        DataError: a file is of another format, a record does not fit its schema, or an expression
            cannot read a value.
    """
    with _told_by(what, _unfit):
        yield


@contextmanager
def declaration_errors(what: str) -> Iterator[None]:
    """Turns what Spark raises about the declaration of a source into one line.

    Raises:
        NotFoundError: there is no such folder or table.
        SpecError: an expression, query or schema is none.
        DataError: there is no such column, or as `read_errors`.
    """
    with _told_by(what, _undeclared):
        yield


@contextmanager
def _told_by(what: str, tell: Callable[[str, str], RlbakeError | None]) -> Iterator[None]:
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        told = tell(what, str(error))
        if told is None:
            raise
        raise told from error


def _unfit(what: str, text: str) -> RlbakeError | None:
    file = _FILE.search(text)
    if file is not None or _RECORD.search(text):
        place = _local(file[1]) if file else "a file"
        return DataError(f"{what}: {place} cannot be read: {_unreadable(text)}")
    condition = _CONDITION.search(text)
    if condition is None or not _is_about_data(condition):
        return None
    return DataError(f"{what}: {_one_line(condition['says'])} Repair the data, or the expression that reads it.")


def _is_about_data(condition: re.Match[str]) -> bool:
    if condition["state"]:
        return condition["state"].startswith(DATA_EXCEPTION)
    return _DATA_EXCEPTIONS.match(condition["name"]) is not None


def _undeclared(what: str, text: str) -> RlbakeError | None:
    condition = _CONDITION.search(text)
    unfit = _unfit(what, text)
    if unfit is not None or condition is None:
        return unfit
    says = f"{what}: {_one_line(condition['says'])}"
    if _NOT_FOUND.match(condition["name"]):
        return NotFoundError(f"{says} Check that it exists, holds files and may be read.")
    if condition["name"].startswith("UNRESOLVED_COLUMN"):
        return DataError(f"{says} Correct the expression, or the source's schema.")
    return SpecError(says)


def _unreadable(text: str) -> str:
    record = _RECORD.search(text)
    if record is not None:
        cause = next((found[1] for pattern in _CAUSES if (found := pattern.search(text))), None)
        return (
            f"the record {_one_line(record[1])} does not fit the schema{f' ({_one_line(cause)})' if cause else ''}. "
            "Repair it, or read the column as a string and derive it."
        )
    if "CSV header does not conform" in text:
        header, schema = (re.search(rf"{name}: (.*)", text) for name in ("Header", "Schema"))
        shown = f": {header[1].strip()} instead of {schema[1].strip()}" if header and schema else ""
        return f"its header is not that of the schema{shown}. Name all columns of the file, in its order."
    if "CANNOT_READ_FILE_FOOTER" in text or "is not a Parquet file" in text:
        return "it is no Parquet file. Say its format, or read another folder."
    type_ = _TYPE.search(text)
    if type_ is not None:
        return f"column {type_[1]}. Correct the schema."
    conditions = [_one_line(found["says"]) for found in _CONDITION.finditer(text)]
    reasons = [re.sub(r"^Encountered error while reading file \S+\s*", "", says) for says in conditions]
    return next((reason for reason in reasons if reason), "see Spark's log.")


def _local(file: str) -> str:
    return re.sub(r"^file:/+", "/", file)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
