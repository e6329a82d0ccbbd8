"""Parses a cell of a CSV file as a day or a number, in the notations of the known formats. All raise ValueError."""

import datetime as dt
import re
from functools import lru_cache

from forecasting.domain import to_day

THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d)")
# Matomo's Formatter: `1 days 2 hours`, `1 hours 2 min`, `11 min 2s`, `46s`
WORDS = re.compile(r"(?:(\d+) days ?)?(?:(\d+) hours ?)?(?:(\d+) min ?)?(?:(\d+(?:\.\d+)?)s)?")
DATES_IN_WORDS = ("%a, %b %d, %Y", "%A, %B %d, %Y", "%b %d, %Y", "%B %d, %Y")


@lru_cache(maxsize=65536)
def parse_day(text: str) -> int:
    """An ISO 8601 date, with or without a time of day, as days since 1970-01-01."""
    return to_day(dt.datetime.fromisoformat(text.strip()).date())


def parse_day_in_words(text: str) -> int:
    """ISO 8601, or `Wed, Jan 31, 2024`. The year is required."""
    for form in DATES_IN_WORDS:
        try:
            return to_day(dt.datetime.strptime(text.strip(), form).date())  # a date has no time zone
        except ValueError:
            continue
    return parse_day(text)


def parse_english(text: str) -> float:
    """1234.5 or 1,234.5."""
    return float(text.replace(",", "") if THOUSANDS.fullmatch(text) else text)


def parse_percent(text: str) -> float:
    """45.2% or 45.2 %, as 45.2."""
    if not text.endswith("%"):
        raise ValueError
    return float(text[:-1])


def parse_seconds(text: str) -> float:
    """`83`, `00:01:23` or `1 min 23s`, in seconds."""
    if clock := CLOCK.fullmatch(text):
        return float(int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3]))
    if words := WORDS.fullmatch(text):
        parts = zip(words.groups(), (86400, 3600, 60, 1), strict=True)
        return float(sum(float(part) * seconds for part, seconds in parts if part))
    return parse_english(text)
