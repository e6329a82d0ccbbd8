"""Tells by its tables which analytics tool a database belongs to, for errors about tables that are missing."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from forecasting.domain import SourceName
from forecasting.invocation import show_command
from forecasting.warehouse.queries import Connection, fetch

Columns = Mapping[str, str]  # the types of a table's columns, by name

EVENT_TABLES = ("page_views", "pageviews", "page_view", "page_visits")  # of programs that nobody here knows
EVENT_COLUMNS = ("visitor_id", "session_id", "timestamp", "time_on_page", "event_name")  # the documented backend's
TIMES = ("timestamp with time zone", "timestamp without time zone", "date")
QUERY_FILE = "traffic.sql"


@dataclass(frozen=True)
class Tool:
    """What tells a tool's tables: columns that they have, and columns that they lack."""

    name: str
    has: Mapping[str, Collection[str]]
    lacks: Mapping[str, Collection[str]] = field(default_factory=dict)
    source: SourceName | None = None  # that reads it
    advice: str = ""  # if there is none

    def owns(self, tables: Mapping[str, Columns]) -> bool:
        has_all = all(tables.get(table, {}).keys() >= set(columns) for table, columns in self.has.items())
        return has_all and not any(tables.get(table, {}).keys() & set(columns) for table, columns in self.lacks.items())

    def suggest(self) -> str:
        if self.source is None:
            return f"The database looks like one of {self.name}. {self.advice}"
        command = show_command("sources", "--check", "--source", self.source.value)
        return f"The database looks like one of {self.name}. Run: {command}"


def _advise_query(statement: str) -> str:
    command = show_command("sources", "--check", "--source", "query", f"data.query={QUERY_FILE}")
    return f"Read them by a query of your own: write into {QUERY_FILE}: {statement}; then run: {command}"


TOOLS = (
    Tool("Kaunta", {"website": ["website_id"], "website_event": ["visit_id", "engagement_time", "scroll_depth"]},
         source=SourceName.kaunta),
    Tool("Umami", {"website": ["website_id", "reset_at"], "website_event": ["session_id", "event_type", "created_at"]},
         {"website_event": ["engagement_time"]}, source=SourceName.umami),
    Tool("Umami 1", {"website": ["website_id"], "pageview": ["view_id", "website_id", "session_id", "created_at"]},
         advice="Umami 1 cannot be read: update Umami to version 2 or later, which takes the old data along."),
    Tool("Shynet", {"core_service": ["uuid"], "analytics_session": ["service_id"], "analytics_hit": ["service_id"]},
         source=SourceName.shynet),
    Tool("Shynet before 0.8", {"core_service": ["uuid"], "analytics_session": ["service_id"],
                               "analytics_hit": ["session_id"]},
         {"analytics_hit": ["service_id"]},
         advice="They cannot be read: update Shynet to version 0.8 or later, and run its migrations."),
    Tool("GoatCounter", {"sites": ["site_id", "cname"], "paths": ["path_id"], "hit_counts": ["hour", "total"]},
         source=SourceName.goatcounter),
    Tool("Ahoy", {"ahoy_visits": ["visitor_token", "started_at"], "ahoy_events": ["visit_id", "time"]},
         source=SourceName.ahoy),
    Tool("Fathom Lite", {"sites": ["id", "name"], "site_stats": ["site_id", "pageviews", "sessions", "ts"]},
         source=SourceName.fathom),
    Tool("Tianji", {"WebsiteEvent": ["websiteId", "sessionId", "eventType", "createdAt"]},
         advice=_advise_query(
             """select "websiteId" as site, 'page_visits' as metric, ("createdAt" at time zone 'UTC')::date as day, """
             """count(*) as value from "WebsiteEvent" where "eventType" = 1 group by 1, 3""")),
    Tool("Discourse", {"application_requests": ["date", "req_type", "count"]},
         advice=_advise_query(
             "select 'forum' as site, 'page_visits' as metric, date as day, sum(count) as value "
             "from application_requests where req_type in (6, 7) group by 3")),
    Tool("active_analytics", {"active_analytics_views_per_days": ["site", "date", "total"]},
         advice=_advise_query(
             "select site, 'page_visits' as metric, date as day, sum(total) as value "
             "from active_analytics_views_per_days group by 1, 3")),
    Tool("Odoo", {"website_track": ["visit_datetime"]},
         advice=_advise_query(
             "select 'website' as site, 'page_visits' as metric, visit_datetime::date as day, count(*) as value "
             "from website_track group by 3")),
)  # fmt: skip


async def suggest_source(connection: Connection, wanted: SourceName) -> str:
    """Sentences about which tool's tables the database has and how to read them. Empty if they are those of `wanted`,
    or nobody knows.
    """
    names = [table for tool in TOOLS for table in tool.has]
    tables: dict[str, Columns] = {}
    for row in await fetch(connection, "find_columns", [*dict.fromkeys(names), *EVENT_TABLES]):
        tables.setdefault(row["name"], dict(zip(row["columns"], row["types"], strict=True)))
    tools = [tool for tool in TOOLS if tool.owns(tables)]
    if wanted in [tool.source for tool in tools]:
        return ""
    if tools:
        return tools[0].suggest()
    return _suggest_query(tables) if wanted is SourceName.siteanalytics else ""


def _suggest_query(tables: Mapping[str, Columns]) -> str:
    """For a table of events that looks like page views, but not like the documented backend's."""
    for table in EVENT_TABLES:
        types = tables.get(table, {})
        times = [] if types.keys() >= set(EVENT_COLUMNS) else [name for name, type_ in types.items() if type_ in TIMES]
        for column in times[:1]:
            is_aware = types[column] == "timestamp with time zone"
            day = f"({column} at time zone 'UTC')::date" if is_aware else f"{column}::date"
            columns = f"'site' as site, 'page_visits' as metric, {day} as day, count(*) as value"
            statement = f"select {columns} from {table} group by 3"  # noqa: S608 - only shown
            return f"The database has a table {table}. {_advise_query(statement)}"
    return ""
