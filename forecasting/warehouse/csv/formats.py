"""What the columns of a CSV file mean. The format is detected by the header, never by the values.

Sources: Plausible's `lib/plausible/exports.ex` (imported_visitors.csv: sums) and its dashboard's export; Matomo's
`DataTable/Renderer/Csv.php`, `Metrics/Formatter` and issue 17441 (names of columns). Google Analytics 4 documents its
CSV nowhere: this is what public programs that read such files expect.
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
class Column:
    """The metric of a column, its properties in this format, and how its cells are parsed."""

    metric: str
    properties: MetricConfig
    parse: Callable[[str], float]
    expected: str = "a number. Write it as 1234.5"  # completes: is not ...
    has_percent_sign: bool = False  # each cell contains its unit: 45.2%


@dataclass(frozen=True)
class Format:
    """`signatures`: sets of column names. A header of this format contains one of them, or equals one if `exact`."""

    name: str
    header: str  # for people to read
    signatures: tuple[frozenset[str], ...] = ()
    exact: bool = False
    day_columns: tuple[str, ...] = ("date",)
    columns: Mapping[str, Column] = field(default_factory=dict)
    dimensions: frozenset[str] = frozenset()  # columns of numbers that are not metrics
    exported: bool = True  # written by a program: a column of words is ignored
    parse_number: Callable[[str], float] = float
    parse_day: Callable[[str], int] = parse_day
    day_hint: str = "Write it as 2024-12-31."

    def matches(self, names: frozenset[str]) -> bool:
        names = names.difference(SITE_COLUMNS)
        is_signed = any(names == known if self.exact else names >= known for known in self.signatures)
        return is_signed and any(day in names for day in self.day_columns)


def _count(metric: str, *, additive: bool = True) -> Column:
    return Column(metric, MetricConfig(kind=Kind.count, additive=additive), parse_english)


def _rate(metric: str, unit: Unit) -> Column:
    return Column(metric, MetricConfig(kind=Kind.rate, unit=unit), float)


def _other(metric: str) -> Column:
    return Column(metric, MetricConfig(kind=Kind.other), parse_english)


PAGE_VISITS = _count("page_visits")
UNIQUE_VISITORS = _count("unique_visitors", additive=False)
VISITS = _count("visits")
BOUNCE_FRACTION = _rate("bounce_rate", Unit.fraction)
BOUNCE_PERCENT = _rate("bounce_rate", Unit.percent)
VISIT_DURATION = replace(
    _other("visit_duration"), parse=parse_seconds, expected="a duration. Write it in seconds, or as 00:01:23"
)
# Not metrics themselves: divided by the visits they become bounce_rate and visit_duration
BOUNCES = _count("(bounces)")
TOTAL_DURATION = replace(VISIT_DURATION, metric="(total duration)")
PER_VISIT = ((BOUNCES, BOUNCE_FRACTION), (TOTAL_DURATION, VISIT_DURATION))

GA4 = Format(
    name="Google Analytics 4",
    header="Date or Nth day (below a comment `# Start date: 20240101`), and Views, Active users, Sessions or others",
    signatures=tuple(
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
    header="date, visitors, pageviews, visits, views_per_visit, bounce_rate, visit_duration",
    signatures=(
        frozenset({"date", "visitors", "pageviews", "visits", "views_per_visit", "bounce_rate", "visit_duration"}),
        frozenset({"date", "visitors", "pageviews", "bounce_rate", "visit_duration"}),
    ),
    exact=True,
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
    header="date, visitors, pageviews, bounces, visits, visit_duration",
    signatures=(frozenset({"date", "visitors", "pageviews", "bounces", "visits", "visit_duration"}),),
    exact=True,
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
    header="date or label, and nb_visits, nb_uniq_visitors, bounce_rate or others; or Date, Unique visitors, Visits, "
    "Bounce Rate or others",
    signatures=(
        frozenset({"nb_visits"}),
        frozenset({"nb_uniq_visitors"}),
        frozenset({"unique visitors", "visits"}),
        frozenset({"visits", "actions", "bounce rate"}),
        frozenset({"visits", "avg. visit duration (in seconds)"}),
    ),
    day_columns=("date", "label"),
    columns={
        name: column
        for names, column in (
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
    header="series (or site), metric, date (or day), value",
    day_columns=DAY_COLUMNS,
    exported=False,
)
WIDE = Format(
    name="wide",
    header="date (or day), then a column of numbers for each metric; site (or series) if there are several sites",
    day_columns=DAY_COLUMNS,
    columns={
        column.metric: replace(column, parse=float)
        for column in (PAGE_VISITS, UNIQUE_VISITORS, VISITS, _other("visit_duration"))
    },
    exported=False,
)
FORMATS = (LONG, WIDE, GA4, PLAUSIBLE, PLAUSIBLE_IMPORTED, MATOMO)


def detect_format(header: Sequence[str], *, below_comments: bool) -> Format | None:
    """The format of a header; None if it is unknown. `below_comments`: of the kind that Google Analytics writes."""
    names = frozenset(name.lower() for name in header)
    if below_comments:
        return GA4
    if "metric" in names:
        return LONG
    match = next((candidate for candidate in FORMATS if candidate.matches(names)), None)
    return match or (WIDE if names.intersection(DAY_COLUMNS) and len(names) > 1 else None)


def list_formats() -> str:
    """One line per format, for errors."""
    return "\n".join(f"  {known.name}: {known.header}" for known in FORMATS)


def find_column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """The index of the first of the names in the header, ignoring case."""
    lowered = [name.lower() for name in header]
    return next((lowered.index(name) for name in names if name in lowered), None)


def interpret_column(title: str, first: str, file_format: Format) -> Column | None:
    """What a column means, by its title. The `first` value only shows whether it holds percentages (`45%`) or words.

    None for a dimension or a column of words in a program's export. Raises ValueError for a column of words in a file
    of the user's own, and for a column without a title.
    """
    if not _snake(title):
        raise ValueError("a column has no name. Name it, or leave it out.")
    name = title.lower()
    if name in file_format.dimensions:
        return None
    column = file_format.columns.get(name) or Column(_snake(title), MetricConfig(), file_format.parse_number)
    if first.endswith("%") and column.properties.kind in (None, Kind.rate):
        column = replace(
            column,
            properties=MetricConfig(kind=Kind.rate, unit=Unit.percent),
            parse=parse_percent,
            expected="a percentage, unlike the first value of the column. Write it as 45.2%",
            has_percent_sign=True,
        )
    if name in file_format.columns or _can_parse(column, first):
        return column
    if file_format.exported:
        return None
    raise ValueError(
        f"{first!r} in column {title!r} is not a number, but every column beside date and site is a metric. Write "
        "numbers as 1234.5, or leave the column out."
    )


def _can_parse(column: Column, text: str) -> bool:
    try:
        column.parse(text or "nan")
    except ValueError:
        return False
    return True


def _snake(title: str) -> str:
    return re.sub(r"\W+", "_", title.lower()).strip("_")
