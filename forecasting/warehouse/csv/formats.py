"""What the columns of a CSV file mean: the formats that people have, told by their headers, never by their values.

Sources: Plausible's `lib/plausible/exports.ex` (imported_visitors.csv: sums) and its dashboard's export; Matomo's
`DataTable/Renderer/Csv.php`, `Metrics/Formatter` and issue 17441 (names of columns). Google Analytics 4 documents its
CSV nowhere: what public readers of such files expect.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from forecasting.domain import Kind, Unit
from forecasting.settings.schema import MetricConfig
from forecasting.warehouse.csv.cells import parse_day, parse_day_in_words, parse_english, parse_percent, parse_seconds

SITE_COLUMNS = ("series", "site")
DAY_COLUMNS = ("date", "day")


@dataclass(frozen=True)
class Meaning:
    """A column: the metric, what the format says of it, how its cells read, and what they should look like."""

    metric: str
    says: MetricConfig
    parse: Callable[[str], float]
    wanted: str = "a number. Write it as 1234.5"
    signed: bool = False  # each cell says its unit itself: 45.2%


@dataclass(frozen=True)
class Format:
    """`told_by`: sets of column names, any one of which a header of this format has; the whole of it if `whole`."""

    name: str
    shown: str  # its header, for people to read
    told_by: tuple[frozenset[str], ...] = ()
    whole: bool = False
    day_columns: tuple[str, ...] = ("date",)
    columns: Mapping[str, Meaning] = field(default_factory=dict)
    dimensions: frozenset[str] = frozenset()  # columns of numbers that measure nothing
    exported: bool = True  # by a program: a column of words is left unread
    parse_number: Callable[[str], float] = float
    parse_day: Callable[[str], int] = parse_day
    day_hint: str = "Write it as 2024-12-31."

    def tells(self, names: frozenset[str]) -> bool:
        found = names.difference(SITE_COLUMNS)
        told = any(found == others if self.whole else found >= others for others in self.told_by)
        return told and any(day in found for day in self.day_columns)


def _count(metric: str, *, additive: bool = True) -> Meaning:
    return Meaning(metric, MetricConfig(kind=Kind.count, additive=additive), parse_english)


def _rate(metric: str, unit: Unit) -> Meaning:
    return Meaning(metric, MetricConfig(kind=Kind.rate, unit=unit), float)


def _other(metric: str) -> Meaning:
    return Meaning(metric, MetricConfig(kind=Kind.other), parse_english)


PAGE_VISITS = _count("page_visits")
UNIQUE_VISITORS = _count("unique_visitors", additive=False)
VISITS = _count("visits")
BOUNCE_FRACTION = _rate("bounce_rate", Unit.fraction)
BOUNCE_PERCENT = _rate("bounce_rate", Unit.percent)
VISIT_DURATION = replace(
    _other("visit_duration"), parse=parse_seconds, wanted="a duration. Write it in seconds, or as 00:01:23"
)
# Not metrics yet: they become bounce_rate and visit_duration when divided by the visits
BOUNCES = _count("(bounces)")
TOTAL_DURATION = replace(VISIT_DURATION, metric="(total duration)")
PER_VISIT = ((BOUNCES, BOUNCE_FRACTION), (TOTAL_DURATION, VISIT_DURATION))

GA4 = Format(
    name="Google Analytics 4",
    shown="Date or Nth day (below a comment `# Start date: 20240101`), and Views, Active users, Sessions or others",
    told_by=tuple(
        frozenset({name})
        for name in ("nth day", "active users", "total users", "engaged sessions", "average session duration")
    ),
    day_columns=("date", "nth day"),
    columns={
        "views": PAGE_VISITS,
        "active users": UNIQUE_VISITORS,
        "sessions": VISITS,
        "bounce rate": BOUNCE_FRACTION,
        "average session duration": VISIT_DURATION,
        "total users": _count("total_users", additive=False),
        "returning users": _count("returning_users", additive=False),
        "30 days": _count("active_users_30_days", additive=False),
        "7 days": _count("active_users_7_days", additive=False),
        "1 day": _count("active_users_1_day", additive=False),
        "engagement rate": _rate("engagement_rate", Unit.fraction),
        **{
            name: _other(name.replace(" ", "_"))
            for name in (
                "average engagement time",
                "average engagement time per active user",
                "average engagement time per session",
                "engaged sessions per active user",
                "event count per active user",
                "sessions per active user",
                "views per active user",
                "views per session",
                "total revenue",
            )
        },
    },
    dimensions=frozenset({"day", "week", "month", "year", "nth week", "nth month", "nth year"}),
    parse_number=parse_english,
)
PLAUSIBLE = Format(
    name="Plausible's visitors.csv",
    shown="date, visitors, pageviews, visits, views_per_visit, bounce_rate, visit_duration",
    told_by=(
        frozenset({"date", "visitors", "pageviews", "visits", "views_per_visit", "bounce_rate", "visit_duration"}),
        frozenset({"date", "visitors", "pageviews", "bounce_rate", "visit_duration"}),
    ),
    whole=True,
    columns={
        "visitors": UNIQUE_VISITORS,
        "pageviews": PAGE_VISITS,
        "visits": VISITS,
        "views_per_visit": _other("views_per_visit"),
        "bounce_rate": BOUNCE_PERCENT,
        "visit_duration": VISIT_DURATION,
    },
)
PLAUSIBLE_IMPORTED = Format(
    name="Plausible's imported_visitors.csv",
    shown="date, visitors, pageviews, bounces, visits, visit_duration",
    told_by=(frozenset({"date", "visitors", "pageviews", "bounces", "visits", "visit_duration"}),),
    whole=True,
    columns={
        "visitors": UNIQUE_VISITORS,
        "pageviews": PAGE_VISITS,
        "visits": VISITS,
        "bounces": BOUNCES,
        "visit_duration": TOTAL_DURATION,
    },
)
MATOMO = Format(
    name="Matomo",
    shown="date or label, and nb_visits, nb_uniq_visitors, bounce_rate or others; or Date, Unique visitors, Visits, "
    "Bounce Rate or others",
    told_by=(
        frozenset({"nb_visits"}),
        frozenset({"nb_uniq_visitors"}),
        frozenset({"unique visitors", "visits"}),
        frozenset({"visits", "actions", "bounce rate"}),
        frozenset({"visits", "avg. visit duration (in seconds)"}),
    ),
    day_columns=("date", "label"),
    columns={
        name: meaning
        for names, meaning in (
            (("nb_pageviews", "pageviews"), PAGE_VISITS),
            (("nb_uniq_visitors", "unique visitors"), UNIQUE_VISITORS),
            (("nb_visits", "visits"), VISITS),
            (("bounce_rate", "bounce rate"), BOUNCE_FRACTION),
            (("avg_time_on_site", "avg. visit duration (in seconds)", "avg. visit duration"), VISIT_DURATION),
            (("bounce_count", "bounces"), BOUNCES),
            (("sum_visit_length", "total time spent by visitors (in seconds)"), TOTAL_DURATION),
            (("nb_actions", "actions"), _count("actions")),
            (("nb_users", "users"), _count("users", additive=False)),
            (("nb_actions_per_visit", "actions per visit"), _other("actions_per_visit")),
            (("max_actions", "maximum actions in one visit"), _other("max_actions")),
        )
        for name in names
    },
    parse_number=parse_english,
    parse_day=parse_day_in_words,
    day_hint="Export with period=day, and write dates as 2024-12-31, with the year.",
)
LONG = Format(
    name="long",
    shown="series (or site), metric, date (or day), value",
    day_columns=DAY_COLUMNS,
    exported=False,
)
WIDE = Format(
    name="wide",
    shown="date (or day), then a column of numbers for each metric; site (or series) where there are several sites",
    day_columns=DAY_COLUMNS,
    columns={
        one.metric: replace(one, parse=float)
        for one in (PAGE_VISITS, UNIQUE_VISITORS, VISITS, _other("visit_duration"))
    },
    exported=False,
)
FORMATS = (LONG, WIDE, GA4, PLAUSIBLE, PLAUSIBLE_IMPORTED, MATOMO)


def tell_format(header: Sequence[str], *, reported: bool) -> Format | None:
    """The format that a header is of, None where it is of none. `reported`: below Google Analytics' comments."""
    names = frozenset(name.lower() for name in header)
    if reported:
        return GA4
    if "metric" in names:
        return LONG
    told = next((known for known in FORMATS if known.tells(names)), None)
    return told or (WIDE if names.intersection(DAY_COLUMNS) and len(names) > 1 else None)


def list_formats() -> str:
    """A line a format, for errors."""
    return "\n".join(f"  {known.name}: {known.shown}" for known in FORMATS)


def find_column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Where the first of the names is, whatever its case."""
    lowered = [name.lower() for name in header]
    return next((lowered.index(name) for name in names if name in lowered), None)


def tell_meaning(title: str, first: str, known: Format) -> Meaning | None:
    """What a column is, from its name; its first value tells only `45%` and words from numbers.

    None for a column of words in a program's export: a dimension, which is no metric. Raises ValueError for one in a
    file of the user's own, and for one that has no name.
    """
    if not _snake(title):
        raise ValueError("a column has no name. Name it, or leave it out.")
    if title.lower() in known.dimensions:
        return None
    meaning = known.columns.get(title.lower()) or Meaning(_snake(title), MetricConfig(), known.parse_number)
    if first.endswith("%") and meaning.says.kind in (None, Kind.rate):
        says = MetricConfig(kind=Kind.rate, unit=Unit.percent)
        wanted = "a percentage, as the first of its column is. Write it as 45.2%"
        meaning = replace(meaning, says=says, parse=parse_percent, wanted=wanted, signed=True)
    if title.lower() in known.columns or _reads(meaning, first):
        return meaning
    if known.exported:
        return None
    raise ValueError(
        f"{first!r} in column {title!r} is no number, but each column beside date and site is a metric. Write numbers "
        "as 1234.5, or leave the column out."
    )


def _reads(meaning: Meaning, text: str) -> bool:
    try:
        meaning.parse(text or "nan")
    except ValueError:
        return False
    return True


def _snake(title: str) -> str:
    return re.sub(r"\W+", "_", title.lower()).strip("_")
