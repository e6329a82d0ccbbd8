"""One line in the log for each request, and its counts in the metrics."""

import json
import logging
import re
import time
from collections.abc import Collection

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecasting.serving.http.metrics import ServingMetrics
from forecasting.serving.http.middleware import HttpMiddleware

logger = logging.getLogger("forecasting.requests")

LINE = "method=%s route=%s status=%d ms=%.1f answered=%s site=%s metric=%s days=%s version=%s client=%s"
ABSENT = "-"
PLAIN = re.compile(r"[\w.:/@+][\w.:/@+-]*")  # values that need no quotes
MAX_PATH = 200  # characters of an unknown path; a client may send 32 KiB
METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
OTHER = "other"  # an unknown route or method: clients must not be able to create labels
INTERNAL_ERROR = 500  # what an exception that nobody caught becomes


class AccessLog(HttpMiddleware):
    """Logs and counts each request after its response.

    Reads what the routes and the layers in between left in the request's state. `routes` are paths to count under their
    own name even if an outer layer has answered.
    """

    def __init__(self, app: ASGIApp, metrics: ServingMetrics, routes: Collection[str] = ()) -> None:
        super().__init__(app)
        self._routes = frozenset(routes)
        self._metrics = metrics
        # Looked up once for each label: `labels()` takes longer than the counting.
        self._requests: dict[tuple[str, str, int], Counter] = {}
        self._seconds: dict[str, Histogram] = {}
        self._answers = {source: metrics.answers.labels(source) for source in ("cached", "computed", "stale")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), INTERNAL_ERROR
        scope.setdefault("state", {})

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self.app(scope, receive, note_status)
        finally:
            self._metrics.in_flight.dec()
            self._log(scope, scope["state"].get("status", status), time.perf_counter() - started)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        state, route = scope["state"], self._find_route(scope)
        method = scope["method"] if scope["method"] in METHODS else OTHER
        answered = state.get("answered")
        self._count(route, method, status, seconds, answered)
        if not logger.isEnabledFor(logging.INFO):
            return
        logger.info(
            LINE, method, quote(scope["path"][:MAX_PATH]) if route is OTHER else route, status, seconds * 1e3,
            answered or ABSENT, quote(state.get("site")), quote(state.get("metric")),
            state.get("days_ahead", ABSENT), quote(state.get("version")), quote(state.get("client")),
        )  # fmt: skip

    def _count(self, route: str, method: str, status: int, seconds: float, answered: str | None) -> None:
        labels = route, method, status
        counter = self._requests.get(labels)
        if counter is None:
            counter = self._requests[labels] = self._metrics.requests.labels(*labels)
            self._seconds[route] = self._metrics.seconds.labels(route)
        counter.inc()
        self._seconds[route].observe(seconds)
        if answered is not None:
            self._answers[answered].inc()

    def _find_route(self, scope: Scope) -> str:
        """The route's template: from the layer that answered, from the routes, or the path if it is known."""
        route: str | None = scope["state"].get("route") or getattr(scope.get("route"), "path", None)
        if route is not None:
            return route
        return scope["path"] if scope["path"] in self._routes else OTHER


def quote(value: str | None) -> str:
    """Any text as one field of a log line: unchanged if possible, else as a JSON string."""
    if value is None:
        return ABSENT
    return value if PLAIN.fullmatch(value) else json.dumps(value)
