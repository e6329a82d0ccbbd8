"""Every series of a database: read, forecast and written back in batches, all three at the same time."""

import asyncio
import datetime as dt
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from forecasting.domain import MIN_DAYS, MIN_KNOWN_DAYS, SeriesKey
from forecasting.errors import TooFewDays
from forecasting.jobs.pages import BatchModel, Catalog, Forecasts, forecast_page, load_model
from forecasting.model.forecaster import LEVELS
from forecasting.runtime import LOGGER, progress, run_async
from forecasting.serving.recent_windows import SPARE_DAYS
from forecasting.settings.schema import Config, MetricConfig
from forecasting.warehouse.connection import OwnConnection, connected, translate_errors
from forecasting.warehouse.daily import (
    count_series,
    find_origin,
    read_pages,
    read_settings,
    refuse_unknown,
)
from forecasting.warehouse.forecast_writer import encode_forecasts, open_writing, write_forecasts
from forecasting.warehouse.ingest import OWN_TIMEOUT_SECONDS, update_shown
from forecasting.warehouse.pages import DailyQuery, Page
from forecasting.warehouse.source_report import describe_update

WAITING = 2  # batches between two parts, at most: with the batch size, what bounds memory
NAMED = 3  # series that are named, of many


@dataclass
class LeftOut:
    """Series without a forecast, the first of them by name."""

    number: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, keys: Sequence[SeriesKey]) -> None:
        self.number += len(keys)
        self.named += [f"{metric} of {site}" for site, metric in keys[: NAMED - len(self.named)]]

    def __str__(self) -> str:
        more = ", ..." if self.number > len(self.named) else ""
        return f"{self.number:,} series ({', '.join(self.named)}{more})"


@dataclass
class Tally:
    """What was done so far."""

    num_read: int = 0
    num_forecast: int = 0
    num_rows: int = 0  # new, or other than before
    too_few: LeftOut = field(default_factory=LeftOut)
    without_unit: LeftOut = field(default_factory=LeftOut)

    def add(self, forecasts: Forecasts, *, num_rows: int) -> int:
        """How many series these were read from."""
        num_read = len(forecasts.keys) + len(forecasts.too_few) + len(forecasts.without_unit)
        self.num_read += num_read
        self.num_forecast += len(forecasts.keys)
        self.num_rows += num_rows
        self.too_few.add(forecasts.too_few)
        self.without_unit.add(forecasts.without_unit)
        return num_read


def forecast_everything(config: Config) -> str:
    """Brings forecasting.daily up to date, and writes the next days of all its series to forecasting.forecasts.

    Each batch is one transaction: whatever ends this early leaves whole batches, and running it again completes them.
    Of several processes under torchrun, each takes its share of the series. Returns the version that forecast them.
    Raises ForecastingError.
    """
    model = load_model(config)
    days = config.forecast.days_ahead
    LOGGER.info("%s forecasts %s of every series", model.version, "1 day" if days == 1 else f"{days} days")
    tally, started = Tally(), time.monotonic()
    run_async(_forecast(model, tally))
    _say(tally, model, seconds=time.monotonic() - started)
    if not tally.num_forecast and config.process.world_size == 1:
        raise TooFewDays(f"None of {tally.num_read:,} series could be forecast. Load more days.")
    return model.version


async def _forecast(model: BatchModel, tally: Tally) -> None:
    config = model.config
    updated = await update_shown(config)
    if updated.refusal is not None:
        raise updated.refusal  # forecasts are for others to read, in the database where they look
    own = updated.database
    async with (
        connected(own, writable=True, timeout_seconds=OWN_TIMEOUT_SECONDS) as writing,
        connected(own, timeout_seconds=OWN_TIMEOUT_SECONDS) as reading,
    ):
        LOGGER.info("%s", describe_update(updated, config))
        await open_writing(writing)
        with translate_errors("looking for series in forecasting.daily"):
            query, settings = await _make_query(reading, model)
            await refuse_unknown(reading, query)
            total = await count_series(reading, query) if sys.stderr.isatty() else None
        with progress(model.version, total) as advance:
            await _Parts(model, settings, tally, advance).run(reading, writing, query)


async def _make_query(reading: OwnConnection, model: BatchModel) -> tuple[DailyQuery, dict[str, MetricConfig]]:
    """Which series, and what their metrics are."""
    data, process = model.config.data, model.config.process
    origin = await find_origin(reading, data)
    query = DailyQuery(
        today=origin.today(data),
        num_days=model.context_length + SPARE_DAYS,
        sites=data.sites,
        metrics=data.metrics,
        source=origin.source,
        masked=model.config.verdicts.masked,
        share=(process.rank, process.world_size),
    )
    return query, await read_settings(reading, model.config.metrics, source=origin.source)


class _Parts:
    """Reading, computing and writing, each on the batch after that of the next."""

    def __init__(
        self,
        model: BatchModel,
        metrics: Mapping[str, MetricConfig],
        tally: Tally,
        advance: Callable[[int], None],
    ) -> None:
        self._config = model.config.forecast
        self._model = model
        database = model.config.read_from
        self._catalog = Catalog(model, metrics, database=database.name)
        self._tally = tally
        self._advance = advance
        self._pages: asyncio.Queue[Page | None] = asyncio.Queue(WAITING)
        self._made: asyncio.Queue[tuple[Forecasts, bytes] | None] = asyncio.Queue(WAITING)

    async def run(self, reading: OwnConnection, writing: OwnConnection, query: DailyQuery) -> None:
        """Raises what the first of them to fail raises, when all have ended."""
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._read(reading, query))
                parts.create_task(self._compute())
                parts.create_task(self._write(writing))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _read(self, connection: OwnConnection, query: DailyQuery) -> None:
        with translate_errors("reading forecasting.daily"):
            async for page in read_pages(connection, query, page_size=self._config.batch_size):
                await self._pages.put(page)
        await self._pages.put(None)

    async def _compute(self) -> None:
        loop, num_threads = asyncio.get_running_loop(), self._config.num_threads
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(num_threads,)) as thread:
            while (page := await self._pages.get()) is not None:
                await self._made.put(await loop.run_in_executor(thread, self._make, page))
        await self._made.put(None)

    def _make(self, page: Page) -> tuple[Forecasts, bytes]:
        """The forecasts of a page, and what is sent to write them."""
        made = forecast_page(self._model, self._catalog, page, days_ahead=self._config.days_ahead)
        return made, encode_forecasts(made.keys, made.cutoffs, made.quantiles)

    async def _write(self, connection: OwnConnection) -> None:
        version, made_at = self._model.version, dt.datetime.now(dt.UTC)
        while (batch := await self._made.get()) is not None:
            made, encoded = batch
            num_rows = await write_forecasts(
                connection, encoded, version=version, made_at=made_at, num_levels=len(LEVELS)
            )
            self._advance(self._tally.add(made, num_rows=num_rows))


def _say(tally: Tally, model: BatchModel, *, seconds: float) -> None:
    LOGGER.info(
        "read %s series, forecast %s, wrote %s rows to forecasting.forecasts in %.1f s: %s series/s",
        *(f"{number:,}" for number in (tally.num_read, tally.num_forecast, tally.num_rows)),
        seconds, f"{tally.num_read / seconds:,.0f}",
    )  # fmt: skip
    if tally.too_few.number:
        LOGGER.info(
            "left out: %s with fewer than %d days, or %d known ones among the last %d",
            tally.too_few, MIN_DAYS, MIN_KNOWN_DAYS, model.context_length,
        )  # fmt: skip
    if tally.without_unit.number:
        LOGGER.info(
            "left out: %s, a rate each. Say what it is stored as: metrics.<name>.unit=fraction, 0..1, or =percent",
            tally.without_unit,
        )
