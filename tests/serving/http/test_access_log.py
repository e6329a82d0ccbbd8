"""The log line and the counts of each request, on small apps, and /metrics beside the real TorchServe."""

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp, Receive, Scope, Send

from forecasting.artifact import Artifact
from forecasting.serving.http.access_log import MAX_PATH, AccessLog, quote
from forecasting.serving.http.app import create_app
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.serving.torchserve.process import TorchServe
from scripts.bench.harness import PATIENCE_SECONDS
from tests.serving.http.test_routes import in_process, never

ABSENT = "answered=- site=- metric=- days=- version=- client=-"


def answering(status: int = 200, **state: Any) -> ASGIApp:  # Any: what a layer leaves of itself
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"].update(state)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


def ask(app: ASGIApp, path: str = "/predict", method: str = "GET") -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path)

    return asyncio.run(run())


def parse(text: bytes) -> dict[str, Metric]:
    """As Prometheus, which refuses a metric that is described or listed twice."""
    described = [tuple(line.split()[1:3]) for line in text.decode().splitlines() if line.startswith("# ")]
    assert len(described) == len(set(described))
    metrics: dict[str, Metric] = {}
    for metric in text_string_to_metric_families(text.decode()):
        assert metric.name not in metrics
        metrics[metric.name] = metric
    samples = [
        (sample.name, *sorted(sample.labels.items())) for metric in metrics.values() for sample in metric.samples
    ]
    assert len(samples) == len(set(samples))
    return metrics


def counted(counters: ServingMetrics, name: str) -> dict[tuple[str, ...], float]:
    [metric] = [family for family in counters.registry.collect() if family.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in metric.samples if sample.name == f"{name}_total"}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Log lines, with ms=0.0."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words = record.getMessage().split(" ")
            lines.append(" ".join("ms=0.0" if word.startswith("ms=") else word for word in words))

    handler, log = Kept(), logging.getLogger("forecasting.requests")
    log.addHandler(handler)
    with caplog.at_level(logging.INFO, log.name):
        yield lines
    log.removeHandler(handler)


def test_line_says_what_was_asked_and_how_it_was_answered(lines: list[str]) -> None:
    state = {
        "site": "blog", "metric": "page_visits", "days_ahead": 7, "version": "v1.10", "answered": "cached",
        "client": "reports", "route": "/predict",
    }  # fmt: skip
    ask(AccessLog(answering(**state), ServingMetrics()), method="POST")
    assert lines == [
        "method=POST route=/predict status=200 ms=0.0 answered=cached site=blog metric=page_visits days=7 "
        "version=v1.10 client=reports"
    ]


def test_milliseconds_are_those_until_the_answers_end(caplog: pytest.LogCaptureFixture) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b""})

    with caplog.at_level(logging.INFO, "forecasting.requests"):
        ask(AccessLog(slow, ServingMetrics()))
    [word] = [word for word in caplog.messages[-1].split() if word.startswith("ms=")]
    assert 50 <= float(word.removeprefix("ms=")) < 50_000  # milliseconds, not microseconds


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("page_visits", "page_visits"),
        ("café.example:8080/a-b@c+d", "café.example:8080/a-b@c+d"),
        (None, "-"),
        ("", '""'),
        ("-", '"-"'),
        ("my blog", '"my blog"'),
        ("x status=200", '"x status=200"'),
        ('say "hi"', r'"say \"hi\""'),
        ("a\r\nmethod=GET", r'"a\r\nmethod=GET"'),
        ("\x1b[31m\x00\x7f\x85\u2028\u202e", r'"\u001b[31m\u0000\u007f\u0085\u2028\u202e"'),
        ("\ud800", r'"\ud800"'),
    ],
)
def test_names_are_the_callers_and_stay_one_field(name: str | None, written: str) -> None:
    assert quote(name) == written


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E, 0xFEFF, 0xD800])
def test_nothing_that_a_terminal_obeys_comes_into_a_line(code: int) -> None:
    assert quote(f"a{chr(code)}b").isprintable()
    assert quote(f"a{chr(code)}b").isascii()


def test_path_that_is_none_of_ours_is_said_but_no_label(lines: list[str]) -> None:
    counters = ServingMetrics()
    journal = AccessLog(answering(404), counters, {"/predict"})
    for path in ("/wp%0Alogin", "/a b", f"/{'x' * 9999}", "/predict"):
        ask(journal, path)
    ask(journal, "/predict", "BREW")
    written = [line.partition("route=")[2].partition(" status")[0] for line in lines]
    assert written == [r'"/wp\nlogin"', '"/a b"', f"/{'x' * (MAX_PATH - 1)}", "/predict", "/predict"]
    assert counted(counters, "forecaster_requests") == {
        ("other", "GET", "404"): 3,
        ("/predict", "GET", "404"): 1,
        ("/predict", "other", "404"): 1,
    }


def test_failure_that_nobody_caught_is_a_500_and_no_longer_in_flight(lines: list[str]) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("ours")

    counters = ServingMetrics()
    ask(AccessLog(failing, counters, {"/predict"}))
    assert lines == [f"method=GET route=/predict status=500 ms=0.0 {ABSENT}"]
    assert counters.registry.get_sample_value("forecaster_requests_in_flight") == 0


def test_answers_are_counted_by_where_they_came_from() -> None:
    counters = ServingMetrics()
    for how in ("cached", "cached", "computed", "stale", None):
        ask(AccessLog(answering(answered=how), counters))
    assert counted(counters, "forecaster_answers") == {("cached",): 2, ("computed",): 1, ("stale",): 1}


def test_routes_of_the_app_are_named_whoever_answers(sample_artifact: Artifact, lines: list[str]) -> None:
    counters = ServingMetrics()
    app = create_app(in_process(sample_artifact, never), serving_metrics=counters)
    for path in ("/health", "/predict", "/predict/page-visits?days_ahead=31", "/openapi.json", "/nowhere", "/metrics"):
        ask(app, path)
    assert counted(counters, "forecaster_requests") == {
        ("/health", "GET", "200"): 1,
        ("/predict", "GET", "405"): 1,
        ("/predict/page-visits", "GET", "422"): 1,
        ("/openapi.json", "GET", "200"): 1,
        ("other", "GET", "404"): 1,
        ("/metrics", "GET", "200"): 1,
    }
    assert len(lines) == 6


def test_apps_count_for_themselves() -> None:
    first, second = ServingMetrics(), ServingMetrics()
    ask(AccessLog(answering(route="/predict"), first))
    assert counted(first, "forecaster_requests") == {("/predict", "GET", "200"): 1}
    assert counted(second, "forecaster_requests") == {}


def test_watched_numbers_are_read_when_asked() -> None:
    counters, restarts = ServingMetrics(), [2]
    counters.watch("forecaster_ready", "Whether all parts answer.", lambda: 1)
    counters.watch(
        "forecaster_torchserve_restarts_total", "Starts anew.", lambda: restarts[0], family=CounterMetricFamily
    )
    restarts[0] = 3
    metrics = parse(asyncio.run(counters.write()))
    assert metrics["forecaster_ready"].samples[0].value == 1
    metric = metrics["forecaster_torchserve_restarts"]
    assert (metric.type, metric.samples[0].name, metric.samples[0].value) == (
        "counter", "forecaster_torchserve_restarts_total", 3,
    )  # fmt: skip


def test_without_torchserve_there_is_no_word_of_it(sample_artifact: Artifact) -> None:
    response = ask(create_app(in_process(sample_artifact, never)), "/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    metrics = parse(response.content)
    assert "torchserve_up" not in metrics
    assert {"forecaster_requests", "forecaster_request_seconds", "process_resident_memory_bytes"} <= set(metrics)


def test_torchserves_metrics_follow_the_shims(torchserve: TorchServe) -> None:
    metrics = parse(asyncio.run(ServingMetrics(lambda: torchserve.metrics_socket).write()))
    assert metrics["torchserve_up"].samples[0].value == 1
    [requests] = metrics["ts_inference_requests"].samples
    assert (requests.labels["model_name"], requests.labels["model_version"]) == ("forecaster", "v1.10")
    assert requests.value >= 1
    for name in ("Requests2XX", "QueueTime", "WorkerThreadTime", "WorkerLoadTime", "PredictionTime"):
        assert metrics[name].samples, name


def answers_of(unix_socket: Path) -> tuple[float, float, set[str]]:
    """Value of torchserve_up, the seconds it took, and the names of all metrics."""
    begun = time.monotonic()
    metrics = parse(asyncio.run(ServingMetrics(lambda: unix_socket).write()))
    return metrics["torchserve_up"].samples[0].value, time.monotonic() - begun, set(metrics)


def test_torchserve_that_is_down_or_hangs_leaves_the_shims_own(short_folder: Path) -> None:
    place = short_folder / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place))
        silent.listen()
        up, seconds, names = answers_of(place)
        assert (up, "forecaster_requests" in names) == (0, True)
        assert 0.9 < seconds < PATIENCE_SECONDS
    up, _, names = answers_of(place)
    assert (up, "forecaster_requests" in names) == (0, True)


@pytest.mark.parametrize("status", [b"200 OK", b"500 Oops"])
def test_what_prometheus_would_refuse_does_not_come_into_the_answer(status: bytes, short_folder: Path) -> None:
    async def run() -> bytes:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n<html>not {ready</html>\n")
            writer.close()

        place = short_folder / "talking.sock"
        place.unlink(missing_ok=True)
        async with await asyncio.start_unix_server(talk, place):
            return await ServingMetrics(lambda: place).write()

    metrics = parse(asyncio.run(run()))
    assert metrics["torchserve_up"].samples[0].value == 0
