"""Dates as people and programs write them. Pure: whether the day or the month comes first is decided from a whole file.

A time of day with a zone is a moment, which belongs to the day that it is in the site's time zone.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from forecasting.domain import to_day
from forecasting.errors import DataError

Written = dt.date | dt.datetime  # a datetime has a zone
ORDERS = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}
TIME = (
    r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,][0-9]+)?)?\s*([AaPp]\.?[Mm]\.?)?"
    r"\s*(Z|z|UTC|GMT|[+-][0-9]{2}:?(?:[0-9]{2})?)?"
)
WITH_TIME = re.compile(rf"(.*?[0-9]\.?)(?:T|,?\s+|,\s*){TIME}")
WITH_HOUR = re.compile(
    r"([12][0-9]{3})-?([0-9]{2})-?([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
ISO_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})|([12][0-9]{3})([0-9]{2})([0-9]{2})")
YEAR_FIRST = re.compile(r"([0-9]{4})([./年-])\s*([0-9]{1,2})[./月-]\s*([0-9]{1,2})[.日]?")
YEAR_LAST = re.compile(r"([0-9]{1,2})([./-])\s*([0-9]{1,2})\2\s*([0-9]{4}|[0-9]{2})\.?")
WIKIMEDIA = re.compile(r"(20[0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})")  # 2024013100, with the hour
EPOCH_SECONDS = re.compile(r"1[0-9]{9}(?:[0-9]{3})?")  # from 2001 to 2033, also in milliseconds


def _list_words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january jän jänner januar janv janvier ene enero gen gennaio janeiro januari",
            "feb february februar févr février fév febr febrero febbraio fev fevereiro februari",
            "mar march mär märz mrz mars marzo março mrt maart",
            "apr april avr avril abr abril aprile",
            "may mai mayo mag maggio maio mei",
            "jun june juni juin junio giu giugno junho",
            "jul july juli juil juillet julio lug luglio julho",
            "aug august août ago agosto augustus",
            "sep sept september septembre septiembre set settembre setembro",
            "oct october okt oktober octobre octubre ott ottobre out outubro",
            "nov november novembre noviembre novembro",
            "dec december dez dezember déc décembre dic diciembre dicembre dezembro",
        ),
        1,
    )
    for name in names.split()
}
FILLERS = _list_words(
    "of the st nd rd th de del do da di le er mon tue tues wed thu thur thurs fri sat sun monday tuesday "
    "wednesday thursday friday saturday sunday mo mi fr sa so montag dienstag mittwoch donnerstag freitag "
    "samstag sonnabend sonntag lun mar mer jeu ven sam dim lundi mardi mercredi jeudi vendredi samedi dimanche "
    "mié jue vie sáb dom lunes martes miércoles jueves viernes sábado domingo gio sab lunedì martedì mercoledì "
    "giovedì venerdì sabato domenica seg ter qua qui sex segunda terça quarta quinta sexta feira ma wo vr za "
    "zo maandag dinsdag woensdag donderdag vrijdag zaterdag zondag"
)
YEARLY = 300  # days: rows that are further apart are not by day


@lru_cache(maxsize=65536)
def read_date(text: str) -> Mapping[str, Written]:
    """The date by each order that it can be read in; by "" if there is only one way. Raises ValueError."""
    text = text.strip()
    if match := WITH_HOUR.fullmatch(text):
        return {"": _add_time(_date(*match.groups()[:3]), (*match.groups()[3:6], None, match[7]))}
    if match := EPOCH_SECONDS.fullmatch(text):
        return {"": dt.datetime.fromtimestamp(int(text[:10]), dt.UTC)}
    if match := WIKIMEDIA.fullmatch(text):
        return {"": _date(*match.groups()[:3])}
    if match := WITH_TIME.fullmatch(text):
        return {order: _add_time(date, match.groups()[1:]) for order, date in _read_day(match[1]).items()}
    return _read_day(text)


def can_be_date(text: str) -> bool:
    try:
        return bool(read_date(text))
    except ValueError:
        return False


def _read_day(text: str) -> dict[str, dt.date]:
    text = text.strip().rstrip(",")
    if match := ISO_DAY.fullmatch(text):
        return {"": _date(*(part for part in match.groups() if part))}
    if match := YEAR_FIRST.fullmatch(text):
        return {"": _date(match[1], match[3], match[4])}
    if match := YEAR_LAST.fullmatch(text):
        return _read_orders(match[1], match[3], match[4], mark=match[2])
    if any(mark.isalpha() for mark in text):
        return {"": _read_words(text)}
    raise ValueError


def _read_orders(first: str, second: str, third: str, *, mark: str) -> dict[str, dt.date]:
    """A dot is written after the day; a slash or a hyphen in either order. Raises ValueError if there is no order."""
    year = third if len(third) == 4 else f"20{third}"
    parts = {"dmy": (year, second, first)}
    if mark != ".":
        parts["mdy"] = (year, first, second)
    if len(first) == len(third) == 2 and mark != ".":
        parts["ymd"] = (f"20{first}", second, third)
    dates = {}
    for order, values in parts.items():
        try:
            dates[order] = _date(*values)
        except ValueError:
            continue
    if not dates:
        raise ValueError
    return {"": dates["dmy"]} if mark == "." else dates


def _read_words(text: str) -> dt.date:
    """Such as `Wed, Jan 31, 2024` or `31. Januar 2024`. The year is required, with four digits unless it is last."""
    words, numbers = re.findall(r"[^\W\d_]+", text.lower()), re.findall(r"[0-9]+", text)
    months = [MONTHS[word] for word in words if word in MONTHS and word not in FILLERS]  # `mar` is also a Tuesday
    months = months or [MONTHS[word] for word in words if word in MONTHS]
    is_plain = re.fullmatch(r"[\w\s.,/-]+", text) and all(word in MONTHS or word in FILLERS for word in words)
    if len(months) != 1 or len(numbers) != 2 or not is_plain:
        raise ValueError
    day, year = (numbers[1], numbers[0]) if len(numbers[0]) == 4 else numbers
    if re.fullmatch(r"[0-9]{1,2}[ .-]+\w+[ .-]+[0-9]{2}", text):
        year = f"20{year}"
    if len(year) != 4 or len(day) > 2:
        raise ValueError
    return _date(year, str(months[0]), day)


def _date(year: str | None, month: str | None, day: str | None) -> dt.date:
    return dt.date(int(year or 0), int(month or 0), int(day or 0))


def _add_time(date: dt.date, parts: Sequence[str | None]) -> Written:
    """A date if there is no zone: then the day is the one that is written."""
    hour, minute, second, half, zone = parts
    time = dt.time(_hour(int(hour or 0), half), int(minute or 0), int(second or 0))
    if zone is None:
        return date
    if zone.upper() in ("Z", "UTC", "GMT"):
        return dt.datetime.combine(date, time, dt.UTC)
    digits = zone[1:].replace(":", "").ljust(4, "0")
    offset = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return dt.datetime.combine(date, time, dt.timezone(-offset if zone[0] == "-" else offset))


def _hour(hour: int, half: str | None) -> int:
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError
    return hour % 12 + (12 if half.lower().startswith("p") else 0)


def decide_order(file: str, cells: Iterable[tuple[int, str]]) -> str:
    """The one order in which every date of the file can be read; "" if it does not matter.

    Raises DataError naming lines if there is none, or more than one.
    """
    lines: dict[str, int] = {}
    for line, text in cells:
        lines.setdefault(text, line)
    dated = [(line, text, read_date(text)) for text, line in lines.items() if can_be_date(text)]
    open_dates = [(line, text, dates) for line, text, dates in dated if "" not in dates]
    orders = set(ORDERS).intersection(*(dates.keys() for *_, dates in open_dates)) if open_dates else set()
    if open_dates and not orders:
        raise DataError(_describe_conflict(file, open_dates))
    orders = {order for order in orders if not _is_yearly([dates[order] for *_, dates in open_dates])} or orders
    for line, text, dates in open_dates:
        values = sorted({_to_date(dates[order]) for order in orders})
        if len(values) > 1:
            raise DataError(
                f"{file}, line {line}: {text.strip()!r} is {' or '.join(map(str, values))}, and no date in the file "
                "tells which. Write dates as 2024-12-31."
            )
    return next(iter(sorted(orders)), "")


def _is_yearly(dates: Sequence[Written]) -> bool:
    days = sorted({to_day(_to_date(date)) for date in dates})
    return len(days) > 1 and min(after - before for before, after in pairwise(days)) > YEARLY


def _describe_conflict(file: str, dates: Sequence[tuple[int, str, Mapping[str, Written]]]) -> str:
    line, text, first = min(dates, key=lambda dated: len(dated[2]))
    other_line, other_text, other = next((dated for dated in dates if not dated[2].keys() & first.keys()), dates[-1])
    return (
        f"{file} writes dates in two ways: {text.strip()!r} on line {line} has the {_describe_orders(first)}, "
        f"{other_text.strip()!r} on line {other_line} the {_describe_orders(other)}. Write them as 2024-12-31."
    )


def _describe_orders(dates: Mapping[str, Written]) -> str:
    return " or the ".join(ORDERS[order] for order in ORDERS if order in dates)


def find_moments(texts: Iterable[str]) -> list[dt.datetime]:
    """Those of the dates that have a time with a zone."""
    return [
        date
        for text in dict.fromkeys(texts)
        if can_be_date(text)
        for date in read_date(text).values()
        if isinstance(date, dt.datetime)
    ]


def all_midnights(moments: Sequence[dt.datetime]) -> bool:
    """Whether each is a midnight in the zone that is written: then the rows are of whole days, the written ones."""
    return bool(moments) and all(moment.time() == dt.time() for moment in moments)


def find_odd_starts(moments: Sequence[dt.datetime], timezone: str) -> list[str]:
    """The one or two times of day, never midnight, that all moments have in a zone: as if they began days elsewhere.

    Two, since clocks change.
    """
    times = {moment.astimezone(ZoneInfo(timezone)).time() for moment in moments}
    is_odd = len(moments) > 1 and len(times) <= 2 and dt.time() not in times and all(not time.second for time in times)
    return sorted(f"{time:%H:%M}" for time in times) if is_odd else []


@lru_cache(maxsize=65536)
def parse_date(text: str, order: str, *, timezone: str, as_written: bool = False) -> int:
    """In days since 1970-01-01. A moment with a zone is a day of `timezone`, unless `as_written`. Raises ValueError."""
    dates = read_date(text)
    date = dates[""] if "" in dates else dates.get(order)
    if date is None:
        raise ValueError
    if isinstance(date, dt.datetime) and not as_written:
        date = date.astimezone(ZoneInfo(timezone))
    return to_day(_to_date(date))


def _to_date(date: Written) -> dt.date:
    return date.date() if isinstance(date, dt.datetime) else date
