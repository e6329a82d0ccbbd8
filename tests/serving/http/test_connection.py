"""Requests in unusual pieces, or with an Upgrade header: over real sockets."""

import json
import socket
import time
from collections.abc import Iterator

import pytest

from forecasting.artifact import Artifact
from forecasting.serving.http.app import create_app
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.settings.schema import Config
from tests.serving.http.listening import exchange, listen
from tests.serving.http.test_routes import in_process, never
from tests.waiting import becomes, get

UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"  # as Java's HttpClient
BODY = b'{"metric": "nope"}'
UNKNOWN = "There is no metric 'nope'"


@pytest.fixture(scope="module")
def port(sample_artifact: Artifact) -> Iterator[int]:
    metrics = ServingMetrics()
    app = create_app(in_process(sample_artifact, never), serving_metrics=metrics)
    with listen(app, Config(), metrics) as port:
        yield port


def write_head(path: bytes, *headers: bytes) -> bytes:
    lines = b"".join(b"%s\r\n" % header for header in headers)
    return b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s" % (path, lines)


WITH_LENGTH = write_head(b"/predict", b"Content-Length: %d" % len(BODY)) + UPGRADE + b"\r\n"
CHUNKED = write_head(b"/predict", b"Transfer-Encoding: chunked") + UPGRADE + b"\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    "parts", [[WITH_LENGTH + BODY], [WITH_LENGTH, BODY], [CHUNKED + CHUNKS], [CHUNKED, CHUNKS]],
    ids=["one piece", "two pieces", "chunked", "chunked in two pieces"],
)  # fmt: skip
def test_body_of_a_request_that_asks_for_an_upgrade_is_read(port: int, parts: list[bytes]) -> None:
    [(status, answer)] = exchange(port, parts)
    assert (status, answer["detail"][: len(UNKNOWN)]) == (400, UNKNOWN)


def test_body_is_never_taken_for_a_request(port: int) -> None:
    hidden = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = write_head(b"/predict", b"Content-Length: %d" % len(hidden)) + UPGRADE + b"\r\n"
    following = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for parts in ([head, hidden, following], [head + hidden + following]):
        statuses = [status for status, _ in exchange(port, parts, num_answers=2)]
        assert statuses == [422, 404]


@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n"])
def test_request_without_a_body_may_ask_for_an_upgrade(port: int, length: bytes) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + length + UPGRADE + b"\r\n"
    assert [status for status, _ in exchange(port, [request, request], num_answers=2)] == [200, 200]


def test_large_chunks_whose_frames_come_apart_are_a_body_like_any(port: int) -> None:
    body = json.dumps({"metrics": ["nope"], "sites": [f"site-{number:05}" for number in range(9000)]}).encode()
    assert len(body) > 2 * 40_000
    parts = [write_head(b"/predict/multiple", b"Transfer-Encoding: chunked") + b"\r\n"]
    for begin in range(0, len(body), 40_000):
        part = body[begin : begin + 40_000]
        parts += [b"%x\r\n" % len(part), part, b"\r\n"]
    [(status, answer)] = exchange(port, [*parts, b"0\r\n\r\n"])
    assert (status, len(answer)) == (200, 9000)


def test_client_that_leaves_while_it_sends_is_no_failure_of_ours(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(write_head(b"/predict", b"Content-Length: 100") + b"\r\n{")
        time.sleep(0.05)

    def counted() -> list[str]:
        lines = get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
        return [line for line in lines if line.startswith("forecaster_requests_total") and 'status="499"' in line]

    assert becomes(lambda: len(counted()) == 1)
    assert 'status="5' not in "".join(get(f"http://127.0.0.1:{port}/metrics").text.splitlines())
