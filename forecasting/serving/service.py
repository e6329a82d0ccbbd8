"""PredictionService, which forecasts in this process, and what it shares with the shim, which asks TorchServe."""

import asyncio
import datetime as dt
import logging
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float

from forecasting.artifact import Artifact, Card, SeriesCard, load_artifact, restore_settings
from forecasting.config import Config, DatabaseConfig, load_config
from forecasting.errors import (
    CannotConnect,
    DataError,
    MissingTable,
    SettingError,
    TimedOut,
    UnknownSite,
    WarehouseError,
)
from forecasting.panel import Panel
from forecasting.serving.forecasts import (
    Forecast,
    Instance,
    check_days_ahead,
    find_series,
    first_instance,
    metric_config,
    next_instance,
    shape_answer,
    who_answers,
)
from forecasting.warehouse.cache import update
from forecasting.warehouse.connect import LOST, Connection, Pool, open_pool, translate_errors
from forecasting.warehouse.daily import fetch_sites
from forecasting.warehouse.reader import read_panel

logger = logging.getLogger("forecasting.warehouse")

Answer = dict[str, Any]  # json's own types
T = TypeVar("T")
DEFAULT_METRIC = "page_visits"
POOL_SIZE = 8  # connections: a forecast holds one for some milliseconds
CLOSE_SECONDS = 2.0  # that connections have to be closed politely in
SPARE_DAYS = 35  # read beyond the context, for a series whose data ends before the others'


@runtime_checkable
class Model(Protocol):
    """Whatever turns windows into quantiles: the program in this process, or TorchServe."""

    async def predict(self, instances: Sequence[Instance]) -> Float[np.ndarray, "instances horizon levels"]: ...


class Forecasts:
    """The documented answers of one version, from a history and a model."""

    def __init__(self, card: Card, model: Model, read: Callable[[Sequence[SeriesCard]], Awaitable[Panel]]) -> None:
        self.card = card
        self._model = model
        self._read = read

    async def predict(self, *, metric: str = DEFAULT_METRIC, days_ahead: int = 7, site: str | None = None) -> Answer:
        series = find_series(self.card, metric=metric, site=site)
        check_days_ahead(days_ahead)
        panel = await self._read([series])
        [answer] = await self._answer([series], [first_instance(panel, series, self.card)], days_ahead)
        return answer

    async def predict_multiple(
        self, *, metrics: Sequence[str], days_ahead: int = 7, site: str | None = None
    ) -> dict[str, Answer]:
        """An answer a metric; one that cannot be answered says why in its place. One request to the model for all."""
        check_days_ahead(days_ahead)
        answers: dict[str, Answer] = {}
        found: dict[str, SeriesCard] = {}
        for metric in dict.fromkeys(metrics):
            answers[metric] = {}  # keeps the order in which they were asked for
            try:
                found[metric] = find_series(self.card, metric=metric, site=site)
            except DataError as error:
                answers[metric] = {"error": str(error)}
        answers.update(await self._answer_found(found, days_ahead))
        return answers

    async def _answer_found(self, found: dict[str, SeriesCard], days_ahead: int) -> dict[str, Answer]:
        answers: dict[str, Answer] = {}
        instances: dict[str, Instance] = {}
        for metric, panel in (await self._read_each(found)).items():
            try:
                if isinstance(panel, DataError):
                    raise panel
                instances[metric] = first_instance(panel, found[metric], self.card)
            except DataError as error:
                answers[metric] = {"error": str(error)}
        ready = [found[metric] for metric in instances]
        answered = await self._answer(ready, list(instances.values()), days_ahead)
        return answers | dict(zip(instances, answered, strict=True))

    async def _read_each(self, found: dict[str, SeriesCard]) -> dict[str, Panel | DataError]:
        """One read for all series; where one of them cannot be read, each by itself, so that the others still can."""
        if not found:
            return {}
        try:
            return dict.fromkeys(found, await self._read(list(found.values())))
        except DataError as error:
            if len(found) == 1:
                return dict.fromkeys(found, error)
        panels: dict[str, Panel | DataError] = {}
        for metric, series in found.items():
            panels |= await self._read_each({metric: series})
        return panels

    async def _answer(
        self, series: Sequence[SeriesCard], instances: Sequence[Instance], days_ahead: int
    ) -> list[Answer]:
        """All series in one request a horizon; the days after the first horizon by feeding the medians back."""
        if not series:
            return []
        first = instances
        cutoffs = [one.first_day + self.card.context_length - 1 for one in instances]
        blocks = []
        for step in range(1, -(-days_ahead // self.card.horizon) + 1):
            block = await self._model.predict(instances)
            blocks.append(block)
            if step * self.card.horizon < days_ahead:
                instances = [
                    next_instance(instance, quantiles, step=step, series=one, card=self.card)
                    for instance, quantiles, one in zip(instances, block, series, strict=True)
                ]
        quantiles = np.concatenate(blocks, axis=1)[:, :days_ahead]
        quantiles = who_answers(quantiles, series, first, self.card)
        made_at = dt.datetime.now(dt.UTC)
        return [
            shape_answer(Forecast(one, cutoff, values), self.card, made_at=made_at)
            for one, cutoff, values in zip(series, cutoffs, quantiles, strict=True)
        ]


class History:
    """The recent days of a version's series, read as the version was trained: its units, its time zone, its gaps.

    forecasting.daily is brought up to date with the source when that was done `serving.refresh_seconds` ago, while
    answers are still made from what it has; only the first one waits. A source that does not answer is no reason for
    no answer: `trouble` says so.
    """

    def __init__(self, config: Config, card: Card) -> None:
        self._config = restore_settings(card, config)
        self._card = card
        self._updating: asyncio.Task[None] | None = None
        self._updated_at: float | None = None  # by the monotonic clock
        self._own = config.kept_in  # where forecasting.daily is
        self._has_read = False  # whether any update has ended well
        self.trouble: str | None = None  # what the last update ended with
        self._known_as: str | None = None
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()

    async def read(self, series: Sequence[SeriesCard]) -> Panel:
        """Raises WarehouseError, DataError, or TimedOut where PostgreSQL does not answer within the deadline."""
        await self.bring_up_to_date()
        try:
            return await self._read_named(series)
        except (MissingTable, UnknownSite):
            if self._has_read:
                raise
            await self._wait_for_update()
            return await self._read_named(series)

    async def list_sites(self) -> dict[str, str]:
        """The sites that the source has by now, and their time zones; empty where nothing was read, or can be."""
        await self.bring_up_to_date()
        try:
            rows = await self._ask(partial(fetch_sites, source=self._config.data.source.value))
        except (WarehouseError, TimedOut) as error:
            logger.warning("the sites cannot be listed: %s", error)
            return {}
        # The version's only site may be known by the name of another database.
        only = {self._known_as: self._card.series[0].site} if self._known_as else {}
        return {only.get(site, site): zone for site, zone in rows.items()}

    async def check(self) -> None:
        """Raises what `read` would, where PostgreSQL does not answer."""
        await self._ask(_greet)

    async def bring_up_to_date(self) -> None:
        """Returns at once, but the first time, or where each answer is to be of the newest days."""
        seconds = self._config.serving.refresh_seconds
        if self._updated_at is None or time.monotonic() - self._updated_at >= seconds:
            self._start_update()
        if self._updating is not None and (self._updated_at is None or not seconds):
            await asyncio.wait({self._updating}, timeout=self._config.serving.deadline_seconds / 2)

    async def _wait_for_update(self) -> None:
        """Where nothing was ever read. Raises TimedOut."""
        deadline = self._config.serving.deadline_seconds
        done, _ = await asyncio.wait({self._start_update()}, timeout=deadline / 2)
        if not done:
            raise TimedOut(f"PostgreSQL did not answer within {deadline:g} s. Try again later.")

    def _start_update(self) -> "asyncio.Task[None]":
        if self._updating is None or self._updating.done():
            self._updating = asyncio.create_task(self._update())
        return self._updating

    async def _update(self) -> None:
        metrics = self._config.metrics | {one.metric: metric_config(one) for one in self._card.series}
        try:
            updated = await update(
                replace(self._config, metrics=metrics), recent_days=self._card.context_length + SPARE_DAYS
            )
            self.trouble, self._has_read = None, True
            await self._move(updated.database)
        except (WarehouseError, DataError, SettingError) as error:
            self.trouble = f"New days cannot be read: {error}"
            logger.warning("%s", self.trouble)
        self._updated_at = time.monotonic()

    async def _move(self, database: DatabaseConfig) -> None:
        """To where the update has found, or made, forecasting.daily: connections so far may lead elsewhere."""
        if database == self._own:
            return
        async with self._opening:
            pool, self._pool, self._own = self._pool, None, database
        await _close(pool)

    async def close(self) -> None:
        if self._updating is not None:
            self._updating.cancel()
            await asyncio.wait({self._updating}, timeout=CLOSE_SECONDS)
        await _close(self._pool)

    async def _read_named(self, series: Sequence[SeriesCard]) -> Panel:
        sites = sorted({one.site for one in self._card.series})
        if len(sites) == 1:
            return await self._read_only_site(series, sites[0])
        return await self._read(series, sorted({one.site for one in series}))

    async def _read_only_site(self, series: Sequence[SeriesCard], site: str) -> Panel:
        """Under the card's name, whatever the database calls it.

        Without a `site` column the site has the database's name, which another database with the same data has not.
        """
        unknown: list[UnknownSite] = []
        database = self._config.read_from
        for name in dict.fromkeys((self._known_as or site, site, database.name)):
            try:
                panel = await self._read(series, [name])
            except UnknownSite as error:
                unknown.append(error)
                continue
            self._known_as = name
            return replace(panel, series=tuple(replace(one, site=site) for one in panel.series))
        raise unknown[0]

    async def _read(self, series: Sequence[SeriesCard], sites: list[str]) -> Panel:
        data = replace(self._config.data, metrics=sorted({one.metric for one in series}), sites=sites)
        metrics = {one.metric: metric_config(one) for one in series}
        num_days = self._card.context_length + SPARE_DAYS
        return await self._ask(
            partial(read_panel, data=data, metrics=metrics, masked=self._config.verdicts.masked, num_days=num_days)
        )

    async def _ask(self, question: Callable[[Connection], Awaitable[T]]) -> T:
        """Its answer, within the deadline. Asked again over a new connection where the first one turns out to be cut,
        as idle ones are by firewalls and by a server that is started again.
        """
        deadline = self._config.serving.deadline_seconds
        try:
            async with asyncio.timeout(deadline):
                async with self._opening:
                    pool = self._pool = self._pool or await self._open_pool()
                async with _lend(pool) as connection:
                    with suppress(CannotConnect):
                        return await question(connection)
                await pool.expire_connections()  # whatever cut the one has cut the others
                async with _lend(pool) as connection:
                    return await question(connection)
        except TimeoutError as error:
            raise TimedOut(f"PostgreSQL did not answer within {deadline:g} s. Try again later.") from error

    async def _open_pool(self) -> Pool:
        return await open_pool(self._own, max_size=POOL_SIZE)


async def _close(pool: Pool | None) -> None:
    if pool is None:
        return
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except (TimeoutError, *LOST):
        pool.terminate()


@asynccontextmanager
async def _lend(pool: Pool) -> AsyncIterator[Connection]:
    with translate_errors("connecting"):
        connection = await pool.acquire()
    try:
        yield connection
    finally:
        # One that cannot be reset is closed by the pool; what was read over it is none the worse.
        with suppress(WarehouseError), translate_errors("giving a connection back"):
            await pool.release(connection)


async def _greet(connection: Connection) -> None:
    with translate_errors("seeing whether it answers"):
        await connection.fetchval("select 1")


class InProcessModel:
    """The exported program, called directly."""

    def __init__(self, artifact: Artifact) -> None:
        self._program = artifact.load_program()

    async def predict(self, instances: Sequence[Instance]) -> Float[np.ndarray, "instances horizon levels"]:
        import torch

        from forecasting.model.forecaster import KINDS

        with torch.no_grad():
            quantiles = self._program(
                torch.from_numpy(np.stack([one.history for one in instances])),
                torch.tensor([one.first_day for one in instances]),
                torch.tensor([KINDS[one.kind] for one in instances]),
                torch.from_numpy(np.stack([one.band_scale for one in instances])),
            )
        return np.asarray(quantiles.numpy())


class PredictionService:
    """Forecasts from Python, equal to the routes' answers. Thread-safe; `close` it, or use it in a `with`."""

    def __init__(self, config: Config | None = None) -> None:
        """Loads the version that `config` or the environment names, else the newest.

        Raises UnknownVersion, BrokenArtifact; CannotConnect only when a forecast is asked for.
        """
        config = config or load_config()
        artifact = load_artifact(config.model_dir, config.serving.model_version)
        model = InProcessModel(artifact)  # before the thread, which nobody would end if it failed
        self.card = artifact.card
        history = History(config, artifact.card)
        self._forecasts = Forecasts(artifact.card, model, history.read)
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run_loop, args=(self._loop,), name="PredictionService", daemon=True)
        thread.start()
        self._end = weakref.finalize(self, _end_loop, self._loop, thread, history)

    def predict_page_visits(self, days_ahead: int = 7) -> Answer:
        return self.predict(days_ahead=days_ahead)

    def predict(self, metric: str = DEFAULT_METRIC, days_ahead: int = 7, site: str | None = None) -> Answer:
        return self._run(self._forecasts.predict(metric=metric, days_ahead=days_ahead, site=site))

    def predict_multiple(
        self, metrics: Sequence[str], days_ahead: int = 7, site: str | None = None
    ) -> dict[str, Answer]:
        return self._run(self._forecasts.predict_multiple(metrics=metrics, days_ahead=days_ahead, site=site))

    def close(self) -> None:
        """Done by itself at the latest when the program ends, or nobody holds the service any more."""
        self._end()

    def __enter__(self) -> "PredictionService":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _end_loop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, history: History) -> None:
    async def end() -> None:
        try:
            await history.close()
        finally:
            loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
    if threading.current_thread() is not thread:  # which may be the one that collects the garbage
        thread.join()
