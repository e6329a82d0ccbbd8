"""What serving tells whoever operates it: a line a request in the log, and numbers for Prometheus."""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable
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
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("forecasting.requests")

LINE = "method=%s route=%s status=%d ms=%.1f answered=%s site=%s metric=%s days=%s version=%s client=%s"
NOTHING = "-"
PLAIN = re.compile(r"[\w.:/@+][\w.:/@+-]*")  # what a field holds as it is; anything else is quoted
MAX_PATH = 200  # letters of a path that is none of ours; a client may send 32 KiB
METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
OTHER = "other"  # a route or a method that is none of ours: whoever asks must not make labels
# From a kept answer (0.2 ms) to serving.deadline_seconds (10 s).
BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
TORCHSERVE_SECONDS = 1.0
# Its 0.0.4 is what TorchServe writes too; prometheus-client's newest differs in names that neither has.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServingMetrics:
    """One app's numbers, in a registry of their own.

    `torchserve_url` says where TorchServe's own metrics are by now: its ports change when it is started again.
    """

    def __init__(self, torchserve_url: Callable[[], str] | None = None) -> None:
        self.registry = CollectorRegistry()
        self._torchserve_url = torchserve_url
        here: dict[str, Any] = {"registry": self.registry}  # Any: so that it fits each of the keyword arguments
        self.requests = Counter("forecaster_requests", "Requests answered.", ("route", "method", "status"), **here)
        self.seconds = Histogram(
            "forecaster_request_seconds",
            "From a request to the end of its answer.",
            ("route",),
            buckets=BUCKETS,
            **here,
        )
        self.answers = Counter(
            "forecaster_answers", "Forecasts by where they came from: cached, computed or stale.", ("answered",), **here
        )
        self.in_flight = Gauge("forecaster_requests_in_flight", "Requests that are being answered.", **here)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        if torchserve_url is not None:
            self._torchserve_up = Gauge("torchserve_up", "Whether TorchServe told its own metrics.", **here)

    def watch(
        self,
        name: str,
        text: str,
        read: Callable[[], float],
        *,
        family: type[GaugeMetricFamily] | type[CounterMetricFamily] = GaugeMetricFamily,
    ) -> None:
        """A number that is read whenever Prometheus asks; a counter's name ends with _total."""
        self.registry.register(_Watched(lambda: family(name, text, value=read())))

    async def write(self) -> bytes:
        """All of it as Prometheus reads it, and after it what TorchServe says of itself."""
        if self._torchserve_url is None:
            return generate_latest(self.registry)
        theirs = await _ask_torchserve(self._torchserve_url())
        self._torchserve_up.set(theirs is not None)
        return generate_latest(self.registry) + (theirs or b"")


class AccessLog:
    """A line and the counts of each request, after its answer. Plain ASGI: a tenth of the cost of Starlette's class.

    Reads what the routes and the layers before them have left in the request's state. `routes` are the paths that are
    known though a layer before the routes has answered.
    """

    def __init__(self, app: ASGIApp, counters: ServingMetrics, routes: Collection[str] = ()) -> None:
        self.app = app
        self._routes = frozenset(routes)
        self._counters = counters
        # Children, looked up once each: `labels()` takes longer than the counting.
        self._requests: dict[tuple[str, str, int], Counter] = {}
        self._seconds: dict[str, Histogram] = {}
        self._answers = {how: counters.answers.labels(how) for how in ("cached", "computed", "stale")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500  # what an error that nobody caught becomes
        scope.setdefault("state", {})

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._counters.in_flight.inc()
        try:
            await self.app(scope, receive, note_status)
        finally:
            self._counters.in_flight.dec()
            self._note(scope, scope["state"].get("status", status), time.perf_counter() - begun)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        state, route = scope["state"], self._find_route(scope)
        method = scope["method"] if scope["method"] in METHODS else OTHER
        answered = state.get("answered")
        self._count(route, method, status, seconds, answered)
        if not logger.isEnabledFor(logging.INFO):
            return
        logger.info(
            LINE, method, quote(scope["path"][:MAX_PATH]) if route is OTHER else route, status, seconds * 1e3,
            answered or NOTHING, quote(state.get("site")), quote(state.get("metric")),
            state.get("days_ahead", NOTHING), quote(state.get("version")), quote(state.get("client")),
        )  # fmt: skip

    def _count(self, route: str, method: str, status: int, seconds: float, answered: str | None) -> None:
        labels = route, method, status
        counter = self._requests.get(labels)
        if counter is None:
            counter = self._requests[labels] = self._counters.requests.labels(*labels)
            self._seconds[route] = self._counters.seconds.labels(route)
        counter.inc()
        self._seconds[route].observe(seconds)
        if answered is not None:
            self._answers[answered].inc()

    def _find_route(self, scope: Scope) -> str:
        """The route's template, told by who answered without the routes, or by them."""
        route: str | None = scope["state"].get("route") or getattr(scope.get("route"), "path", None)
        if route is not None:
            return route
        return scope["path"] if scope["path"] in self._routes else OTHER


def quote(value: str | None) -> str:
    """As one field of a line, whatever is in it: as it is, or with quotes and escapes as JSON has them."""
    if value is None:
        return NOTHING
    return value if PLAIN.fullmatch(value) else json.dumps(value)


class _Watched(Collector):
    def __init__(self, make: Callable[[], GaugeMetricFamily | CounterMetricFamily]) -> None:
        self._make = make

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        return [self._make()]


async def _ask_torchserve(url: str) -> bytes | None:
    """Its metrics; None where it does not answer in time, or with what Prometheus would refuse together with ours."""
    try:
        async with asyncio.timeout(TORCHSERVE_SECONDS), aiohttp.ClientSession() as session, session.get(url) as answer:
            text = await answer.text()
        if answer.status != 200:
            return None
        list(text_string_to_metric_families(text))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None
    return text.encode()
