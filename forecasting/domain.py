"""The words that everything else uses: kinds, units, verdicts, series, days, limits. Imports only our errors."""

import datetime as dt
import re
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from numbers import Integral
from pathlib import Path
from typing import SupportsInt

from forecasting.errors import InvalidVersion, SettingError

MIN_DAYS = 30  # of data that a series must have; documented
MIN_KNOWN_DAYS = 28  # among the last RECENT_DAYS before a forecast
RECENT_DAYS = 56  # what every network looks back on
YEAR_OF_DAYS = 392  # what one that reads last year looks back on: 52 weeks, and the four before them
MIN_DAYS_BESIDE_GAP = (
    14  # of them, where a long gap took the others: far better than zeros (EXPERIMENTS.md, "Verdicts")
)
ALL_DAYS = 100_000  # as a number of days: every day that there is
MAX_DAYS_AHEAD = 30  # documented
MAX_BATCH = 65536  # windows in one call of an exported model
MASKABLE = ("outage", "partial", "bot", "definition_break")  # verdicts on days whose value is doubtful
EPOCH = dt.date(1970, 1, 1)
EARLIEST_DATE = dt.date(1990, 1, 1)  # the web is younger: an older date is a mistake. Also in warehouse/sql

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


class Kind(Enum):  # no StrEnum, since `count` is a method of str
    count = "count"  # never negative, rounded in answers
    rate = "rate"  # 0..1
    other = "other"


KIND_CODES = {Kind.count: 0, Kind.rate: 1, Kind.other: 2}  # for arrays and tensors


class Verdict(IntEnum):
    """What is known about a day of a series."""

    before = 0  # outside the series' life: before its first value or after its last
    observed = 1
    gap = 2  # the source has no row, but has rows before and after
    unmeasured = 3  # the source has a row, but its value is NULL or NaN
    invalid = 4  # an impossible value: infinite, or negative traffic
    outage = 5  # nothing was counted on a day that always has traffic
    partial = 6  # some of the day's hours are missing
    bot = 7  # a short spike that nobody announced
    definition_break = 8  # counted in another way than today


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
    parquet = "parquet"

    @property
    def is_file(self) -> bool:
        return self in (SourceName.csv, SourceName.parquet)


SOURCES_WITH_KEYS = (  # that know their sites by other keys than the names
    SourceName.umami, SourceName.shynet, SourceName.goatcounter, SourceName.fathom, SourceName.kaunta,
)  # fmt: skip


class Unit(StrEnum):
    fraction = "fraction"  # 0..1
    percent = "percent"  # 0..100


class Sensitivity(StrEnum):
    """How unusual a day must be to be told, in units where 1.645 is the end of the 90% band."""

    low = "low"
    medium = "medium"
    high = "high"
    off = "off"

    @property
    def threshold(self) -> float:
        return {"low": 3.75, "medium": 3.0, "high": 2.5}.get(self.value, float("inf"))


class Severity(StrEnum):
    """How unusual a day is: told at high and medium sensitivity, at low too, and twice as far off."""

    minor = "minor"
    major = "major"
    extreme = "extreme"

    @property
    def rank(self) -> int:
        return tuple(Severity).index(self)


class MessageKind(StrEnum):
    unusual = "unusual"  # days, what goes on with them, and corrections of them
    trouble = "trouble"  # days that do not come, sites that are gone or renamed; and when that is over
    weekly = "weekly"  # the summary of a week


class Right(StrEnum):
    read = "read"  # may ask for forecasts
    admin = "admin"  # may also change things


@dataclass(frozen=True)
class Series:
    """One metric of one site. Values times `unit_scale` are in the source's unit. `site` is a name, which may change;
    with the source, `site_key` and `metric` say which series it is.
    """

    site: str
    metric: str
    kind: Kind = Kind.count
    additive: bool = True
    unit_scale: float = 1.0
    site_key: str | None = None  # the source's own key of the site; None without a source

    @property
    def name(self) -> str:
        return f"{self.metric} of {self.site}"

    @property
    def can_be_zero(self) -> bool:
        return can_be_zero(self.kind, additive=self.additive)

    @property
    def key(self) -> SeriesKey:
        return self.site, self.metric


def can_be_zero(kind: Kind, *, additive: bool) -> bool:
    """Whether a day without a row can stand for zero. A rate or a mean has no value on a day without traffic."""
    return kind is Kind.count or (kind is Kind.other and additive)


def name_of_file(file: Path) -> str:
    """The name of a site whose days are in a file that does not name it."""
    return Path(file.name.removesuffix(".gz")).stem


def to_day(date: dt.date) -> int:
    """Days since 1970-01-01."""
    return (date - EPOCH).days


def to_date(day: SupportsInt) -> dt.date:
    return EPOCH + dt.timedelta(days=int(day))


def check_version(version: str) -> str:
    """Returns the version. Raises InvalidVersion if it is reserved or cannot be the name of a folder."""
    if version == "base" or version.endswith(".previous"):
        raise InvalidVersion(f"Version {version!r} is reserved. Choose another, such as v1.0.0.")
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}", version) or version.endswith("."):
        raise InvalidVersion(
            f"Version {version!r} cannot be a folder's name. Use up to 64 letters, digits, dots, hyphens and "
            "underscores, beginning with a letter or a digit, such as v1.0.0."
        )
    return version


def read_days_ahead(days_ahead: object) -> int:
    """The number of days, from what the routes take too: 7, 7.0 or "7". Raises SettingError for anything else."""
    number = days_ahead
    if isinstance(days_ahead, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,9}(\.0*)?\s*", days_ahead):
        number = float(days_ahead)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, Integral):
        raise SettingError(f"days_ahead is {days_ahead!r}; it must be a whole number, 1 to {MAX_DAYS_AHEAD}.")
    return check_days_ahead(int(number))


def check_days_ahead(days_ahead: int) -> int:
    """Returns the number of days. Raises SettingError outside 1 to 30."""
    if not 1 <= days_ahead <= MAX_DAYS_AHEAD:
        raise SettingError(f"days_ahead is {days_ahead}; it must be 1 to {MAX_DAYS_AHEAD}.")
    return days_ahead
