"""Metrics for Prometheus: ours and TorchServe's."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

# Seconds, from a cached forecast (0.2 ms) to serving.deadline_seconds (10 s).
BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
TORCHSERVE_SECONDS = 1.0
# Version 0.0.4 is what TorchServe writes, too. The newest one differs only in names that neither of us has.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServingMetrics:
    """The metrics of one app, in a registry of their own.

    `find_socket` returns where TorchServe's metrics are now: a restart changes its run folder.
    """

    def __init__(self, find_socket: Callable[[], Path] | None = None) -> None:
        self.registry = CollectorRegistry()
        self._find_socket = find_socket
        here: dict[str, Any] = {"registry": self.registry}  # Any: so that it fits each of the keyword arguments
        self.requests = Counter("forecaster_requests", "Requests answered.", ("route", "method", "status"), **here)
        self.seconds = Histogram(
            "forecaster_request_seconds",
            "Time from a request to the end of its response.",
            ("route",),
            buckets=BUCKETS,
            **here,
        )
        self.answers = Counter(
            "forecaster_answers", "Forecasts by their source: cached, computed or stale.", ("answered",), **here
        )
        self.in_flight = Gauge("forecaster_requests_in_flight", "Requests being answered now.", **here)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        if find_socket is not None:
            self._torchserve_up = Gauge("torchserve_up", "Whether TorchServe's own metrics could be read.", **here)

    def count_refusal(self, status: int) -> None:
        """A request that was refused before any layer saw it."""
        self.requests.labels("other", "other", status).inc()

    def watch(
        self,
        name: str,
        text: str,
        read: Callable[[], float],
        *,
        family: type[GaugeMetricFamily] | type[CounterMetricFamily] = GaugeMetricFamily,
    ) -> None:
        """Adds a metric that is read on each scrape. The name of a counter ends with _total."""
        self.registry.register(_Watched(lambda: family(name, text, value=read())))

    def watch_source(self, name: str, text: str, read: Callable[[], tuple[str, float | None]]) -> None:
        """As `watch`, with the source as the only label. `read` returns it and the value; None: not known yet."""

        def make() -> GaugeMetricFamily:
            family, (source, value) = GaugeMetricFamily(name, text, labels=["source"]), read()
            if value is not None:
                family.add_metric([source], value)
            return family

        self.registry.register(_Watched(make))

    def watch_steps(self, name: str, text: str, read: Callable[[], Mapping[str, float]]) -> None:
        """As `watch`, with a value for each step."""

        def make() -> GaugeMetricFamily:
            family = GaugeMetricFamily(name, text, labels=["step"])
            for step, value in read().items():
                family.add_metric([step], value)
            return family

        self.registry.register(_Watched(make))

    async def write(self) -> bytes:
        """All metrics in Prometheus' text format, followed by TorchServe's."""
        if self._find_socket is None:
            return generate_latest(self.registry)
        torchserve_metrics = await _read_torchserve(self._find_socket())
        self._torchserve_up.set(torchserve_metrics is not None)
        return generate_latest(self.registry) + (torchserve_metrics or b"")


class _Watched(Collector):
    def __init__(self, make: Callable[[], GaugeMetricFamily | CounterMetricFamily]) -> None:
        self._make = make

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        return [self._make()]


async def _read_torchserve(unix_socket: Path) -> bytes | None:
    """None if it does not answer in time, or if Prometheus would refuse its text together with ours."""
    try:
        async with (
            asyncio.timeout(TORCHSERVE_SECONDS),
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(unix_socket))) as session,
            session.get("http://torchserve/metrics") as response,
        ):
            text = await response.text()
        if response.status != 200:
            return None
        list(text_string_to_metric_families(text))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None
    return text.encode()
