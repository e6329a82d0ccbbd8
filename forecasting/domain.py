"""The words that all else uses: kinds, units, limits and names of versions. Imports nothing of ours but the errors."""

import re
from enum import Enum, StrEnum

from forecasting.errors import InvalidVersion, SettingError

MIN_DAYS = 30  # the documented least amount of data of a series
MIN_KNOWN_DAYS = 28  # of the history that a forecast is made from
MAX_DAYS_AHEAD = 30  # documented
MAX_BATCH = 65536  # windows that an exported model takes at once
MASKABLE = ("outage", "partial", "bot", "definition_break")  # verdicts on days that have a value, but a doubtful one

SeriesKey = tuple[str, str]  # site and metric


class Scaling(StrEnum):
    robust = "robust"  # log counts, centred and scaled by each window's own median and spread
    minmax = "minmax"  # scikit-learn's MinMaxScaler, fitted on the train part; one series


class Init(StrEnum):
    base = "base"  # the pretrained weights
    scratch = "scratch"


class Missing(StrEnum):
    zero = "zero"
    mask = "mask"


class Kind(Enum):  # no StrEnum: `count` is a method of text
    count = "count"  # never negative, rounded in answers
    rate = "rate"  # 0..1
    other = "other"


KIND_CODES = {Kind.count: 0, Kind.rate: 1, Kind.other: 2}  # as arrays and tensors carry kinds


class SourceName(StrEnum):
    siteanalytics = "siteanalytics"
    umami = "umami"
    shynet = "shynet"
    goatcounter = "goatcounter"
    ahoy = "ahoy"
    fathom = "fathom"
    kaunta = "kaunta"
    query = "query"  # the user's own SQL
    csv = "csv"


class Unit(StrEnum):
    fraction = "fraction"  # 0..1
    percent = "percent"  # 0..100


class Right(StrEnum):
    read = "read"  # forecasts
    admin = "admin"  # and what changes something


def check_version(version: str) -> str:
    """The version as it came, if it can be a folder's name and is not taken by the product itself."""
    if version == "base" or version.endswith(".previous"):
        raise InvalidVersion(f"Version {version!r} is reserved. Choose another, such as v1.0.0.")
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}", version) or version.endswith("."):
        raise InvalidVersion(
            f"Version {version!r} cannot be a folder's name. Use up to 64 letters, digits, dots, hyphens and "
            "underscores, beginning with a letter or a digit, such as v1.0.0."
        )
    return version


def check_days_ahead(days_ahead: int) -> int:
    if not 1 <= days_ahead <= MAX_DAYS_AHEAD:
        raise SettingError(f"days_ahead is {days_ahead}; it must be 1 to {MAX_DAYS_AHEAD}.")
    return days_ahead
