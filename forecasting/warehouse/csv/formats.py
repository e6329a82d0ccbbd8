"""What the columns of a CSV file mean. The format is detected by the header, never by the values.

Titles are compared in English; `vocabulary.py` translates those of Google's exports.

Sources: Plausible's `lib/plausible/exports.ex` (imported_visitors.csv: sums) and its dashboard's export; Matomo's
`DataTable/Renderer/Csv.php`, `Metrics/Formatter` and issue 17441 (names of columns). Google Analytics 4 documents its
CSV nowhere: this is what public programs that read such files expect.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from forecasting.domain import Kind, Unit
from forecasting.settings.schema import MetricConfig
from forecasting.warehouse.csv.cells import is_duration
from forecasting.warehouse.csv.numbers import UNMEASURED, is_number
from forecasting.warehouse.csv.vocabulary import SITE_TITLES, translate
from forecasting.warehouse.metric_names import infer_properties


class Notation(Enum):
    """How the cells of a column are written, as errors describe it after `is not`."""

    number = "a number. Write it as 1234.5"
    percent = "a percentage, unlike the first value of the column. Write it as 45.2%"
    duration = "a duration. Write it in seconds, or as 00:01:23"


@dataclass(frozen=True)
class Column:
    """The metric of a column, its properties, and how its cells are written.

    A kind that is unset is told by the values: see observations.py.
    """

    metric: str
    properties: MetricConfig
    notation: Notation = Notation.number


@dataclass(frozen=True)
class Format:
    """`signatures`: sets of column names. A header of this format contains one of them, or equals one if `exact`."""

    name: str
    header: str  # for people to read
    signatures: tuple[frozenset[str], ...] = ()
    exact: bool = False
    columns: Mapping[str, Column] = field(default_factory=dict)
    dimensions: frozenset[str] = frozenset()  # columns of numbers that are not metrics
    exported: bool = True  # written by a program, which writes numbers as its user's language does
    days_as_written: bool = False  # a time with a zone names a whole day
    day_hint: str = "Write it as 2024-12-31."

    def matches(self, names: frozenset[str]) -> bool:
        names = names.difference(SITE_TITLES)
        return any(names == known if self.exact else names >= known for known in self.signatures)


def _count(metric: str, *, additive: bool = True) -> Column:
    return Column(metric, MetricConfig(kind=Kind.count, additive=additive))


def _rate(metric: str, unit: Unit) -> Column:
    return Column(metric, MetricConfig(kind=Kind.rate, unit=unit, additive=False))


def _mean(metric: str) -> Column:
    return Column(metric, MetricConfig(kind=Kind.other, additive=False))


PAGE_VISITS = _count("page_visits")
UNIQUE_VISITORS = _count("unique_visitors", additive=False)
VISITS = _count("visits")
BOUNCE_FRACTION = _rate("bounce_rate", Unit.fraction)
BOUNCE_PERCENT = _rate("bounce_rate", Unit.percent)
VISIT_DURATION = replace(_mean("visit_duration"), notation=Notation.duration)
# Not metrics themselves: divided by the visits they become bounce_rate and visit_duration
BOUNCES = _count("(bounces)")
TOTAL_DURATION = replace(VISIT_DURATION, metric="(total duration)")
PER_VISIT = ((BOUNCES, BOUNCE_FRACTION), (TOTAL_DURATION, VISIT_DURATION))

GA4_TITLES = (
    "nth day", "day index", "active users", "total users", "engaged sessions", "average session duration",
    "avg. session duration",
)  # fmt: skip
GA4 = Format(
    name="Google Analytics 4",
    header="Date or Nth day (below a comment `# Start date: 20240101`), and Views, Active users, Sessions or others",
    signatures=tuple(frozenset({name}) for name in GA4_TITLES),
    columns={
        "views": PAGE_VISITS,
        "pageviews": PAGE_VISITS,
        "active users": UNIQUE_VISITORS,
        "users": UNIQUE_VISITORS,
        "new users": _count("new_users"),
        "sessions": VISITS,
        "bounce rate": BOUNCE_FRACTION,
        "average session duration": VISIT_DURATION,
        "avg. session duration": VISIT_DURATION,
        "engaged sessions": _count("engaged_sessions"),
        "event count": _count("event_count"),
        "total users": _count("total_users", additive=False),
        "returning users": _count("returning_users", additive=False),
        "30 days": _count("active_users_30_days", additive=False),
        "7 days": _count("active_users_7_days", additive=False),
        "1 day": _count("active_users_1_day", additive=False),
        "engagement rate": _rate("engagement_rate", Unit.fraction),
        "total revenue": Column("total_revenue", MetricConfig(kind=Kind.other, additive=True)),
        **{
            name: replace(_mean(name.replace(" ", "_")), notation=Notation.duration)
            for name in (
                "average engagement time",
                "average engagement time per active user",
                "average engagement time per session",
            )
        },
    },
    dimensions=frozenset({"day", "week", "month", "year", "nth week", "nth month", "nth year"}),
)
SEARCH_CONSOLE = Format(
    name="Google Search Console",
    header="Date, Clicks, Impressions, CTR, Position",
    signatures=(frozenset({"clicks", "impressions", "ctr"}), frozenset({"clicks", "impressions", "position"})),
    columns={
        "clicks": _count("clicks"),
        "impressions": _count("impressions"),
        "ctr": _rate("ctr", Unit.fraction),
        "position": _mean("position"),
    },
)
GITHUB = Format(
    name="GitHub's traffic",
    header="timestamp, count, uniques",
    signatures=(frozenset({"timestamp", "count", "uniques"}), frozenset({"date", "count", "uniques"})),
    columns={"count": _count("count"), "uniques": _count("uniques", additive=False)},
    days_as_written=True,  # days are those of UTC
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
        "views_per_visit": _mean("views_per_visit"),
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
            (("nb_actions_per_visit", "actions per visit"), _mean("actions_per_visit")),
            (("max_actions", "maximum actions in one visit"), _mean("max_actions")),
        )
        for name in names
    },
    day_hint="Export with period=day, and write dates as 2024-12-31, with the year.",
)
LONG = Format(
    name="long",
    header="series (or site), metric, date (or day), value",
    exported=False,
)
WIDE = Format(
    name="wide",
    header="date (or day), then a column of numbers for each metric; site (or series) if there are several sites",
    columns={column.metric: column for column in (PAGE_VISITS, UNIQUE_VISITORS, VISITS, VISIT_DURATION)},
    exported=False,
)
FORMATS = (LONG, WIDE, GA4, SEARCH_CONSOLE, PLAUSIBLE, PLAUSIBLE_IMPORTED, MATOMO, GITHUB)


def detect_format(header: Sequence[str], *, below_comments: bool) -> Format:
    """The format of a header. `below_comments`: of the kind that Google Analytics writes."""
    names = frozenset(translate(name) for name in header)
    if below_comments:
        return GA4
    if "metric" in names:
        return LONG
    return next((candidate for candidate in FORMATS if candidate.matches(names)), WIDE)


def list_formats() -> str:
    """One line per format, for errors."""
    return "\n".join(f"  {known.name}: {known.header}" for known in FORMATS)


def find_column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """The index of the first of the names in the header, ignoring case."""
    lowered = [name.lower() for name in header]
    return next((lowered.index(name) for name in names if name in lowered), None)


def interpret_column(title: str, cells: Sequence[str], file_format: Format, *, metric: str = "") -> Column | None:
    """What a column means, by its title. The cells only show how it is written.

    `metric` names the metric, whatever the title. None for a dimension or a column of words. Raises ValueError for a
    column without a title.
    """
    if not name_metric(title):
        raise ValueError("a column has no name. Name it, or leave it out.")
    name = translate(title)
    if name in file_format.dimensions and not metric:
        return None
    filled = [cell for cell in cells if cell.lower() not in UNMEASURED]
    known = file_format.columns.get(name)
    column = known or Column(name_metric(title), infer_properties(name))
    if metric:
        column = replace(column, metric=metric)
    notation = _find_notation(filled, column)
    if notation is None and known is None and not metric:
        return None
    if notation is Notation.percent and column.properties.kind in (None, Kind.rate, Kind.other):
        return replace(column, properties=MetricConfig(Kind.rate, Unit.percent, additive=False), notation=notation)
    if notation is Notation.duration and column.properties.kind is None:
        return replace(column, properties=MetricConfig(Kind.other, additive=False), notation=notation)
    return replace(column, notation=notation or column.notation)


def _find_notation(filled: Sequence[str], column: Column) -> Notation | None:
    """None for words. A column of numbers has one, whatever else is in it."""
    if not filled:
        return column.notation
    if "%" in filled[0] and is_number(filled[0].strip("% ")):
        return Notation.percent
    if is_duration(filled[0]) and not is_number(filled[0]):
        return Notation.duration
    return column.notation if any(map(is_number, filled)) else None


def name_metric(title: str) -> str:
    return re.sub(r"\W+", "_", title.lower()).strip("_")
