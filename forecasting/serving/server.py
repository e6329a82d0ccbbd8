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
import uvloop
from prometheus_client.core import CounterMetricFamily

from forecasting.artifact import load_artifact
from forecasting.errors import CannotStart, ForecastingError
from forecasting.serving.http.connection import guard_connections
from forecasting.serving.http.guards import check_host
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.serving.http.routes import create_app
from forecasting.serving.torchserve.archive import check_handler
from forecasting.serving.torchserve.installation import find_java, find_torchserve
from forecasting.serving.torchserve.ports import choose_ports, find_owner
from forecasting.serving.torchserve.run_folder import temporary_folder
from forecasting.serving.torchserve.supervisor import Supervisor
from forecasting.serving.version_manager import VersionManager, copy_archive, start_of
from forecasting.settings.schema import Config, ServingConfig

logger = logging.getLogger("forecasting.serving")

DRAIN_SECONDS = 10  # that requests in flight have to end in, after SIGTERM
LAST_WORD_SECONDS = 1.0  # for those that have not, to be told so
# Longer than proxies keep an idle connection (60 s): else one is closed here just while they send a request over it.
KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048  # connections that wait to be accepted, uvicorn's own number


def serve(config: Config) -> None:
    """Serves the version that `config` names until SIGINT or SIGTERM, and leaves no process behind.

    Raises SettingError, CannotStart, UnknownVersion, BrokenArtifact, each with what to do, before anything listens.
    """
    check_host(config)
    check_parts(config)
    artifact = load_artifact(config.model_dir, config.model_version)
    with take_port(config.serving) as listener, temporary_folder() as folder:
        archive = copy_archive(artifact, folder)
        logger.info("starting TorchServe on %s", artifact.archive)
        with Supervisor(start_of(archive, artifact.card.version, config.serving)) as supervisor:
            torchserve = supervisor.torchserve
            logger.info(
                "TorchServe answers on %s and is managed on %s, its keys are in %s",
                torchserve.inference_url, torchserve.management_url, torchserve.key_file,
            )  # fmt: skip
            # uvicorn raises the signal again that it has ended for
            with suppress(KeyboardInterrupt, SystemExit), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(
                    _serve_shim(config, VersionManager(config, artifact, supervisor, archive), supervisor, listener)
                )
            logger.info("stopping TorchServe")
    logger.info("stopped")


def check_parts(config: Config) -> None:
    """Raises what stands in the way of serving, all at once: nobody should mend one part to hear of the next."""
    serving = config.serving
    checks: tuple[Callable[[], object], ...] = (
        partial(load_artifact, config.model_dir, config.model_version),
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
    names = {serving.port: ["serving.port"]}
    for name, port in serving.each_torchserve_port.items():
        names.setdefault(port, []).append(f"TorchServe's {name} port (serving.torchserve_ports)")
    for port, same in names.items():
        if port and len(same) > 1:
            raise CannotStart(
                f"{' and '.join(same)} are the same, {port}. Choose another for one, or 0 for a free one."
            )


async def _serve_shim(config: Config, shim: VersionManager, supervisor: Supervisor, listener: socket.socket) -> None:
    with _told_of_owner(config.serving):
        listener.listen(BACKLOG)
    settings = uvicorn.Config(
        create_app(shim, config, _count(shim, supervisor)),
        http=guard_connections(config.guard),
        ws="none",
        proxy_headers=False,  # what a client says of its address is not believed
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = _Server(settings, shim)
    watching = asyncio.create_task(shim.watch())
    # Without it nobody would know any more whether answers hold: better none.
    watching.add_done_callback(lambda _: setattr(server, "should_exit", True))
    try:
        await server.serve(sockets=[listener])
    finally:
        await server.cut_off()
        watching.cancel()
        await asyncio.wait({watching})
        await shim.close()
    if not watching.cancelled():
        watching.result()


def _count(shim: VersionManager, supervisor: Supervisor) -> ServingMetrics:
    """Numbers of what stands behind the routes."""
    counters = ServingMetrics(lambda: supervisor.torchserve.metrics_url)
    for name, text, read in (
        ("ready", "Whether requests are answered, as GET /ready says.", lambda: shim.troubles.is_ready),
        (
            "torchserve_given_up",
            "Whether TorchServe is not asked: it does not answer.",
            lambda: shim.served.model.breaker.is_open,
        ),
        (
            "postgresql_given_up",
            "Whether PostgreSQL is not asked: it does not answer.",
            lambda: shim.served.history.breaker.is_open,
        ),
        ("kept_answers", "Answers in memory.", lambda: len(shim.answers.kept)),
        ("kept_answers_bytes", "Memory that they take.", lambda: shim.answers.kept.currsize),
    ):
        counters.watch(f"forecaster_{name}", text, read)
    counters.watch(
        "forecaster_torchserve_restarts_total", "How often TorchServe was started again.",
        lambda: supervisor.num_restarts, family=CounterMetricFamily,
    )  # fmt: skip
    return counters


class _Server(uvicorn.Server):
    """Says where it listens, once it does, and what of the rest does not answer yet; ends in two steps, or at once."""

    def __init__(self, config: uvicorn.Config, shim: VersionManager) -> None:
        super().__init__(config)
        self._shim = shim

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets what is in flight end; a second one, of either kind, waits for nothing."""
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)

    async def cut_off(self) -> None:
        """Ends the requests that are left, while what they ask is still there, so that each gets its last word."""
        if left := self.server_state.tasks:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=LAST_WORD_SECONDS)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._shim.read_days()
        for trouble in (await self._shim.find_troubles()).tell():
            logger.warning("not answering yet: %s", trouble)
        host, port = (sockets or [])[0].getsockname()[:2]
        logger.info("version %s is served on http://%s:%d", self._shim.answers.card.version, host, port)


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
