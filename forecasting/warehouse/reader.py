"""The panel that training and serving read."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace

from forecasting.config import MIN_DAYS, Config, DataConfig, MetricConfig
from forecasting.errors import TooFewDays
from forecasting.panel import Panel, Series, build_panel
from forecasting.warehouse import daily, siteanalytics
from forecasting.warehouse.connect import connect, translate_errors
from forecasting.warehouse.queries import Connection


async def read_panel(
    connection: Connection,
    *,
    data: DataConfig,
    metrics: Mapping[str, MetricConfig],
    num_days: int | None = None,
    today: dt.date | None = None,
    share: tuple[int, int] = (0, 1),
) -> Panel:
    """The last `num_days` days (None: all) up to the last complete day in the data, of all metrics and sites, or of
    those that `data` names. `today`, by default the day it is in `data.timezone`, is not complete. `share` is which
    share of the series, of how many: together they are the whole, each with the whole's cutoff. Where there is no
    daily_metrics, what forecasting.daily has is read.

    Raises DataError for what the data lacks, WarehouseError for what PostgreSQL does.
    """
    if num_days is not None and num_days < MIN_DAYS:
        raise TooFewDays(f"{num_days} days were asked for; at least {MIN_DAYS} are needed.")
    today = today or data.today()
    with translate_errors("reading daily_metrics"):
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            ours = await siteanalytics.is_missing(connection) and await daily.has_rows(connection)
            reading = await (daily if ours else siteanalytics).read_observations(
                connection, data=data, metrics=metrics, num_days=num_days, today=today, share=share
            )
    cutoff = reading.cutoff if share[1] > 1 else None
    try:
        panel = build_panel(reading.observations, today=today, missing=data.missing, named=data.metrics, cutoff=cutoff)
    except TooFewDays as error:
        if num_days is None or reading.last_date is None:
            raise
        read = f"{reading.first_date}..{reading.last_date}"
        raise TooFewDays(f"{error} Read were the last {num_days} days, {read}.") from error
    return replace(panel, notes=(*reading.notes, *panel.notes))


def load_panel(config: Config, *, num_days: int | None = None, share: tuple[int, int] = (0, 1)) -> Panel:
    """read_panel of the configured database, over a connection of its own. Blocks; not for a running event loop."""

    async def load() -> Panel:
        connection = await connect(config.database)
        try:
            return await read_panel(
                connection, data=config.data, metrics=config.metrics, num_days=num_days, share=share
            )
        finally:
            await connection.close()

    return asyncio.run(load())


async def list_series(connection: Connection, *, metrics: Mapping[str, MetricConfig]) -> list[Series]:
    """Every series with a value on any day, by site, then in the order of columns.

    Raises WarehouseError.
    """
    with translate_errors("listing the series of daily_metrics"):
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await siteanalytics.list_series(connection, metrics=metrics)
