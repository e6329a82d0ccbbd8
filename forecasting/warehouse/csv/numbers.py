"""Numbers as people and programs write them. Pure: which mark is the decimal mark is decided from a whole file.

`1.205` is 1205 in Berlin and a little more than one in Boston, so one such number alone is never read.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from forecasting.errors import DataError

POINT, COMMA = ".", ","
NAMES = {POINT: "point", COMMA: "comma"}  # as data.decimal writes them
UNMEASURED = frozenset({"", "-", "\u2013", "\u2014", "nan", "na", "n/a", "null", "none", "#n/a"})
SPACES = "\u0020\u00a0\u2009\u202f'\u2019"  # between thousands, never a decimal mark
SPACED = re.compile(rf"[0-9]{{1,3}}(?:[{SPACES}][0-9]{{3}})+(?=[.,]|$)")
GROUPS = r"[0-9]{{1,3}}(?:{0}[0-9]{{2,3}})*{0}[0-9]{{3}}"  # 1,234,567 and, as in India, 12,34,567
GROUPED = {mark: re.compile(GROUPS.format(re.escape(mark))) for mark in (POINT, COMMA)}
SCIENTIFIC = re.compile(r"[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]+")
SHORT = re.compile(r"(.*[0-9])\s?([kKM])")  # 1.2k
# Most numbers, told apart at once: those that have one reading, and those that have two
QUICK = re.compile(r"-?[0-9]+(?:\.(?:[0-9]{1,2}|[0-9]{4,}))?")
OPEN = re.compile("[+\u2212-]?[1-9][0-9]{0,2}[.,][0-9]{3}\\s?[kKM]?")
FACTORS = {"k": 1000, "K": 1000, "M": 1_000_000}


@dataclass(frozen=True)
class WrittenNumber:
    """A cell: `decimal` is its decimal mark if it shows one; `maybe` the mark that is either that or the thousands'."""

    body: str  # without sign, blanks between thousands and unit
    negative: bool = False
    factor: int = 1
    decimal: str = ""
    maybe: str = ""

    @property
    def is_whole(self) -> bool:
        return self.body.isdecimal() and self.factor == 1


@dataclass(frozen=True)
class NumberColumn:
    """The cells of a column, each with its line. It may be known to hold counts, which are whole, or means."""

    title: str
    cells: Sequence[tuple[int, str]]
    is_count: bool = False
    is_mean: bool = False


def read_number(text: str) -> WrittenNumber:
    """Raises ValueError if no convention reads it as a number."""
    body = text.strip().replace("\u2212", "-")
    sign, body = (body[0], body[1:].lstrip()) if body[:1] in ("+", "-") else ("", body)
    factor = 1
    if short := SHORT.fullmatch(body):
        body, factor = short[1], FACTORS[short[2]]
    if spaced := SPACED.match(body):
        body = re.sub(rf"[{SPACES}]", "", spaced[0]) + body[spaced.end() :]
    decimal, maybe = _find_marks(body)
    return WrittenNumber(body, sign == "-", factor, decimal, maybe)


def _find_marks(body: str) -> tuple[str, str]:
    """The decimal mark that the body proves, and the one that it may have. Raises ValueError."""
    if re.fullmatch(r"[0-9]+", body):
        return "", ""
    if SCIENTIFIC.fullmatch(body):
        return POINT if POINT in body else "", ""
    last = max(body.rfind(POINT), body.rfind(COMMA))
    head, mark, tail = body[:last], body[last : last + 1], body[last + 1 :]
    other = COMMA if mark == POINT else POINT
    if last < 0 or not re.fullmatch(r"[0-9]+", tail):
        raise ValueError
    if GROUPED[mark].fullmatch(body) and head.count(mark):
        return other, ""
    if GROUPED[other].fullmatch(head):
        return mark, ""
    if not re.fullmatch(r"[0-9]*", head):
        raise ValueError
    is_open = len(tail) == 3 and 1 <= len(head) <= 3 and not head.startswith("0")
    return ("", mark) if is_open else (mark, "")


def parse_number(text: str, decimal: str) -> float:
    """Raises ValueError if it is not a number with this decimal mark."""
    if QUICK.fullmatch(text) and (decimal == POINT or POINT not in text):
        return float(text)
    number = read_number(text)
    if number.decimal not in ("", decimal):
        raise ValueError
    body = number.body.replace(COMMA if decimal == POINT else POINT, "").replace(decimal, ".")
    return float(Decimal(body) * number.factor * (-1 if number.negative else 1))


def is_number(text: str) -> bool:
    try:
        read_number(text)
    except ValueError:
        return False
    return True


def decide_decimal(file: str, columns: Sequence[NumberColumn], *, setting: str | None, usual: str | None = None) -> str:
    """The decimal mark of a file's numbers: from `data.decimal`, else proven by a number, else the `usual` one of the
    program and the language that wrote the header.

    Raises DataError naming lines if the numbers contradict each other, or if two conventions read one differently.
    """
    if setting:
        return setting
    proofs = _find_proofs(columns)
    if len(proofs) == 2:
        (_, point), (_, comma) = sorted(proofs.items(), key=lambda proof: proof[0] == COMMA)
        raise DataError(
            f"{file} writes numbers in two ways: {_place(point)} with a decimal point, {_place(comma)} with a decimal "
            "comma. Write all of them in one way."
        )
    proven = next(iter(proofs), None)
    decimal = proven or usual or POINT
    for column in columns:
        if doubtful := _find_doubtful(column, decimal, proven=proven, usual=usual):
            line, text = doubtful
            raise DataError(_describe_doubt(file, line, text, column.title))
    return decimal


def _find_proofs(columns: Iterable[NumberColumn]) -> dict[str, tuple[int, str, str]]:
    """By decimal mark: the first cell that proves it, as line, text and title."""
    proofs: dict[str, tuple[int, str, str]] = {}
    for column in columns:
        for line, text in column.cells:
            if (POINT not in text and COMMA not in text) or (POINT in proofs and QUICK.fullmatch(text)):
                continue
            if is_number(text) and (mark := read_number(text).decimal):
                proofs.setdefault(mark, (line, text.strip(), column.title))
    return proofs


def _find_doubtful(
    column: NumberColumn, decimal: str, *, proven: str | None, usual: str | None
) -> tuple[int, str] | None:
    """The first cell that two conventions read differently, unless the column or the file leave no doubt."""
    doubtful = next(((line, text) for line, text in column.cells if OPEN.fullmatch(text.strip())), None)
    if doubtful is None:
        return None
    line, text = doubtful
    numbers = [read_number(cell) for _, cell in column.cells if is_number(cell)]
    if read_number(text).maybe != decimal:  # it separates thousands
        return None if proven or (usual and (column.is_count or usual == POINT)) else (line, text)
    if any(number.decimal == decimal for number in numbers):  # the column has other fractions
        return None
    has_whole = any(number.is_whole for number in numbers)
    is_plain = (proven or (usual and usual == POINT)) and (column.is_mean or not has_whole)
    return None if is_plain and not column.is_count else (line, text)


def _describe_doubt(file: str, line: int, text: str, title: str) -> str:
    mark = read_number(text).maybe
    other = COMMA if mark == POINT else POINT
    whole, fraction = (f"{parse_number(text, decimal):.12g}" for decimal in (other, mark))
    return (
        f"{file}, line {line}: {text.strip()!r} in column {title!r} is {whole} if the {_name(mark)} separates "
        f"thousands, and {fraction} if it is the decimal mark. Set data.decimal={NAMES[other]} for {whole}, or "
        f"data.decimal={NAMES[mark]} for {fraction}."
    )


def _name(mark: str) -> str:
    return "dot" if mark == POINT else "comma"


def _place(proof: tuple[int, str, str]) -> str:
    line, text, _ = proof
    return f"{text!r} on line {line}"
