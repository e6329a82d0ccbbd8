"""The documented table `predictions`, where there is one: it gets the newest forecast of its only site."""

from forecasting.domain import SourceName
from forecasting.settings.schema import Config
from forecasting.warehouse.connection import Connection, connected, translate_errors
from forecasting.warehouse.queries import fetch


async def write_predictions(own: Connection, config: Config) -> str:
    """A sentence about what was written; empty if there is no such table, or several sites, which it cannot tell apart.

    Two programs that write at the same time take turns, so no row is there twice.
    """
    if config.data.source is not SourceName.siteanalytics:
        return ""
    with translate_errors("reading forecasting.latest"):
        rows = await fetch(own, "read_latest", config.data.source.value)
    if not rows:
        return ""
    columns = [[row[name] for row in rows] for name in ("metric", "day", "version", "value", "lower", "upper")]
    async with connected(config.read_from, writable=True) as connection:
        with translate_errors("writing to predictions"):
            async with connection.transaction():
                [table] = await fetch(connection, "has_predictions")
                if not table["exists_here"] or not table["has_columns"]:
                    return ""
                if not table["is_writable"]:
                    return "The table predictions is not written: this user may not. Grant SELECT, INSERT and UPDATE."
                await fetch(connection, "lock_predictions")
                [written] = await fetch(connection, "write_predictions", *columns)
    return f"{written['num_rows']:,} rows of predictions are new or changed"
