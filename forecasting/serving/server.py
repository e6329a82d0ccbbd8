"""The whole of serving: TorchServe, the shim in front of it, and their end."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn

from forecasting.artifact import Artifact, load_artifact
from forecasting.config import Config, ServingConfig
from forecasting.errors import CannotStart, ForecastingError
from forecasting.serving.api import create_app
from forecasting.serving.archive import ensure_archive
from forecasting.serving.client import TorchServeClient
from forecasting.serving.connection import guard_connections
from forecasting.serving.guards import check_host
from forecasting.serving.service import Forecasts, History
from forecasting.serving.torchserve import TorchServe, find_owner, start_torchserve

logger = logging.getLogger("forecasting.serving")

DRAIN_SECONDS = 10  # that requests in flight have to end in, after SIGTERM
BACKLOG = 2048  # connections that wait to be accepted, uvicorn's own number


class Shim:
    """What the routes ask: history from PostgreSQL, quantiles from TorchServe."""

    def __init__(self, config: Config, artifact: Artifact, torchserve: TorchServe) -> None:
        card, serving = artifact.card, config.serving
        self._model = TorchServeClient(
            torchserve.inference_url, card.version, torchserve.key_file, serving.deadline_seconds
        )
        self._history = History(config, card)
        self.forecasts = Forecasts(card, self._model, self._history.read)

    async def find_troubles(self) -> tuple[bool, list[str]]:
        """Whether the model answers, and a sentence for each part that does not."""
        model, history = await asyncio.gather(self._model.find_trouble(), self._find_history_trouble())
        return model is None, [trouble for trouble in (model, history) if trouble]

    async def list_sites(self) -> dict[str, str]:
        """The sites that the source has by now, and their time zones."""
        return await self._history.list_sites()

    async def close(self) -> None:
        await self._model.close()
        await self._history.close()

    async def _find_history_trouble(self) -> str | None:
        try:
            await self._history.check()
        except ForecastingError as error:
            return str(error)
        return self._history.trouble


def serve(config: Config) -> None:
    """Serves the version that `config` names until SIGINT or SIGTERM, and leaves no process behind.

    Raises SettingError, CannotStart, UnknownVersion, BrokenArtifact, each with what to do, before anything listens.
    """
    check_host(config)
    artifact = load_artifact(config.model_dir, config.serving.model_version)
    with take_port(config.serving) as listener:
        archive = ensure_archive(artifact)
        logger.info("starting TorchServe on %s", archive)
        with start_torchserve(archive, artifact.card.version, config.serving) as torchserve:
            logger.info(
                "TorchServe answers on %s and is managed on %s, its keys are in %s",
                torchserve.inference_url, torchserve.management_url, torchserve.key_file,
            )  # fmt: skip
            # uvicorn raises the signal again that it has ended for
            with suppress(KeyboardInterrupt, SystemExit), asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(_serve_shim(config, artifact, torchserve, listener))
            logger.info("stopping TorchServe")
    logger.info("stopped")


async def _serve_shim(config: Config, artifact: Artifact, torchserve: TorchServe, listener: socket.socket) -> None:
    with _told_of_owner(config.serving):
        listener.listen(BACKLOG)
    shim = Shim(config, artifact, torchserve)
    settings = uvicorn.Config(
        create_app(shim, config),
        http=guard_connections(config.guard),
        ws="none",
        proxy_headers=False,  # what a client says of its address is not believed
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    try:
        await _Server(settings, shim).serve(sockets=[listener])
    finally:
        await shim.close()


class _Server(uvicorn.Server):
    """Says where it listens, once it does, and what of the rest does not answer yet."""

    def __init__(self, config: uvicorn.Config, shim: Shim) -> None:
        super().__init__(config)
        self._shim = shim

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _, troubles = await self._shim.find_troubles()
        for trouble in troubles:
            logger.warning("not answering yet: %s", trouble)
        host, port = (sockets or [])[0].getsockname()[:2]
        logger.info("version %s is served on http://%s:%d", self._shim.forecasts.card.version, host, port)


def take_port(serving: ServingConfig) -> socket.socket:
    """The shim's socket, taken before TorchServe is started for nothing; whoever connects yet is refused.

    Raises CannotStart, naming who holds the port.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in serving.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        with _told_of_owner(serving):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((serving.host, serving.port))
    except CannotStart:
        listener.close()
        raise
    return listener


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, where there is one: not on Windows."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@contextmanager
def _told_of_owner(serving: ServingConfig) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotStart(
            f"Port {serving.port} on {serving.host} cannot be taken: {error.strerror}{find_owner(serving.port)}. "
            "Stop what holds it, or choose another port with PORT or --port."
        ) from error
