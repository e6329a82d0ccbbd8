"""The panel that training and serving read: of forecasting.daily alone."""

import asyncio
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import asyncpg

from forecasting.domain import MASKABLE, MIN_DAYS
from forecasting.errors import MissingTable, TooFewDays
from forecasting.invocation import show_command
from forecasting.panel import Panel
from forecasting.panel_building import build_panel
from forecasting.settings.schema import Config, DataConfig, MetricConfig
from forecasting.warehouse.connection import connected, translate_errors
from forecasting.warehouse.daily import read_observations
from forecasting.warehouse.ingest import update_shown
from forecasting.warehouse.queries import Connection


async def read_panel(
    connection: Connection,
    *,
    data: DataConfig,
    metrics: Mapping[str, MetricConfig],
    masked: Sequence[str] = MASKABLE,
    num_days: int | None = None,
    today: dt.date | None = None,
    share: tuple[int, int] = (0, 1),
) -> Panel:
    """The last `num_days` days (None: all) up to the last complete day in forecasting.daily, of all metrics and sites,
    or of those that `data` names. `today`, by default the day it is for the sites, is not complete. Values of days with
    a verdict that is `masked` are NaN. `share` is which share of the series, of how many: together they are the whole,
    each with the whole's cutoff.

    Raises DataError for what the data lacks, WarehouseError for what PostgreSQL does.
    """
    if num_days is not None and num_days < MIN_DAYS:
        raise TooFewDays(f"{num_days} days were asked for; at least {MIN_DAYS} are needed.")
    with translate_errors("reading forecasting.daily"), explaining_absence(data):
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            reading = await read_observations(
                connection,
                data=data,
                metrics=metrics,
                masked=masked,
                num_days=num_days,
                today=today,
                share=share,
            )
    try:
        panel = build_panel(
            reading.observations,
            today=reading.today,
            missing=data.missing,
            named=data.metrics,
            cutoff=reading.cutoff if share[1] > 1 else None,
        )
    except TooFewDays as error:
        if num_days is None or reading.last_date is None:
            raise
        read = f"{reading.first_date}..{reading.last_date}"
        raise TooFewDays(f"{error} Read were the last {num_days} days, {read}.") from error
    return replace(panel, notes=(*reading.notes, *panel.notes))


@contextmanager
def explaining_absence(data: DataConfig) -> Iterator[None]:
    """A schema that is not there as MissingTable, with what to run."""
    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise MissingTable(
            f"There is no schema forecasting with its tables in this database yet: nothing of {data.source} was read. "
            f"Run: {show_command('sources', '--update')}"
        ) from error


def load_panel(config: Config, *, num_days: int | None = None, share: tuple[int, int] = (0, 1)) -> Panel:
    """read_panel of the configured source, after forecasting.daily is up to date with it. Blocks; not for a running
    event loop.
    """

    async def load() -> Panel:
        updated = await update_shown(config)
        async with connected(updated.database) as connection:
            panel = await read_panel(
                connection,
                data=config.data,
                metrics=config.metrics,
                masked=config.verdicts.masked,
                num_days=num_days,
                share=share,
            )
        return replace(panel, notes=(*updated.notes, *panel.notes))

    return asyncio.run(load())
