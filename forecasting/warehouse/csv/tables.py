"""A CSV file as tables of text, each row with its line: packing, encoding, separator and quotes, no meaning."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from forecasting.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
# Google Analytics writes `# Start date: 20240101` above each table of a report, `# 20240101-20240131` above a free form
START_DATE = re.compile(r"#\s*(?:Start date:\s*(\d{8})|(\d{8})-\d{8})\s*$")
RULE = re.compile(r"#\s*-{5,}\s*$")


@dataclass(frozen=True)
class Table:
    """`header_line` counts from 1; `start_date` is the last that a comment above it told, YYYYMMDD.

    `reported` tells a table below the comments that Google Analytics writes.
    """

    header: tuple[str, ...]
    header_line: int
    rows: Iterator[tuple[int, list[str]]]  # line, fields; blank rows are left out
    separator: str = ","
    start_date: str | None = None
    reported: bool = False

    def fit(self, fields: list[str]) -> list[str]:
        """The row, if it has a field for each column. Raises ValueError saying what it has."""
        num_columns = len(self.header)
        if len(fields) > num_columns and not any(fields[num_columns:]):
            return fields[:num_columns]
        if len(fields) != num_columns:
            where = "the first line" if self.header_line == 1 else f"line {self.header_line}"
            raise ValueError(
                f"{len(fields)} fields, but {where} names {num_columns}. "
                f"Quote fields that contain a {SEPARATORS[self.separator]}."
            )
        return fields


def read_tables(file: Path) -> list[Table]:
    """One table below the comments (`#`) that a file may begin with, or all that a report of Google Analytics has."""
    lines = list(io.StringIO(_read_text(file), newline=""))
    comments = [line.strip() for line in lines if line.startswith("#")]
    if lines and lines[0].startswith("#") and any(START_DATE.match(line) or RULE.match(line) for line in comments):
        tables = list(_split(file, lines))
    else:
        first = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
        tables = [_open_table(file, first + 1, lines[first:])] if first < len(lines) else []
    if not tables:
        raise DataError(f"{file} is empty. Its first line must name its columns.")
    return tables


def _split(file: Path, lines: Sequence[str]) -> Iterator[Table]:
    """A table ends at a comment, or at a blank line that a header follows: that begins with no digit, unlike a day."""
    start_date, first, parted = None, None, False
    for at, line in enumerate([*lines, "#"]):
        text = line.strip()
        ends = line.startswith("#") or (parted and bool(text) and not text.lstrip('"')[:1].isdigit())
        if ends and first is not None:
            yield _open_table(file, first + 1, lines[first:at], start_date=start_date, reported=True)
            first = None
        if told := START_DATE.match(text):
            start_date = told[1] or told[2]
        if first is None and text and not line.startswith("#"):
            first = at
        parted = not text


def _open_table(
    file: Path, first: int, lines: Sequence[str], *, start_date: str | None = None, reported: bool = False
) -> Table:
    """The separator is the one that the header line has most of."""
    separator = max(SEPARATORS, key=lines[0].count)
    rows = _walk(file, first, lines, separator)
    line, header = next(rows, (first, list[str]()))
    while header and not header[-1].strip():  # a header that ends with a separator
        header.pop()
    return Table(tuple(name.strip() for name in header), line, rows, separator, start_date, reported)


def _walk(file: Path, first: int, lines: Sequence[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=separator, strict=True)  # strict: a quote open at the end is an error
    line = first
    try:
        for row in reader:
            line = first - 1 + reader.line_num
            if any(field and not field.isspace() for field in row):
                yield line, row
    except csv.Error as error:
        raise DataError(f"{file}, after line {line}: {error}. Look for a quote that is never closed.") from error


def _read_text(file: Path) -> str:
    try:
        content = file.read_bytes()
        content = gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}. Check the path.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({error}). Save or download it anew.") from error
    if content.startswith(ZIP_MAGIC):
        raise DataError(f"{file} is a ZIP archive or an Excel workbook. Unpack it, or save it as CSV in UTF-8.")
    return _decode(file, content)


def _decode(file: Path, content: bytes) -> str:
    encoding, name = ("utf-16", "UTF-16") if content.startswith(UTF16_MARKS) else ("utf-8-sig", "UTF-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{file} is not text in {name} (line {line}: {error.reason}). Save it as CSV in UTF-8."
        ) from error
    if "\0" in text:
        raise DataError(f"{file} is not text in UTF-8 (it holds zero bytes). Save it as CSV in UTF-8.")
    return text
