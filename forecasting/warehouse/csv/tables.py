"""A CSV file as tables of text, each row with its line: compression, encoding, separator and quotes."""

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
    """`header_line` counts from 1. `start_date`, YYYYMMDD, is from the last comment above that has one.

    `below_comments`: the table follows the comments that Google Analytics writes.
    """

    header: tuple[str, ...]
    header_line: int
    rows: Iterator[tuple[int, list[str]]]  # line, fields; without blank rows
    separator: str = ","
    start_date: str | None = None
    below_comments: bool = False

    def fit(self, fields: list[str]) -> list[str]:
        """The row, with one field for each column. Raises ValueError if it has more or fewer."""
        num_columns = len(self.header)
        if len(fields) > num_columns and not any(fields[num_columns:]):
            return fields[:num_columns]
        if len(fields) != num_columns:
            header = "the first line" if self.header_line == 1 else f"line {self.header_line}"
            raise ValueError(
                f"{len(fields)} fields, but {header} names {num_columns}. "
                f"Quote fields that contain a {SEPARATORS[self.separator]}."
            )
        return fields


def read_tables(file: Path) -> list[Table]:
    """The one table below a file's comments (`#`), or all tables of a Google Analytics report."""
    lines = list(io.StringIO(_read_text(file), newline=""))
    comments = [line.strip() for line in lines if line.startswith("#")]
    if lines and lines[0].startswith("#") and any(START_DATE.match(line) or RULE.match(line) for line in comments):
        tables = list(_split(file, lines))
    else:
        first = next(
            (number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines)
        )
        tables = [_open_table(file, first + 1, lines[first:])] if first < len(lines) else []
    if not tables:
        raise DataError(f"{file} is empty. Its first line must name its columns.")
    return tables


def _split(file: Path, lines: Sequence[str]) -> Iterator[Table]:
    """A table ends at a comment, or at a blank line before a header: unlike a day, that does not begin with a digit."""
    start_date, first, is_after_blank = None, None, False
    for number, line in enumerate([*lines, "#"]):
        text = line.strip()
        ends = line.startswith("#") or (is_after_blank and bool(text) and not text.lstrip('"')[:1].isdigit())
        if ends and first is not None:
            yield _open_table(file, first + 1, lines[first:number], start_date=start_date, below_comments=True)
            first = None
        if match := START_DATE.match(text):
            start_date = match[1] or match[2]
        if first is None and text and not line.startswith("#"):
            first = number
        is_after_blank = not text


def _open_table(
    file: Path, first: int, lines: Sequence[str], *, start_date: str | None = None, below_comments: bool = False
) -> Table:
    """The separator is the most frequent one in the header line."""
    separator = max(SEPARATORS, key=lines[0].count)
    rows = _read_rows(file, first, lines, separator)
    line, header = next(rows, (first, list[str]()))
    while header and not header[-1].strip():  # a header that ends with a separator
        header.pop()
    return Table(tuple(name.strip() for name in header), line, rows, separator, start_date, below_comments)


def _read_rows(file: Path, first: int, lines: Sequence[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=separator, strict=True)  # strict: an unclosed quote is an error
    line = first
    try:
        for row in reader:
            line = first - 1 + reader.line_num
            if any(field and not field.isspace() for field in row):
                yield line, row
    except csv.Error as error:
        raise DataError(f"{file}, after line {line}: {error}. Look for an unclosed quote.") from error


def _read_text(file: Path) -> str:
    try:
        content = file.read_bytes()
        content = gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}. Check the path.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read ({error}). Save or download it again.") from error
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
