"""What the routes ask: the version that is served now, looked after each second, and exchanged for a promoted one."""

import asyncio
import logging
import shutil
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from forecasting.artifact import Artifact, Card, load_artifact, mark_promoted
from forecasting.errors import CannotPromote, CannotStart, DataError, ServingError, Unavailable, WarehouseError
from forecasting.serving.forecast_cache import ForecastCache
from forecasting.serving.served_model import ServedModel, Troubles
from forecasting.serving.torchserve.archive import ensure_archive
from forecasting.serving.torchserve.process import PORTS, TorchServe, start_torchserve
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
        self._promoting: asyncio.Task[Card] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def answers(self) -> ForecastCache:
        return self.served.answers

    @property
    def troubles(self) -> Troubles:
        """As they were when it was last looked; of TorchServe as its supervisor has it, who knows more."""
        found = self.served.troubles
        return found._replace(model=self._supervisor.trouble or found.model) if found.model else found

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
                    self._supervisor.answered(served.model.breaker.succeeded_at)
                await asyncio.sleep(max(0.0, began + self._config.serving.check_seconds - time.monotonic()))

    async def promote(self, version: str) -> Card:
        """Serves another version of the store, or one that was trained again, from now on and after a restart; without
        a request that fails: the one before answers until the new one has, and ends what it has begun.

        Raises UnknownVersion, BrokenArtifact; CannotPromote where this may not be, and Unavailable where it fails, of
        which the log says more. The version before is served on.
        """
        if self._config.serving.model_version is not None:
            raise CannotPromote(
                f"MODEL_VERSION (or --model-version) says that version {self._config.serving.model_version} is served. "
                "Unset it and restart the server, so that versions can be promoted."
            )
        if self._promoting is not None and not self._promoting.done():
            raise CannotPromote("A version is being promoted at this moment. Ask again when it is done.")
        self._promoting = asyncio.create_task(self._promote(version))
        self._promoting.add_done_callback(_see)
        return await asyncio.shield(self._promoting)  # whoever asked may leave: half a promotion is none

    async def close(self) -> None:
        """Gives up what is being promoted."""
        if left := {task for task in (self._promoting, *self._retiring) if task is not None and not task.done()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left)
        await self.served.close()

    async def _promote(self, version: str) -> Card:
        store, before = self._config.model_dir, self.answers.card
        artifact = await asyncio.to_thread(load_artifact, store, version)
        if artifact.card == before:
            await asyncio.to_thread(mark_promoted, store, version)
            return artifact.card
        logger.info("promoting version %s; %s is served until it answers", version, before.version)
        try:
            await self._exchange(artifact)
        except (ServingError, WarehouseError, DataError) as error:
            failed = f"Version {version} cannot be served, and {before.version} still is."
            logger.warning("%s %s", failed, error)
            # What cannot start tells of it with a traceback.
            reason = "The server's log says why." if isinstance(error, CannotStart) else str(error)
            raise Unavailable(f"{failed} {reason}") from error
        logger.info("version %s is served", version)
        return artifact.card

    async def _exchange(self, artifact: Artifact) -> None:
        version, serving = artifact.card.version, self._config.serving
        async with AsyncExitStack() as undo:
            archive = await asyncio.to_thread(copy_archive, artifact, self._archive.parent)
            undo.callback(archive.unlink)
            free: dict[str, Any] = dict.fromkeys(PORTS, 0)  # Any: so that it fits; the one before still has its own
            beside = start_of(archive, version, replace(serving, **free))
            torchserve = await self._supervisor.start_beside(beside)
            undo.push_async_callback(self._supervisor.end, torchserve)
            served = ServedModel(self._config, artifact, torchserve)
            undo.push_async_callback(served.close)
            await served.prove()
            await asyncio.to_thread(mark_promoted, self._config.model_dir, version)
            undo.pop_all()
        before, start = self.served, start_of(archive, version, serving)
        task = asyncio.create_task(self._retire(before, self._supervisor.take_over(torchserve, start), self._archive))
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


def _see(task: "asyncio.Task[Card]") -> None:
    """So that nobody complains of an error that was logged, where whoever asked has left."""
    if not task.cancelled():
        task.exception()
