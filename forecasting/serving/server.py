"""Starts TorchServe and the routes in front of it, and ends both."""

import asyncio
import logging
import socket
from contextlib import suppress
from types import FrameType

import uvicorn
import uvloop
from prometheus_client.core import CounterMetricFamily

from forecasting.artifact import load_artifact
from forecasting.serving.http.app import create_app
from forecasting.serving.http.connection import guard_connections
from forecasting.serving.http.guards import check_host
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.serving.preflight import check_parts, explain_address_errors, take_port
from forecasting.serving.torchserve.run_folder import temporary_folder
from forecasting.serving.torchserve.supervisor import Supervisor
from forecasting.serving.version_manager import VersionManager, copy_archive, make_start
from forecasting.settings.schema import Config

logger = logging.getLogger("forecasting.serving")

DRAIN_SECONDS = 10  # for requests in flight after SIGTERM
LAST_RESPONSE_SECONDS = 1.0  # for the requests left after that to answer 503
# Longer than proxies keep an idle connection (60 s): otherwise we might close one just as a request arrives on it.
KEEP_ALIVE_SECONDS = 75
BACKLOG = 2048  # connections that wait to be accepted; uvicorn's default


def serve(config: Config) -> None:
    """Serves the version that `config` names until SIGINT or SIGTERM, and leaves no process behind.

    Raises SettingError, CannotStart, UnknownVersion or BrokenArtifact before anything listens.
    """
    check_host(config)
    check_parts(config)
    artifact = load_artifact(config.model_dir, config.model_version)
    with take_port(config.serving) as listener, temporary_folder() as folder:
        archive = copy_archive(artifact, folder)
        logger.info("starting TorchServe with %s", artifact.archive)
        with Supervisor(make_start(archive, artifact.card.version, config.serving)) as supervisor:
            torchserve = supervisor.torchserve
            logger.info(
                "TorchServe answers on %s and is managed on %s, its keys are in %s",
                torchserve.inference_url, torchserve.management_url, torchserve.key_file,
            )  # fmt: skip
            # uvicorn raises the signal that ended it again
            with suppress(KeyboardInterrupt, SystemExit), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                manager = VersionManager(config, artifact, supervisor, archive)
                runner.run(_serve_routes(config, manager, supervisor, listener))
            logger.info("stopping TorchServe")
    logger.info("stopped")


async def _serve_routes(
    config: Config, manager: VersionManager, supervisor: Supervisor, listener: socket.socket
) -> None:
    with explain_address_errors(config.serving):
        listener.listen(BACKLOG)
    settings = uvicorn.Config(
        create_app(manager, config, _make_metrics(manager, supervisor)),
        http=guard_connections(config.guard),
        ws="none",
        proxy_headers=False,  # clients could claim any address
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = _Server(settings, manager)
    watching = asyncio.create_task(manager.watch())
    # If watching fails, nobody knows whether forecasts are still valid: better to stop.
    watching.add_done_callback(lambda _: setattr(server, "should_exit", True))
    try:
        await server.serve(sockets=[listener])
    finally:
        await server.cancel_requests()
        watching.cancel()
        await asyncio.wait({watching})
        await manager.close()
    if not watching.cancelled():
        watching.result()


def _make_metrics(manager: VersionManager, supervisor: Supervisor) -> ServingMetrics:
    metrics = ServingMetrics(lambda: supervisor.torchserve.metrics_url)
    for name, text, read in (
        ("ready", "Whether requests are answered, as GET /ready says.", lambda: manager.problems.is_ready),
        (
            "torchserve_given_up",
            "Whether the circuit breaker of TorchServe is open: it does not answer.",
            lambda: manager.served.client.breaker.is_open,
        ),
        (
            "postgresql_given_up",
            "Whether the circuit breaker of PostgreSQL is open: it does not answer.",
            lambda: manager.served.windows.breaker.is_open,
        ),
        ("kept_answers", "Forecasts in the cache.", lambda: len(manager.forecast_cache.entries)),
        (
            "kept_answers_bytes",
            "Memory of the forecasts in the cache.",
            lambda: manager.forecast_cache.entries.currsize,
        ),
    ):
        metrics.watch(f"forecaster_{name}", text, read)
    metrics.watch(
        "forecaster_torchserve_restarts_total", "Restarts of TorchServe.",
        lambda: supervisor.num_restarts, family=CounterMetricFamily,
    )  # fmt: skip
    return metrics


def write_url(host: str, port: int) -> str:
    """With an IPv6 address in brackets, or its colons would be taken for the port's."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Logs where it listens and which parts are down. Ends in two steps, or at once on a second signal."""

    def __init__(self, config: uvicorn.Config, manager: VersionManager) -> None:
        super().__init__(config)
        self._manager = manager

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets requests in flight finish; the second one, of either kind, waits for nothing."""
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)

    async def cancel_requests(self) -> None:
        """Cancels the requests that are left, while the parts behind them still run, so that each one is answered."""
        if tasks := self.server_state.tasks:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=LAST_RESPONSE_SECONDS)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._manager.read_new_days()
        for problem in (await self._manager.find_problems()).describe():
            logger.warning("not ready yet: %s", problem)
        host, port = (sockets or [])[0].getsockname()[:2]
        version = self._manager.forecast_cache.card.version
        logger.info("version %s is served on %s", version, write_url(host, port))
