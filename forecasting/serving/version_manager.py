"""The version that is served now: watched, and replaced by a promoted one."""

import asyncio
import logging
import shutil
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from forecasting.artifact import Artifact, load_artifact, mark_promoted
from forecasting.errors import CannotPromote, CannotStart, ForecastingError, Unavailable
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.promotions import Promotion, Promotions
from forecasting.serving.served_model import Problems, ServedModel
from forecasting.serving.torchserve.archive import ensure_archive
from forecasting.serving.torchserve.process import TorchServe
from forecasting.serving.torchserve.startup import start_torchserve
from forecasting.serving.torchserve.supervisor import Start, Supervisor
from forecasting.settings.schema import Config, ServingConfig
from forecasting.warehouse.site_directory import SiteDirectory

logger = logging.getLogger("forecasting.serving")


class VersionManager:
    """Serves one version at a time, checks it every second, and switches to another. Requests that began with the
    previous version finish with it.
    """

    def __init__(self, config: Config, artifact: Artifact, supervisor: Supervisor, archive: Path) -> None:
        """`archive` is the copy that the supervisor starts TorchServe from, in a temporary folder."""
        self._config = config
        self._supervisor = supervisor
        self._archive = archive
        self.served = ServedModel(config, artifact, supervisor.torchserve)
        self._promotions = Promotions()
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def forecast_cache(self) -> ForecastCache:
        return self.served.forecast_cache

    @property
    def problems(self) -> Problems:
        """At the last check. While TorchServe is being restarted, its supervisor knows more than the client."""
        problems = self.served.problems
        return problems._replace(model=self._supervisor.problem or problems.model) if problems.model else problems

    async def find_problems(self) -> Problems:
        await self.served.find_problems()
        return self.problems

    async def list_sites(self) -> SiteDirectory:
        """The sites of the version and of the source, as they are at this moment."""
        return await self.served.windows.list_sites()

    async def read_new_days(self) -> None:
        """Called at the start, so that problems show before the first request."""
        await self.served.windows.updates.refresh()

    async def watch(self) -> None:
        """Checks the parts every second and lets the supervisor restart TorchServe, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._supervisor.watch(self._use_restarted))
            while True:
                started, served = time.monotonic(), self.served
                await served.check()
                if served is self.served:
                    self._supervisor.report_answer(served.client.breaker.succeeded_at)
                await asyncio.sleep(max(0.0, started + self._config.serving.check_seconds - time.monotonic()))

    async def promote(self, version: str) -> Promotion:
        """Starts to serve another version, or this one after it was trained again, now and after a restart.

        No request fails meanwhile: the current version answers until the new one can, and finishes what it began.
        Raises UnknownVersion, BrokenArtifact or CannotPromote at once; the promotion itself records later failures.
        """
        if self._config.model_version is not None:
            raise CannotPromote(
                f"MODEL_VERSION (or --model-version) fixes the version to {self._config.model_version}. "
                "Unset it and restart the server to promote versions."
            )
        with self._promotions.prepare(version) as promotion:
            artifact = await asyncio.to_thread(load_artifact, self._config.model_dir, version)
        self._promotions.run(promotion, partial(self._promote, artifact))
        return promotion

    def find_promotion(self, promotion_id: str) -> Promotion:
        """Raises UnknownPromotion."""
        return self._promotions.find(promotion_id)

    async def close(self) -> None:
        """Cancels a promotion that is under way."""
        await self._promotions.close()
        for task in self._retiring:
            task.cancel()
        if self._retiring:
            await asyncio.wait(self._retiring)
        await self.served.close()

    async def _promote(self, artifact: Artifact) -> None:
        """Raises what keeps the version from being served; the current version is served on."""
        version, current = artifact.card.version, self.served.card
        if artifact.card == current:
            await asyncio.to_thread(mark_promoted, self._config.model_dir, version)
            return
        logger.info("promoting version %s; version %s answers until it is ready", version, current.version)
        try:
            await self._switch_to(artifact)
        except ForecastingError as error:
            logger.warning("version %s is not promoted, %s is served on: %s", version, current.version, error)
            if isinstance(error, CannotStart):  # its text has a traceback, which is not for clients
                raise Unavailable(
                    f"TorchServe could not start with version {version}. The server's log says why."
                ) from error
            raise
        logger.info("version %s is served", version)

    async def _switch_to(self, artifact: Artifact) -> None:
        """Starts the version beside the current one and verifies it; on any error everything is undone."""
        version, serving = artifact.card.version, self._config.serving
        async with AsyncExitStack() as undo:
            archive = await asyncio.to_thread(copy_archive, artifact, self._archive.parent)
            undo.callback(archive.unlink)
            beside = replace(serving, torchserve_ports=[0])  # the configured ones are still in use
            torchserve = await self._supervisor.start_second(make_start(archive, version, beside))
            undo.push_async_callback(self._supervisor.end, torchserve)
            served = ServedModel(self._config, artifact, torchserve)
            undo.push_async_callback(served.close)
            await served.verify()
            await asyncio.to_thread(mark_promoted, self._config.model_dir, version)
            undo.pop_all()
        previous_torchserve = self._supervisor.switch_to(torchserve, make_start(archive, version, serving))
        task = asyncio.create_task(self._retire(self.served, previous_torchserve, self._archive))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        self.served, self._archive = served, archive

    async def _retire(self, served: ServedModel, torchserve: TorchServe, archive: Path) -> None:
        """Ends the previous version. Requests already in flight are still answered."""
        try:
            await served.forecast_cache.finish()
        finally:
            await served.close()
            await self._supervisor.end(torchserve)
            await asyncio.to_thread(archive.unlink)

    def _use_restarted(self, torchserve: TorchServe) -> None:
        self.served.switch_to(torchserve)  # the version that is served by then


def make_start(archive: Path, version: str, serving: ServingConfig) -> Start:
    """What a supervisor calls to start this version, and to restart it."""
    return partial(start_torchserve, archive, version, serving)


def copy_archive(artifact: Artifact, folder: Path) -> Path:
    """A copy that stays as it is while the version is served: training the version again replaces its archive."""
    archive = ensure_archive(artifact)
    return Path(shutil.copy(archive, folder / f"{time.monotonic_ns()}.{archive.name}"))
