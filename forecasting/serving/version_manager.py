"""The version that is served now: watched, and replaced by a promoted one."""

import asyncio
import datetime as dt
import logging
import shutil
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from forecasting.artifact import Artifact, find_promotion_time, load_artifact, mark_promoted
from forecasting.card import restore_settings
from forecasting.domain import Sensitivity
from forecasting.errors import CannotPromote, CannotStart, ForecastingError, SettingError, Unavailable
from forecasting.monitoring.accuracy_report import choose_first_day, report_accuracy
from forecasting.monitoring.accuracy_report import describe_for_routes as describe_accuracy
from forecasting.monitoring.listing import SHOWN_DAYS, describe_acknowledged, describe_for_routes
from forecasting.runtime.process import return_freed_memory
from forecasting.serving.coverage import find_missing, find_unreadable, refuse_losing
from forecasting.serving.daily_schedule import DailySchedule
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.health import DataState, JobState, Problems
from forecasting.serving.messenger import Messenger, Place
from forecasting.serving.page.page_data import PageData
from forecasting.serving.preflight import check_room
from forecasting.serving.promotion_note import Note, remove_note, take_notes, write_note
from forecasting.serving.promotions import Promotion, Promotions
from forecasting.serving.resource_watch import ResourceWatch
from forecasting.serving.served_model import ServedModel
from forecasting.serving.torchserve.archive import ensure_archive
from forecasting.serving.torchserve.process import TorchServe
from forecasting.serving.torchserve.startup import start_torchserve
from forecasting.serving.torchserve.supervisor import Start, Supervisor
from forecasting.settings.schema import Config, ServingConfig
from forecasting.warehouse.anomaly_store import AnomalyQuery, acknowledge_anomaly, read_anomalies
from forecasting.warehouse.connection import connected
from forecasting.warehouse.outcome_store import OutcomeQuery
from forecasting.warehouse.site_directory import SiteDirectory

logger = logging.getLogger("forecasting.serving")

RETURN_SECONDS = 30.0  # between looks for memory to give back, which take some milliseconds


class VersionManager:
    """Serves one version at a time, checks it every second, and switches to another. Requests that began with the
    previous version finish with it.
    """

    def __init__(
        self,
        config: Config,
        artifact: Artifact,
        supervisor: Supervisor,
        archive: Path,
        *,
        daily_command: Sequence[str] = (),
    ) -> None:
        """`archive` is the copy that the supervisor starts TorchServe from, in a temporary folder. `daily_command`
        starts the daily job; empty: others run it.
        """
        self._config = config
        self._supervisor = supervisor
        self._archive = archive
        self._messenger = Messenger(self._find_messages)
        self.served = ServedModel(config, artifact, supervisor.torchserve, on_judged=self._messenger.note_news)
        self.served.keeper.start()
        self._page_data = PageData(config, lambda: self.served)
        self._resources = ResourceWatch(config)
        self._schedule = DailySchedule(self.served.config, lambda: self.served.windows.client, daily_command)
        self._promotions = Promotions(config.serving.root_path)
        for note in take_notes(config.model_dir):
            self._promotions.restore(note.promotion_id, note.version, served=artifact.card.version)
        self._retiring: set[asyncio.Task[None]] = set()
        self._followed = find_promotion_time(config.model_dir)

    @property
    def forecast_cache(self) -> ForecastCache:
        return self.served.forecast_cache

    @property
    def problems(self) -> Problems:
        """At the last check. While TorchServe is being restarted, its supervisor knows more than the client."""
        problems = self.served.problems._replace(
            promotion=self._promotions.problem,
            disk=self._resources.disk_problem,
            memory=self._resources.memory_problem,
            daily_job=self._schedule.problem,
        )
        return problems._replace(model=self._supervisor.problem or problems.model) if problems.model else problems

    @property
    def data(self) -> DataState:
        return self.served.windows.state

    @property
    def daily_job(self) -> JobState:
        return self._schedule.state

    async def find_problems(self) -> Problems:
        await self.served.find_problems()
        return self.problems

    async def list_sites(self) -> SiteDirectory:
        """The sites of the version and of the source, at most `serving.check_seconds` old."""
        return await self.served.windows.list_sites(max_age_seconds=self._config.serving.check_seconds)

    async def list_anomalies(
        self,
        *,
        site: str | None,
        metric: str | None,
        since: dt.date | None,
        until: dt.date | None,
        sensitivity: Sensitivity,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Unusual days, newest first. Raises UnknownSite."""
        windows, today = self.served.windows, self._config.data.today()
        directory = windows.sites.directory
        names = [next(iter(directory.find_site(site).values())).site] if site is not None else []
        query = AnomalyQuery(
            since=since or today - dt.timedelta(days=SHOWN_DAYS),
            until=until or today,
            least_score=sensitivity.threshold,
            sites=[directory.stored_name_of(name) for name in names],
            metric=metric,
            limit=limit,
        )
        rows = await windows.client.run(partial(read_anomalies, query=query))
        return [describe_for_routes(row) for row in rows]

    async def read_overview(self, *, limit: int, offset: int) -> dict[str, Any]:
        """Sites at a glance. Raises what makes all of them unreadable."""
        return await self._page_data.read_overview(limit=limit, offset=offset)

    async def read_history(self, *, metric: str, site: str | None, num_days: int) -> dict[str, Any]:
        """The last days of a series. Raises UnknownSite or UnknownMetric."""
        return await self._page_data.read_history(metric=metric, site=site, num_days=num_days)

    async def acknowledge_anomaly(self, number: int, *, by: str, note: str | None) -> dict[str, Any]:
        """Raises UnknownAnomaly."""
        async with connected(self.served.windows.client.database, writable=True) as connection:
            rows = await acknowledge_anomaly(connection, number, by=by, note=note)
        return describe_acknowledged(rows)

    async def describe_accuracy(
        self, *, site: str | None, metric: str | None, since: dt.date | None, limit: int, offset: int
    ) -> dict[str, Any]:
        """What versions promised beside what came true. Raises UnknownSite."""
        windows, config = self.served.windows, self.served.config
        directory = windows.sites.directory
        names = [next(iter(directory.find_site(site).values())).site] if site is not None else []
        query = OutcomeQuery(
            since=choose_first_day(since, config),
            days_ahead=self.served.card.prediction_horizon,
            sites=[directory.stored_name_of(name) for name in names],
            metric=metric,
        )
        report = await windows.client.run(partial(report_accuracy, config=config, query=query))
        return describe_accuracy(report, limit=limit, offset=offset)

    async def read_new_days(self) -> None:
        """Called at the start, so that problems show before the first request."""
        await self.served.windows.updates.refresh()

    async def watch(self) -> None:
        """Checks the parts every second and lets the supervisor restart TorchServe, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._supervisor.watch(self._use_restarted))
            group.create_task(_return_memory())
            group.create_task(self._messenger.run())
            group.create_task(self._schedule.watch())
            while True:
                started, served = time.monotonic(), self.served
                self._resources.check(self._supervisor.torchserve)
                await served.check()
                await self._follow_store()
                if served is self.served:
                    self._supervisor.report_answer(served.client.breaker.succeeded_at)
                await asyncio.sleep(max(0.0, started + self._config.serving.check_seconds - time.monotonic()))

    async def promote(self, version: str, *, force: bool = False) -> Promotion:
        """Starts to serve another version, or this one after it was trained again, now and after a restart.

        No request fails meanwhile: the current version answers until the new one can, and finishes what it began.
        With `force` even if series that are forecast now no longer are. Raises UnknownVersion, BrokenArtifact or
        CannotPromote at once; the promotion itself records later failures.
        """
        try:
            with self._promotions.prepare(version) as promotion:
                artifact = await self._check_version(version, force=force)
        except ForecastingError as error:
            logger.warning("version %s is not promoted: %s", version, error)
            raise
        forced = ", even if series are lost" if force else ""
        logger.info("promotion %s of version %s begins%s", promotion.id, version, forced)
        self._promotions.run(promotion, partial(self._promote, promotion, artifact, force=force))
        return promotion

    def find_promotion(self, promotion_id: str) -> Promotion:
        """Raises UnknownPromotion."""
        return self._promotions.find(promotion_id)

    async def close(self) -> None:
        """Cancels a promotion that is under way, and what TorchServe still computes: nobody waits for that any more."""
        await self._promotions.close()
        await self._schedule.close()
        for task in self._retiring:
            task.cancel()
        if self._retiring:
            await asyncio.wait(self._retiring)
        await self.served.client.close()
        await self.served.close()

    async def _check_version(self, version: str, *, force: bool) -> Artifact:
        """Raises whatever can be refused before anything starts."""
        if self._config.model_version is not None:
            raise CannotPromote(
                f"MODEL_VERSION (or --model-version) fixes the version to {self._config.model_version}. "
                "Unset it and restart the server to promote versions."
            )
        artifact = await asyncio.to_thread(load_artifact, self._config.model_dir, version)
        try:
            settings = restore_settings(artifact.card, self._config)
        except SettingError as error:
            raise CannotPromote(str(error)) from error
        if not force:
            windows = self.served.windows
            served = windows.sites.directory
            new = SiteDirectory.of(artifact.card, served.index, unnamed=settings.unnamed_site)
            missing = await find_missing(windows, new)
            refuse_losing(missing, version=version, served=served, advice="Train it on them too")
        return artifact

    async def _promote(self, promotion: Promotion, artifact: Artifact, *, force: bool) -> None:
        """Raises what keeps the version from being served; the current version is served on."""
        version, current = artifact.card.version, self.served.card
        async with self._noted(promotion):
            if artifact.card == current:
                await finish(self._mark_promoted(version))
                logger.info("version %s is served already; it will be after a restart, too", version)
                return
            logger.info("promoting version %s; version %s answers until it is ready", version, current.version)
            try:
                await self._switch_to(artifact, force=force)
            except CannotStart as error:  # its text has a traceback, which is not for clients
                logger.warning("%s", error)
                raise Unavailable(
                    f"TorchServe could not start with version {version}. The server's log says why."
                ) from error
            logger.info("version %s is served (promotion %s)", version, promotion.id)

    @asynccontextmanager
    async def _noted(self, promotion: Promotion) -> AsyncIterator[None]:
        """With a note for the next start, which is left behind if the end of the server cuts the promotion off.

        Raises StoreNotWritable before anything starts: the promotion could not be remembered either.
        """
        store, note = self._config.model_dir, Note(promotion.id, promotion.version)
        await asyncio.to_thread(write_note, store, note)
        try:
            yield
        except Exception:
            await asyncio.to_thread(remove_note, store)
            raise
        await asyncio.to_thread(remove_note, store)

    async def _switch_to(self, artifact: Artifact, *, force: bool) -> None:
        """Starts the version beside the current one and verifies it; on any error everything is undone."""
        version, serving = artifact.card.version, self._config.serving
        async with AsyncExitStack() as undo:
            archive = await asyncio.to_thread(copy_archive, artifact, self._archive.parent)
            undo.callback(archive.unlink)
            beside = replace(serving, torchserve_ports=[0])  # the configured ones are still in use
            torchserve = await self._supervisor.start_second(make_start(archive, version, beside))
            undo.push_async_callback(self._supervisor.end, torchserve)
            logger.info("TorchServe answers with version %s on %s", version, torchserve.inference_url)
            served = ServedModel(self._config, artifact, torchserve, on_judged=self._messenger.note_news)
            undo.push_async_callback(served.close)
            await served.verify()
            if not force:
                await self._refuse_losing(served)
            logger.info("version %s forecasts", version)
            await finish(self._mark_promoted(version))
            undo.pop_all()
        previous_torchserve = self._supervisor.switch_to(torchserve, make_start(archive, version, serving))
        task = asyncio.create_task(self._retire(self.served, previous_torchserve, self._archive))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        self.served, self._archive = served, archive
        served.keeper.start()

    async def _mark_promoted(self, version: str) -> None:
        before = self.served.card.version
        await asyncio.to_thread(partial(mark_promoted, self._config.model_dir, version, before=before))

    async def _follow_store(self) -> None:
        """Promotes the version that somebody else has promoted in the store, such as `models.py rollback`. One that
        cannot be served is not tried again until it is promoted again.
        """
        if self._config.model_version is not None or self._promotions.is_busy:
            return
        promoted = find_promotion_time(self._config.model_dir)
        if promoted is None or promoted == self._followed:
            return
        self._followed = promoted
        if promoted.version != self.served.card.version:
            logger.info("version %s was promoted in %s", promoted.version, self._config.model_dir)
            with suppress(ForecastingError):  # which promote logs
                await self.promote(promoted.version)

    async def _refuse_losing(self, new: ServedModel) -> None:
        """Raises CannotPromote if the new version, though trained on them, lacks the days of series that it needs."""
        windows = self.served.windows
        refuse_losing(
            await find_unreadable(windows, new.windows),
            version=new.card.version,
            served=windows.sites.directory,
            advice="It needs more of their days: load those",
        )

    async def _retire(self, served: ServedModel, torchserve: TorchServe, archive: Path) -> None:
        """Ends the previous version. Requests already in flight are still answered."""
        async with AsyncExitStack() as ending:
            ending.callback(archive.unlink)
            ending.push_async_callback(self._supervisor.end, torchserve)
            ending.push_async_callback(served.close)
            await served.forecast_cache.finish()
        logger.info("version %s has ended", served.card.version)

    def _find_messages(self) -> Place | None:
        windows = self.served.windows
        if not windows.updates.has_succeeded:
            return None
        return Place(self.served.config, windows.client.database, windows.updates.problem)

    def _use_restarted(self, torchserve: TorchServe) -> None:
        self.served.switch_to(torchserve)  # the version that is served by then


async def _return_memory() -> None:
    """Whatever large requests and updates have left, until it is cancelled."""
    while True:
        await asyncio.sleep(RETURN_SECONDS)
        await asyncio.to_thread(return_freed_memory)


def make_start(archive: Path, version: str, serving: ServingConfig) -> Start:
    """What a supervisor calls to start this version, and to restart it."""
    return partial(start_torchserve, archive, version, serving)


def copy_archive(artifact: Artifact, folder: Path) -> Path:
    """A copy that stays as it is while the version is served: training the version again replaces its archive.

    Raises NoRoom, or what ensure_archive raises.
    """
    archive = ensure_archive(artifact)
    check_room(folder, archive.stat().st_size)
    copy = folder / f"{time.monotonic_ns()}.{archive.name}"
    try:
        shutil.copy(archive, copy)
    except OSError:
        copy.unlink(missing_ok=True)
        raise
    return copy


async def finish(step: Coroutine[Any, Any, None]) -> None:
    """Waits for a step that is taken as a whole: whoever cancels the task has to wait for it, too."""
    task = asyncio.ensure_future(step)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    task.result()
