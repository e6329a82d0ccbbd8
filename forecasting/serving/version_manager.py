"""What the routes ask: the version that is served now, looked after each second, and exchanged for a promoted one."""

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
from forecasting.serving.served_model import ServedModel, Troubles
from forecasting.serving.torchserve.archive import ensure_archive
from forecasting.serving.torchserve.process import TorchServe
from forecasting.serving.torchserve.startup import start_torchserve
from forecasting.serving.torchserve.supervisor import Start, Supervisor
from forecasting.settings.schema import Config, ServingConfig

logger = logging.getLogger("forecasting.serving")


class VersionManager:
    """One version is served at any time; requests that began with the one before end with it."""

    def __init__(self, config: Config, artifact: Artifact, supervisor: Supervisor, archive: Path) -> None:
        """`archive` is the copy that the supervisor starts from, in a folder of ours."""
        self._config = config
        self._supervisor = supervisor
        self._archive = archive
        self.served = ServedModel(config, artifact, supervisor.torchserve)
        self._promotions = Promotions()
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def answers(self) -> ForecastCache:
        return self.served.answers

    @property
    def troubles(self) -> Troubles:
        """As they were when it was last looked; of TorchServe as its supervisor has it, who knows more."""
        found = self.served.troubles
        return found._replace(model=self._supervisor.problem or found.model) if found.model else found

    async def find_troubles(self) -> Troubles:
        await self.served.find_troubles()
        return self.troubles

    async def list_sites(self) -> dict[str, str]:
        """The sites that the source has by now, and their time zones."""
        return await self.served.history.list_sites()

    async def read_days(self) -> None:
        """So that what stands in their way is known before somebody asks for a forecast."""
        await self.served.history.bring_up_to_date()

    async def watch(self) -> None:
        """Looks each second, and has TorchServe started again where it has to be. Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._supervisor.watch(self._move))
            while True:
                began, served = time.monotonic(), self.served
                await served.look()
                if served is self.served:
                    self._supervisor.report_answer(served.model.breaker.succeeded_at)
                await asyncio.sleep(max(0.0, began + self._config.serving.check_seconds - time.monotonic()))

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
        version, current = artifact.card.version, self.answers.card
        if artifact.card == current:
            await asyncio.to_thread(mark_promoted, self._config.model_dir, version)
            return
        logger.info("promoting version %s; version %s answers until it is ready", version, current.version)
        try:
            await self._exchange(artifact)
        except ForecastingError as error:
            logger.warning("version %s is not promoted, %s is served on: %s", version, current.version, error)
            if isinstance(error, CannotStart):  # its text has a traceback, which is not for clients
                raise Unavailable(
                    f"TorchServe could not start with version {version}. The server's log says why."
                ) from error
            raise
        logger.info("version %s is served", version)

    async def _exchange(self, artifact: Artifact) -> None:
        version, serving = artifact.card.version, self._config.serving
        async with AsyncExitStack() as undo:
            archive = await asyncio.to_thread(copy_archive, artifact, self._archive.parent)
            undo.callback(archive.unlink)
            free_ports = replace(serving, torchserve_ports=[0])  # the one before still has its own
            beside = start_of(archive, version, free_ports)
            torchserve = await self._supervisor.start_second(beside)
            undo.push_async_callback(self._supervisor.end, torchserve)
            served = ServedModel(self._config, artifact, torchserve)
            undo.push_async_callback(served.close)
            await served.prove()
            await asyncio.to_thread(mark_promoted, self._config.model_dir, version)
            undo.pop_all()
        before, start = self.served, start_of(archive, version, serving)
        task = asyncio.create_task(self._retire(before, self._supervisor.switch_to(torchserve, start), self._archive))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        self.served, self._archive = served, archive

    async def _retire(self, served: ServedModel, torchserve: TorchServe, archive: Path) -> None:
        """Whoever asks it by now still gets his answer."""
        try:
            await served.answers.finish()
        finally:
            await served.close()
            await self._supervisor.end(torchserve)
            await asyncio.to_thread(archive.unlink)

    def _move(self, torchserve: TorchServe) -> None:
        self.served.move(torchserve)


def start_of(archive: Path, version: str, serving: ServingConfig) -> Start:
    """How a supervisor starts it, and starts it again."""
    return partial(start_torchserve, archive, version, serving)


def copy_archive(artifact: Artifact, folder: Path) -> Path:
    """The version's archive as it is now: it changes when the version is trained again, which is served before."""
    archive = ensure_archive(artifact)
    return Path(shutil.copy(archive, folder / f"{time.monotonic_ns()}.{archive.name}"))
