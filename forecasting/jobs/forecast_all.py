"""Forecasts every series of a database: reads, computes and writes in batches, all three at the same time."""

import asyncio
import datetime as dt
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from forecasting.alerts.telling import tell_people
from forecasting.domain import MIN_DAYS, MIN_KNOWN_DAYS, RECENT_DAYS, SeriesKey, to_date, to_day
from forecasting.errors import TooFewDays
from forecasting.jobs.judge_all import judge_new_days
from forecasting.jobs.pages import LoadedVersion, PageForecasts, SeriesLookup, forecast_page, load_version
from forecasting.known_days.regressors import NO_REGRESSORS
from forecasting.latest_windows import SPARE_DAYS
from forecasting.runtime.log import LOGGER
from forecasting.runtime.process import run_async
from forecasting.runtime.terminal import progress
from forecasting.settings.schema import Config, DatabaseConfig
from forecasting.warehouse.connection import OwnConnection, connected, translate_errors
from forecasting.warehouse.daily import count_series, read_pages
from forecasting.warehouse.event_store import read_known_events
from forecasting.warehouse.forecast_writer import encode_forecasts, write_forecasts
from forecasting.warehouse.ingest import update_with_progress
from forecasting.warehouse.inventory import refuse_unknown
from forecasting.warehouse.origin import find_origin, read_metric_settings, read_site_index
from forecasting.warehouse.pages import DailyQuery, Page
from forecasting.warehouse.predictions_table import write_predictions
from forecasting.warehouse.regressor_store import read_regressors
from forecasting.warehouse.schema import OWN_TIMEOUT_SECONDS
from forecasting.warehouse.source_report import describe_update

MAX_WAITING = 2  # batches between two stages: with the batch size, this bounds memory
NUM_THREADS = 1  # of torch: the other cores read and write meanwhile
MAX_NAMED = 3  # series that a line names


@dataclass
class LeftOut:
    """Series without a forecast; the first few are named."""

    num_series: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, keys: Sequence[SeriesKey]) -> None:
        self.num_series += len(keys)
        self.names += [f"{metric} of {site}" for site, metric in keys[: MAX_NAMED - len(self.names)]]

    def __str__(self) -> str:
        more = ", ..." if self.num_series > len(self.names) else ""
        return f"{self.num_series:,} series ({', '.join(self.names)}{more})"


@dataclass
class Tally:
    """What has been done so far."""

    began: float = field(default_factory=time.monotonic)
    num_read: int = 0
    num_forecast: int = 0
    num_rows: int = 0  # new or changed
    num_past: int = 0  # series whose forecasts begin before today
    newest_day: int = 0  # that any of them has, in days since 1970-01-01
    too_few: LeftOut = field(default_factory=LeftOut)
    without_unit: LeftOut = field(default_factory=LeftOut)
    num_using: Counter[str] = field(default_factory=Counter)  # as of PageForecasts
    num_lacking: Counter[str] = field(default_factory=Counter)

    def add(self, forecasts: PageForecasts, *, num_rows: int, today: dt.date) -> int:
        """Returns the number of series read."""
        past = forecasts.cutoffs[forecasts.cutoffs < to_day(today) - 1]
        self.num_past += len(past)
        self.newest_day = max([self.newest_day, *past.tolist()])
        num_read = len(forecasts.keys) + len(forecasts.too_few) + len(forecasts.without_unit)
        self.num_read += num_read
        self.num_forecast += len(forecasts.keys)
        self.num_rows += num_rows
        self.too_few.add(forecasts.too_few)
        self.without_unit.add(forecasts.without_unit)
        self.num_using += forecasts.num_using
        self.num_lacking += forecasts.num_lacking
        return num_read


def forecast_everything(config: Config) -> str:
    """Brings forecasting.daily up to date, writes the next days of all its series to forecasting.forecasts, judges the
    days that are new, and tells people what is unusual.

    Each batch is one transaction, so an interruption leaves whole batches, and the next run completes them. Under
    torchrun each process takes its share of the series. Returns the name of the version. Raises ForecastingError.
    """
    version = load_version(config)
    name = version.predictor.name
    days = config.forecast.days_ahead
    LOGGER.info("%s forecasts %s of every series", name, "1 day" if days == 1 else f"{days} days")
    tally = Tally()
    own = run_async(_forecast(version, tally))
    log_tally(tally, version)
    run_async(tell_people(version.config, own))
    if not tally.num_forecast and config.process.world_size == 1:
        raise TooFewDays(f"None of {tally.num_read:,} series could be forecast. Load more days.")
    return name


async def _forecast(version: LoadedVersion, tally: Tally) -> DatabaseConfig:
    """Where our own schema is."""
    own, line = await update_days(version.config)
    LOGGER.info("%s", line)
    await forecast_series(version, own, tally)
    await judge_series(version, own)
    return own


async def update_days(config: Config) -> tuple[DatabaseConfig, str]:
    """Brings forecasting.daily up to date. Returns where it is, and a line about what changed."""
    updated = await update_with_progress(config)
    if updated.refusal is not None:
        raise updated.refusal  # forecasts are for others to read, so they belong in the database where others look
    return updated.database, describe_update(updated, config)


async def forecast_series(version: LoadedVersion, own: DatabaseConfig, tally: Tally) -> None:
    """Writes the next days of every series, also to the documented table `predictions`, where it exists."""
    async with (
        connected(own, writable=True, timeout_seconds=OWN_TIMEOUT_SECONDS) as writing,
        connected(own, timeout_seconds=OWN_TIMEOUT_SECONDS) as reading,
    ):
        with translate_errors("looking for series in forecasting.daily"):
            query, lookup = await _make_query(reading, version)
            await refuse_unknown(reading, query)
            total = await count_series(reading, query) if sys.stderr.isatty() else None
        with progress(version.predictor.name, total) as advance:
            await _Pipeline(version, lookup, tally, advance).run(reading, writing, query)
        if written := await write_predictions(reading, version.config):
            LOGGER.info("%s", written)


async def judge_series(version: LoadedVersion, own: DatabaseConfig) -> Counter[str]:
    """Judges the new days of every series."""
    async with connected(own, writable=True, timeout_seconds=OWN_TIMEOUT_SECONDS) as writing:
        with translate_errors("looking for series in forecasting.daily"):
            query, lookup = await _make_query(writing, version)
        return await judge_new_days(version, lookup, writing, query)


async def _make_query(reading: OwnConnection, version: LoadedVersion) -> tuple[DailyQuery, SeriesLookup]:
    """Which days to read, and the card of each series."""
    data, process = version.config.data, version.config.process
    origin = await find_origin(reading, data)
    index = await read_site_index(reading, source=origin.source)
    query = DailyQuery(
        today=origin.today(data),
        num_days=version.predictor.context_length + SPARE_DAYS,
        sites=index.find_present_names(data.sites),
        metrics=data.metrics,
        source=origin.source,
        masked=version.config.verdicts.masked,
        share=(process.rank, process.world_size),
    )
    metrics = await read_metric_settings(reading, version.config.metrics, source=origin.source)
    events, regressors = await read_known_events(reading, origin.source), NO_REGRESSORS
    if any(card.uses_regressors for card in version.cards):
        regressors = await read_regressors(reading, data)
    unnamed = version.config.unnamed_site
    return query, SeriesLookup(version, metrics, index, unnamed=unnamed, events=events, regressors=regressors)


class _Pipeline:
    """Three stages at once: one batch is written while the next is computed and the one after that is read."""

    def __init__(
        self,
        version: LoadedVersion,
        lookup: SeriesLookup,
        tally: Tally,
        advance: Callable[[int], None],
    ) -> None:
        self._config = version.config.forecast
        self._version = version
        self._lookup = lookup
        self._tally = tally
        self._advance = advance
        self._pages: asyncio.Queue[Page | None] = asyncio.Queue(MAX_WAITING)
        self._forecasts: asyncio.Queue[tuple[PageForecasts, bytes] | None] = asyncio.Queue(MAX_WAITING)

    async def run(self, reading: OwnConnection, writing: OwnConnection, query: DailyQuery) -> None:
        """Raises the error of the stage that failed first, once all have ended."""
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
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(NUM_THREADS,)) as thread:
            while (page := await self._pages.get()) is not None:
                await self._forecasts.put(await loop.run_in_executor(thread, self._forecast, page))
        await self._forecasts.put(None)

    def _forecast(self, page: Page) -> tuple[PageForecasts, bytes]:
        """The forecasts of a page, and the same encoded for COPY."""
        forecasts = forecast_page(self._version, self._lookup, page, days_ahead=self._config.days_ahead)
        return forecasts, encode_forecasts(forecasts.keys, forecasts.cutoffs, forecasts.quantiles)

    async def _write(self, connection: OwnConnection) -> None:
        predictor, made_at = self._version.predictor, dt.datetime.now(dt.UTC)
        while (batch := await self._forecasts.get()) is not None:
            forecasts, encoded = batch
            num_rows = await write_forecasts(
                connection, encoded, version=predictor.name, made_at=made_at, num_levels=len(predictor.levels)
            )
            today = self._version.config.data.today()
            self._advance(self._tally.add(forecasts, num_rows=num_rows, today=today))


def describe_regressors(num_using: Counter[str], num_lacking: Counter[str]) -> list[str]:
    """Which regressors the forecasts use, and which of them are not known ahead."""
    using, lacking = (
        ", ".join(f"{name} ({number:,} series)" for name, number in sorted(numbers.items()))
        for numbers in (num_using, num_lacking)
    )
    return [
        *([f"regressors used: {using}"] if using else []),
        *([f"note: not known for all days ahead: {lacking}. Forecasts take the mean there; add these days to "
           "data.regressors"] if lacking else []),
    ]  # fmt: skip


def log_tally(tally: Tally, version: LoadedVersion) -> None:
    seconds = time.monotonic() - tally.began
    LOGGER.info(
        "read %s series, forecast %s, wrote %s rows to forecasting.forecasts in %.1f s: %s series/s",
        *(f"{number:,}" for number in (tally.num_read, tally.num_forecast, tally.num_rows)),
        seconds, f"{tally.num_read / seconds:,.0f}",
    )  # fmt: skip
    if tally.num_forecast and not tally.num_rows:
        LOGGER.info("nothing had to be written: forecasting.forecasts has these forecasts already")
    if tally.num_past:
        LOGGER.info(
            "note: the forecasts of %s series begin in the past: the newest of their days is %s",
            f"{tally.num_past:,}", to_date(tally.newest_day),
        )  # fmt: skip
    for line in describe_regressors(tally.num_using, tally.num_lacking):
        LOGGER.info("%s", line)
    if tally.too_few.num_series:
        LOGGER.info(
            "left out: %s with fewer than %d days, or fewer than %d known ones among the last %d",
            tally.too_few, MIN_DAYS, MIN_KNOWN_DAYS, RECENT_DAYS,
        )  # fmt: skip
    if tally.without_unit.num_series:
        LOGGER.info(
            "left out: %s, rates of unknown unit. Set metrics.<name>.unit=fraction (0..1) or percent (0..100)",
            tally.without_unit,
        )
