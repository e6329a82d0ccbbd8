"""Parses a cell of a CSV file as a percentage or a duration. All raise ValueError."""

import re

from forecasting.warehouse.csv.numbers import parse_number

CLOCK = re.compile(r"([0-9]+):([0-5][0-9]):([0-5][0-9](?:\.[0-9]+)?)")
# `1 days 2 hours`, `1 hours 2 min`, `11 min 2s`, `46s` as Matomo writes them; `1h 2m 3s` as other tools do
WORDS = re.compile(
    r"(?:([0-9]+) ?d(?:ays?)? ?)?(?:([0-9]+) ?h(?:ours?)? ?)?(?:([0-9]+) ?m(?:in)? ?)?"
    r"(?:([0-9]+(?:\.[0-9]+)?) ?s(?:ec)?)?"
)


def parse_percent(text: str, decimal: str) -> float:
    """45.2% or 45.2 %, as 45.2."""
    body = text.strip()
    if not (body.endswith("%") or body.startswith("%")):
        raise ValueError
    return parse_number(body.strip("% \u00a0\u202f"), decimal)


def parse_duration(text: str, decimal: str) -> float:
    """`83`, `00:01:23` or `1 min 23s`, in seconds."""
    if clock := CLOCK.fullmatch(text):
        return float(int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3]))
    if text and (words := WORDS.fullmatch(text)):
        parts = zip(words.groups(), (86400, 3600, 60, 1), strict=True)
        return float(sum(float(part) * seconds for part, seconds in parts if part))
    return parse_number(text, decimal)


def is_duration(text: str) -> bool:
    return bool(text) and bool(CLOCK.fullmatch(text) or WORDS.fullmatch(text))
