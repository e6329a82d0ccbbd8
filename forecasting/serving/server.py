"""Starts TorchServe and the routes in front of it, and ends both."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import uvloop
from prometheus_client.core import CounterMetricFamily

from forecasting.artifact import load_artifact
from forecasting.runtime.process import heeded_signals
from forecasting.serving.health import DataState, JobState
from forecasting.serving.http.admission import Admission
from forecasting.serving.http.app import create_app
from forecasting.serving.http.guards import check_host
from forecasting.serving.http.listener import Listener
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.serving.preflight import check_parts, explain_address_errors, fit_connections, take_port
from forecasting.serving.torchserve.run_folder import temporary_folder
from forecasting.serving.torchserve.supervisor import Supervisor
from forecasting.serving.version_manager import VersionManager, copy_archive, make_start
from forecasting.settings.schema import Config

logger = logging.getLogger("forecasting.serving")

LAST_RESPONSE_SECONDS = 1.0  # for the requests left after that to answer 503
# New objects after which Python looks for cycles among them, and rounds after which it looks among older ones too.
# With its own thresholds (700, 10, 10), a request in ten would start a round.
COLLECTOR_THRESHOLDS = 10_000, 20, 100


def serve(config: Config, *, daily_command: Sequence[str] = ()) -> None:
    """Serves the version that `config` names until SIGINT, SIGTERM, SIGHUP or SIGQUIT, and leaves nothing behind.
    `daily_command` starts the daily job, at the time that `config` says.

    Raises SettingError, CannotStart, UnknownVersion or BrokenArtifact before anything listens.
    """
    check_host(config)
    check_parts(config)
    config = replace(config, guard=fit_connections(config.guard))
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
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                manager = VersionManager(config, artifact, supervisor, archive, daily_command=daily_command)
                runner.run(_serve_routes(config, manager, supervisor, listener))
            logger.info("stopping TorchServe")
    logger.info("stopped")


async def _serve_routes(
    config: Config, manager: VersionManager, supervisor: Supervisor, listening: socket.socket
) -> None:
    metrics = _make_metrics(manager, supervisor)
    listener = Listener(create_app(manager, config, metrics), config, metrics.count_refusal)
    _watch_connections(metrics, listener.admission)
    with explain_address_errors(config.serving):
        await listener.start(listening)
    with ending_signals() as (first, second):
        watching = asyncio.create_task(manager.watch())
        # If watching fails, nobody knows whether forecasts are still valid: better to stop.
        watching.add_done_callback(lambda _: first.set())
        try:
            await race(_announce(manager, listening), first.wait())
            await first.wait()
            await race(listener.drain(config.serving.deadline_seconds), second.wait())
        finally:
            await listener.close(LAST_RESPONSE_SECONDS)
            watching.cancel()
            await asyncio.wait({watching})
            await manager.close()
    if not watching.cancelled():
        watching.result()


@contextmanager
def ending_signals() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """The first one lets requests in flight finish; the second, of any kind, waits for nothing."""
    loop, first, second = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *heeded_signals())}

    def note() -> None:
        (second if first.is_set() else first).set()

    for number in before:
        loop.add_signal_handler(number, note)
    try:
        yield first, second
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


async def race(*contestants: Coroutine[Any, Any, object]) -> None:
    """Until one of them ends; the others are cancelled."""
    tasks = {asyncio.create_task(contestant) for contestant in contestants}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()


def _make_metrics(manager: VersionManager, supervisor: Supervisor) -> ServingMetrics:
    metrics = ServingMetrics(lambda: supervisor.torchserve.metrics_socket)
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
    watch_data(metrics, lambda: manager.data)
    watch_daily_job(metrics, lambda: manager.daily_job)
    return metrics


def _watch_connections(metrics: ServingMetrics, admission: Admission) -> None:
    metrics.watch("forecaster_open_connections", "Connections that are open.", lambda: admission.num_open)
    for name, text, read in (
        ("evicted", "Connections closed to make room for new ones.", lambda: admission.num_evicted),
        (
            "reserved",
            "Connections beyond the limits.",
            lambda: admission.num_reserved,
        ),
    ):
        metrics.watch(f"forecaster_connections_{name}_total", text, read, family=CounterMetricFamily)


def watch_data(metrics: ServingMetrics, find_state: Callable[[], DataState]) -> None:
    """Labelled by the source alone: series and sites may be thousands."""
    for name, text, read in (
        ("data_age_days", "Days since the newest day of the data.", lambda data: data.data_age_days),
        ("oldest_data_age_days", "Of the series whose days end first.", lambda data: data.oldest_age_days),
        ("late_series", "Series whose new days are late, as GET /health says.", lambda data: data.num_late),
        (
            "source_read_timestamp_seconds",
            "When the source could last be read; 0: never since the start.",
            lambda data: data.source_read_at.timestamp() if data.source_read_at else 0.0,
        ),
    ):
        metrics.watch_source(f"forecaster_{name}", text, partial(_read_data, find_state, read))


def watch_daily_job(metrics: ServingMetrics, find_state: Callable[[], JobState]) -> None:
    def read_success() -> float:
        succeeded_at = find_state().succeeded_at
        return succeeded_at.timestamp() if succeeded_at else 0.0

    metrics.watch(
        "forecaster_daily_job_success_timestamp_seconds", "When the last daily job that succeeded began; 0: none.",
        read_success,
    )  # fmt: skip
    metrics.watch_steps(
        "forecaster_daily_job_step_seconds", "How long each step of the last daily job took.",
        lambda: find_state().seconds,
    )  # fmt: skip


def _read_data(
    find_state: Callable[[], DataState], read: Callable[[DataState], float | int | None]
) -> tuple[str, float | None]:
    state = find_state()
    value = read(state)
    return state.source, None if value is None else float(value)


def write_url(host: str, port: int) -> str:
    """With an IPv6 address in brackets, or its colons would be taken for the port's."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _announce(manager: VersionManager, listening: socket.socket) -> None:
    """Logs where the routes are and which parts are down, once the days are up to date."""
    await manager.read_new_days()
    for problem in (await manager.find_problems()).describe():
        logger.warning("not ready yet: %s", problem)
    calm_collector()
    host, port = listening.getsockname()[:2]
    logger.info("version %s is served on %s", manager.forecast_cache.card.version, write_url(host, port))


def calm_collector() -> None:
    """What exists by now lives as long as the server. Each full collection would look through all of it, which takes
    40 ms and more, in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
