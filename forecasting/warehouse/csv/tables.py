"""A CSV file as tables of text, each row with its line: compression, encoding, separator and quotes."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from forecasting.errors import DataError
from forecasting.warehouse.csv.dates import can_be_date
from forecasting.warehouse.csv.numbers import is_number
from forecasting.warehouse.csv.vocabulary import DAY_TITLES, NTH_DAY_TITLES

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
MAX_ABOVE = 30  # lines that may stand above a header
# Google Analytics writes `# Start date: 20240101` and then `# End date: 20240131` above each table of a report, in the
# language of its user, and `# 20240101-20240131` above a free form
DATE_COMMENT = re.compile(r"#[^:\uff1a#]*[:\uff1a]\s*(\d{8})\s*$")
RANGE_COMMENT = re.compile(r"#\s*(\d{8})\s*-\s*(\d{8})\s*$")
RULE = re.compile(r"#\s*-{5,}\s*$")
SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?\s*$", re.IGNORECASE)  # for Excel
Row = tuple[int, list[str]]  # line, fields


@dataclass(frozen=True)
class Table:
    """`header_line` counts from 1. `dates`, YYYYMMDD: the first and the last day, as comments above the table have it.

    `below_comments`: the table follows the comments that Google Analytics writes. `title`: the line above the header.
    """

    header: tuple[str, ...]
    header_line: int
    rows: Sequence[Row]  # without blank rows
    separator: str = ","
    dates: Sequence[str] = ()
    below_comments: bool = False
    title: str = ""

    def fit(self, fields: list[str]) -> list[str]:
        """The row, with one field for each column. Raises ValueError if it has more or fewer."""
        num_columns = len(self.header)
        if len(fields) > num_columns and not any(fields[num_columns:]):
            return fields[:num_columns]
        if len(fields) != num_columns:
            header = "the first line" if self.header_line == 1 else f"line {self.header_line}"
            raise ValueError(
                f"{len(fields)} fields, but {header} names {num_columns}. "
                f"Quote fields that contain a {SEPARATORS.get(self.separator, self.separator)}."
            )
        return fields

    def cells(self, index: int) -> list[tuple[int, str]]:
        """The cells of a column that are not empty, each with its line."""
        return [(line, row[index].strip()) for line, row in self.rows if len(row) > index and row[index].strip()]


def read_tables(file: Path, *, titles: frozenset[str] = frozenset()) -> list[Table]:
    """All tables of a file: those below the comments of a Google Analytics report, or those below lines of text.

    A header has one of the `titles`, in lower case, or the title of a column of days, or it is the first line of words
    above numbers.
    """
    lines = list(io.StringIO(_read_text(file), newline=""))
    comments = [line.strip() for line in lines if _is_comment(line)]
    dated = any(DATE_COMMENT.match(line) or RANGE_COMMENT.match(line) or RULE.match(line) for line in comments)
    if lines and _is_comment(lines[0]) and dated:
        tables = list(_split_report(file, lines, titles))
    else:
        tables = _split_sections(file, lines, titles)
    if not tables:
        raise DataError(f"{file} is empty. Its first line must name its columns.")
    return tables


def _is_comment(line: str) -> bool:
    return line.startswith("#") and line[1:2] not in SEPARATORS  # `#,date,views` is a header


def _split_report(file: Path, lines: Sequence[str], wanted: frozenset[str]) -> Iterator[Table]:
    """A table ends at a comment, or at a blank line before a header."""
    dates: list[str] = []
    first, is_after_blank, begins = None, None, True
    for number, line in enumerate([*lines, "#"]):
        text = line.strip()
        ends = _is_comment(line) or (is_after_blank and bool(text) and _is_words(_split_line(text, ",")))
        if ends and first is not None:
            yield from _open_tables(file, first, lines[first:number], wanted, dates=dates[-2:], below_comments=True)
            first, begins = None, True
        if _is_comment(line):
            match = DATE_COMMENT.match(text) or RANGE_COMMENT.match(text)
            dates = [*([] if begins else dates), *(match.groups() if match else ())] if match else dates
            begins = begins and not match
        if first is None and text and not _is_comment(line):
            first = number
        is_after_blank = not text


def _split_sections(file: Path, lines: Sequence[str], wanted: frozenset[str]) -> list[Table]:
    """The tables below a file's first lines: comments, `sep=;`, and titles."""
    first = next((number for number, line in enumerate(lines) if line.strip() and not _is_comment(line)), len(lines))
    if first == len(lines):
        return []
    return list(_open_tables(file, first, lines[first:], wanted))


def _open_tables(
    file: Path,
    first: int,
    lines: Sequence[str],
    wanted: frozenset[str],
    *,
    dates: Sequence[str] = (),
    below_comments: bool = False,
) -> Iterator[Table]:
    """A further table begins at a header that follows a blank line or a title."""
    given = SEPARATOR_LINE.match(lines[0])
    if given:
        first, lines = first + 1, lines[1:]
    start, separator = _find_header(lines, wanted, given[1] if given else None)
    rows = list(_read_rows(file, first + start + 1, lines[start:], separator))
    if not rows:
        return
    starts = [0, *(row for row in range(1, len(rows)) if _begins_table(rows, row, wanted))]
    for begin, next_begin in pairwise([*starts, len(rows)]):
        above = (
            [(0, _split_line(text, separator)) for text in lines[:start] if text.strip()] if not begin else rows[:begin]
        )
        title = "".join(_filled(above[-1])) if above and len(_filled(above[-1])) == 1 else ""
        has_title_below = next_begin < len(rows) and len(_filled(rows[next_begin - 1])) == 1
        end = next_begin - 1 if has_title_below else next_begin
        (line, header), body = rows[begin], rows[begin + 1 : end]
        while header and not header[-1].strip():  # a header that ends with a separator
            header = header[:-1]
        names = tuple(name.strip() for name in header)
        yield Table(names, line, body, separator, tuple(dates), below_comments, title)


def _begins_table(rows: Sequence[Row], index: int, wanted: frozenset[str]) -> bool:
    """Whether it is a row of words, apart from those above it, and either a known header or above numbers."""
    (line, row), (line_before, before) = rows[index], rows[index - 1]
    is_apart = line > line_before + 1 or len(_filled((0, before))) == 1
    is_above_numbers = index + 1 < len(rows) and not _is_words(rows[index + 1][1])
    return is_apart and len(_filled((0, row))) > 1 and _is_words(row) and (is_above_numbers or _is_header(row, wanted))


def _filled(row: Row) -> list[str]:
    return [field.strip() for field in row[1] if field.strip()]


def _find_header(lines: Sequence[str], wanted: frozenset[str], given: str | None) -> tuple[int, str]:
    """The number of the header line, and the separator: the most frequent one there, unless the file says it."""
    numbers = [number for number, line in enumerate(lines) if line.strip()][:MAX_ABOVE]
    separators = {number: given or max(SEPARATORS, key=lines[number].count) for number in numbers}
    fields = {number: _split_line(lines[number], separators[number]) for number in numbers}
    titled = [number for number in numbers if len(fields[number]) > 1 and _is_header(fields[number], wanted)]
    above_numbers = [
        number
        for number, below in pairwise(numbers)
        if 1 < len(fields[number]) == len(fields[below]) and _is_words(fields[number]) and not _is_words(fields[below])
    ]
    number = next(iter(titled or above_numbers or numbers))
    return number, separators[number]


def _is_header(fields: Sequence[str], wanted: frozenset[str]) -> bool:
    names = {field.strip().lower() for field in fields}
    return bool(names & (wanted or DAY_TITLES | NTH_DAY_TITLES))


def _is_words(fields: Sequence[str]) -> bool:
    """Whether no field is a number or a date: then they may be titles."""
    filled = [field.strip() for field in fields if field.strip()]
    return bool(filled) and not any(is_number(field.rstrip("% ")) or can_be_date(field) for field in filled)


def _split_line(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return [line]


def _read_rows(file: Path, first: int, lines: Sequence[str], separator: str) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)  # strict: refuses open quotes
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
    encoding, name = _find_encoding(content)
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


def _find_encoding(content: bytes) -> tuple[str, str]:
    """UTF-16 by its mark, or by the zero in every second byte of plain letters; else UTF-8."""
    if content.startswith(UTF16_MARKS):
        return "utf-16", "UTF-16"
    for encoding, zeros in (("utf-16-le", content[1:64:2]), ("utf-16-be", content[0:64:2])):
        if len(zeros) > 1 and not any(zeros):
            return encoding, "UTF-16"
    return "utf-8-sig", "UTF-8"
