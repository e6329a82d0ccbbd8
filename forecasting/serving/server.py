"""The whole of serving: TorchServe, the shim in front of it, and their end."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType

import uvicorn

from forecasting.artifact import Artifact, load_artifact
from forecasting.config import Config, ServingConfig
from forecasting.errors import CannotStart, ForecastingError
from forecasting.serving.api import create_app
from forecasting.serving.archive import check_handler, ensure_archive
from forecasting.serving.client import TorchServeClient
from forecasting.serving.journal import Counters
from forecasting.serving.service import Forecasts, History
from forecasting.serving.torchserve import (
    PORTS,
    TorchServe,
    choose_ports,
    find_java,
    find_owner,
    find_torchserve,
    start_torchserve,
)

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

    async def read_days(self) -> None:
        """So that what stands in their way is known before somebody asks for a forecast."""
        await self._history.bring_up_to_date()

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

    Raises CannotStart, UnknownVersion, BrokenArtifact, each with what to do, before anything listens.
    """
    check_parts(config)
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


def check_parts(config: Config) -> None:
    """Raises what stands in the way of serving, all at once: nobody should mend one part to hear of the next."""
    serving = config.serving
    checks: tuple[Callable[[], object], ...] = (
        partial(load_artifact, config.model_dir, serving.model_version),
        lambda: take_port(serving).close(),
        partial(_check_ports_differ, serving),
        check_handler,
        find_torchserve,
        partial(find_java, serving.java_home),
        partial(choose_ports, serving),
    )
    missing = []
    for check in checks:
        try:
            check()
        except ForecastingError as error:
            missing.append(error)
    if len(missing) == 1:
        raise missing[0]
    if missing:
        raise CannotStart(f"{len(missing)} things stand in the way:\n" + "\n".join(f"- {error}" for error in missing))


def _check_ports_differ(serving: ServingConfig) -> None:
    """What is bound but does not listen yet stops nobody else: without this, TorchServe would start for nothing."""
    names: dict[int, list[str]] = {}
    for name in ("port", *PORTS):
        names.setdefault(getattr(serving, name), []).append(f"serving.{name}")
    for port, same in names.items():
        if port and len(same) > 1:
            raise CannotStart(
                f"{' and '.join(same)} are the same, {port}. Choose another for one, or 0 for a free one."
            )


async def _serve_shim(config: Config, artifact: Artifact, torchserve: TorchServe, listener: socket.socket) -> None:
    with _told_of_owner(config.serving):
        listener.listen(BACKLOG)
    shim = Shim(config, artifact, torchserve)
    settings = uvicorn.Config(
        create_app(shim, Counters(lambda: torchserve.metrics_url)),
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

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets what is in flight end; a second one, of either kind, waits for nothing."""
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._shim.read_days()
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
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise CannotStart(
                f"serving.host is {serving.host!r}, which is no address of this machine ({error.strerror}). "
                "Set it to 127.0.0.1 for this machine alone, or to 0.0.0.0 for every network that it is in."
            ) from error
        todo = "Ports below 1024 are root's:" if error.errno == errno.EACCES else "Stop what holds it, or"
        raise CannotStart(
            f"Port {serving.port} on {serving.host} cannot be taken: {error.strerror}{find_owner(serving.port)}. "
            f"{todo} choose another port with PORT or --port."
        ) from error
