"""What is sent byte by byte: requests that servers read differently, and those that HTTP does not allow."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from forecasting.serving.http.access_log import AccessLog
from forecasting.serving.http.guards import add_guards
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.settings.schema import Config, GuardConfig
from tests.serving.http.listening import Answer, connect, listen, read_answer, read_to_end

HOST = b"Host: localhost\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST
POST = b"POST /predict HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"
METRICS = ServingMetrics()


async def answer(request: Request) -> Response:
    body = (await request.body()).decode()
    return JSONResponse({"path": request.url.path, "host": request.headers.get("host", ""), "body": body})


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b'{"a": '
        await asyncio.sleep(0)
        yield b"1}"

    return StreamingResponse(parts())


async def empty(request: Request) -> Response:
    return Response(status_code=204)


async def miss(request: Request, error: Exception) -> Response:
    return JSONResponse({}, 404)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    routes = [Route(path, answer, methods=["GET", "POST", "OPTIONS"]) for path in ("/health", "/predict")]
    app = Starlette(routes=[*routes, Route("/stream", stream), Route("/empty", empty)], exception_handlers={404: miss})
    config = Config(guard=GuardConfig(hosts=["other.example"], request_seconds=5.0))
    logged = AccessLog(add_guards(app, config), METRICS, ["/health", "/predict"])
    with listen(logged, config, METRICS) as port:
        yield port


def send(port: int, *parts: bytes) -> list[Answer]:
    """All answers, after which the client closes its side, as those do that send no further requests."""
    with closing(connect(port)) as connection:
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        return read_to_end(connection)


INVALID = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01", "Invalid method encountered"),
    "unknown method": (b"FETCH /health HTTP/1.1\r\n" + HOST + b"\r\n", "Invalid method encountered"),
    "method in lower case": (b"get /health HTTP/1.1\r\n" + HOST + b"\r\n", "Invalid method encountered"),
    "no target": (b"GET  HTTP/1.1\r\n" + HOST + b"\r\n", "Unexpected char in url schema"),
    "odd byte in the target": (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", "Invalid char in url path"),
    "space in the target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", "Expected HTTP/, RTSP/ or ICE/"),
    "unknown version": (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", "Invalid HTTP version"),
    "bare LF after the line": (b"GET / HTTP/1.1\nHost: localhost\n\n", "Expected CRLF after version"),
    "bare LF after a header": (b"GET / HTTP/1.1\r\nHost: localhost\n\n", "Missing expected CR after header value"),
    "bare CR in a header": (GET + b"A: b\rX-B: c\r\n\r\n", "Missing expected LF after header value"),
    "folded header": (GET + b"A: b\r\n c\r\n\r\n", "Unexpected whitespace after header value"),
    "folded first header": (b"GET / HTTP/1.1\r\n A: b\r\n" + HOST + b"\r\n", "Unexpected space after start line"),
    "space before a colon": (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", "Invalid header token"),
    "no colon": (GET + b"nonsense\r\n\r\n", "Invalid header token"),
    "no name": (GET + b": a\r\n\r\n", "Invalid header token"),
    "NUL in a header": (GET + b"A: b\x00\r\n\r\n", "Invalid header value char"),
    "length twice": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", "Duplicate Content-Length"),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 40\r\n\r\na" + HIDDEN, "Duplicate Content-Length"),
    "length and chunks": (
        POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        "Transfer-Encoding can't be present with Content-Length",
    ),
    "chunks and length": (
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n" + HIDDEN,
        "Content-Length can't be present with Transfer-Encoding",
    ),
    "signed length": (POST + b"Content-Length: +1\r\n\r\na", "Invalid character in Content-Length"),
    "negative length": (POST + b"Content-Length: -1\r\n\r\na", "Invalid character in Content-Length"),
    "list of lengths": (POST + b"Content-Length: 1, 1\r\n\r\na", "Invalid character in Content-Length"),
    "empty length": (POST + b"Content-Length: \r\n\r\na", "Empty Content-Length"),
    "endless length": (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\na", "Content-Length overflow"),
    "chunked twice": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Invalid `Transfer-Encoding` header value",
    ),
    "chunked, but not last": (
        POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "Invalid `Transfer-Encoding` header value",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_request_that_is_no_valid_http_is_refused_and_what_follows_is_no_request(port: int, name: str) -> None:
    request, reason = INVALID[name]
    [(status, headers, body)] = send(port, request)
    assert (status, headers["connection"]) == (400, "close")
    assert body == {"detail": f"This is not a valid HTTP request: {reason}."}


REFUSED = {
    "no Host": (b"GET /health HTTP/1.1\r\n\r\n", 400, "The request has no Host header, which HTTP/1.1 requires."),
    "two Hosts": (GET + b"Host: other.example\r\n\r\n", 400, "The request has 2 Host headers. Send one."),
    "the same Host twice": (GET + HOST + b"\r\n", 400, "The request has 2 Host headers. Send one."),
    "two Hosts in HTTP/1.0": (
        b"GET /health HTTP/1.0\r\n" + HOST + HOST + b"\r\n", 400, "The request has 2 Host headers. Send one.",
    ),
    "Host with a path": (
        b"GET /health HTTP/1.1\r\nHost: localhost/x\r\n\r\n", 400,
        "The Host header is 'localhost/x', which is not a host name.",
    ),
    "Host with a user": (
        b"GET /health HTTP/1.1\r\nHost: me@localhost\r\n\r\n", 400,
        "The Host header is 'me@localhost', which is not a host name.",
    ),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2 is not supported. Use HTTP/1.1."),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505, "HTTP/2.0 is not supported. Use HTTP/1.1."),
    "HTTP/0.9": (b"GET /health\r\n\r\n", 505, "HTTP/0.9 is not supported. Use HTTP/1.1."),
    "packed chunks": (
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501,
        "The Transfer-Encoding 'gzip, chunked' is not supported. Use chunked alone.",
    ),
    "packed, without chunks": (
        POST + b"Transfer-Encoding: gzip\r\n\r\nabc" + HIDDEN, 501,
        "The Transfer-Encoding 'gzip' is not supported. Use chunked alone.",
    ),
    "nearly chunked": (
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN, 501,
        "The Transfer-Encoding 'xchunked' is not supported. Use chunked alone.",
    ),
    "chunks in HTTP/1.0": (
        b"POST /predict HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 400,
        "HTTP/1.0 has no Transfer-Encoding. Send a Content-Length, or use HTTP/1.1.",
    ),
    "CONNECT": (
        b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST + b"\r\n", 501,
        "CONNECT is not supported: this server is not a proxy.",
    ),
    "* for GET": (
        b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400, "The request's target '*' is not a path such as /health.",
    ),
    "fragment": (
        b"GET /health#x HTTP/1.1\r\n" + HOST + b"\r\n", 400,
        "The request's target '/health#x' is not a path such as /health.",
    ),
    "another scheme": (
        b"GET ftp://localhost/health HTTP/1.1\r\n" + HOST + b"\r\n", 400,
        "The request's target 'ftp://localhost/health' is not a path such as /health.",
    ),
    "expectation": (GET + b"Expect: wonders\r\n\r\n", 417, "The header Expect: 'wonders' is not supported."),
    "long URL": (
        b"GET /health?" + b"a" * 17_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414,
        "The request's URL is longer than 16,384 bytes.",
    ),
    "URL without end": (b"GET /" + b"a" * 100_000, 414, "The request's URL is longer than 16,384 bytes."),
    "long header": (
        GET + b"A: " + b"a" * 40_000 + b"\r\n\r\n", 431, "The request line and headers are larger than 32,768 bytes.",
    ),
    "many headers": (
        GET + b"A: a\r\n" * 2_000 + b"\r\n", 431, "The request line and headers are larger than 32,768 bytes.",
    ),
    "header without end": (
        GET + b"A: " + b"a" * 100_000, 431, "The request line and headers are larger than 32,768 bytes.",
    ),
    "end within the headers": (GET, 400, "The connection ended before the request's headers were complete."),
    "end within the body": (
        POST + b"Content-Length: 10\r\n\r\nabc", 400, "The connection ended before the request's body was complete.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_request_that_the_parser_would_let_pass_is_refused(port: int, name: str) -> None:
    request, expected, detail = REFUSED[name]
    [(status, headers, body)] = send(port, request)
    assert (status, headers["connection"], body) == (expected, "close", {"detail": detail})


MALFORMED = {
    "no number": (b"zz\r\n", "Invalid character in chunk size"),
    "negative number": (b"-1\r\n", "Invalid character in chunk size"),
    "space after the number": (b"3 \r\nabc\r\n0\r\n\r\n", "Invalid character in chunk size"),
    "endless number": (b"f" * 30 + b"\r\n", "Chunk size overflow"),
    "bare LF": (b"3\nabc\n0\n\n", "Missing expected CR after chunk size"),
    "more than announced": (b"3\r\nabcd\r\n0\r\n\r\n", "Expected LF after chunk data"),
    "NUL in an extension": (b"3;a=\x00\r\nabc\r\n0\r\n\r\n", "Invalid character in chunk extensions value"),
    "no trailer": (b"3\r\nabc\r\n0\r\nnonsense\r\n\r\n", "Invalid header token"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_chunks_are_answered(port: int, name: str) -> None:
    chunks, reason = MALFORMED[name]
    for parts in ([CHUNKED + chunks], [CHUNKED, chunks]):
        [(status, headers, body)] = send(port, *parts)
        assert (status, headers["connection"]) == (400, "close")
        assert body == {"detail": f"The request body's chunks are malformed: {reason}."}


@pytest.mark.parametrize("endless", [b"1;a=" + b"b" * 100_000, b"0\r\nA: " + b"b" * 100_000])
def test_what_is_between_chunks_has_a_limit(port: int, endless: bytes) -> None:
    [(status, _, body)] = send(port, CHUNKED + endless)
    detail = "What comes between the chunks of the body is larger than 32,768 bytes."
    assert (status, body) == (400, {"detail": detail})


def test_refusals_are_counted(port: int) -> None:
    def count() -> float:
        return METRICS.requests.labels("other", "other", 417)._value.get()

    before = count()
    send(port, *[GET + b"Expect: wonders\r\n\r\n"])
    assert count() == before + 1


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_pipelined_requests_are_answered_in_order_whatever_pieces_they_come_in(port: int, size: int) -> None:
    requests = (
        GET + b"\r\n"
        + POST + b"Content-Length: 3\r\n\r\nabc"
        + CHUNKED + b"3\r\n\r\n\r\r\n2;x=y\r\n\na\r\n0\r\nA: b\r\n\r\n"
        + b"\r\n\r\n" + HIDDEN
        + GET + b"\r\n"
    )  # fmt: skip
    answers = send(port, *(requests[place : place + size] for place in range(0, len(requests), size)))
    assert [status for status, _, _ in answers] == [200, 200, 200, 404, 200]
    assert [body.get("body") for _, _, body in answers] == ["", "abc", "\r\n\r\na", None, ""]


def test_nothing_is_read_after_a_request_that_closes_the_connection(port: int) -> None:
    [(status, headers, _)] = send(port, GET + b"Connection: close\r\n\r\n" + HIDDEN)
    assert (status, headers["connection"]) == (200, "close")


def test_host_of_the_target_counts(port: int) -> None:
    request = b"GET http://other.example:81/health?a=b HTTP/1.1\r\n" + HOST + b"\r\n"
    [(status, _, body)] = send(port, request)
    assert (status, body["path"], body["host"]) == (200, "/health", "other.example:81")
    [(status, _, body)] = send(port, request.replace(b"other", b"evil"))
    detail = "The host name 'evil.example:81' is not allowed. Add it to guard.hosts, or set API_KEYS."
    assert (status, body) == (403, {"detail": detail})
    [(status, _, body)] = send(port, b"GET http://[::1] HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status == 404


def test_options_of_the_server(port: int) -> None:
    [(status, _, _)] = send(port, b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status == 404  # as any other path that is no route


def test_http_1_0_needs_no_host_and_gets_no_chunks(port: int) -> None:
    with closing(connect(port)) as connection:
        connection.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert json.loads(body) == {"a": 1}


def test_streamed_response_comes_in_chunks(port: int) -> None:
    with closing(connect(port)) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
        head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert b"\r\ntransfer-encoding: chunked\r\n" in head
    assert body == b'6\r\n{"a": \r\n2\r\n1}\r\n0\r\n\r\n'


def test_responses_without_a_body_leave_the_connection_in_step(port: int) -> None:
    with closing(connect(port)) as connection:
        received = connection.makefile("rb")
        connection.sendall(b"HEAD /health HTTP/1.1\r\n" + HOST + b"\r\n" + b"GET /empty HTTP/1.1\r\n" + HOST + b"\r\n")
        connection.sendall(GET + b"\r\n")
        status, headers, _ = read_answer(received, has_body=False)
        assert (status, int(headers["content-length"]) > 0) == (200, True)
        assert read_answer(received, has_body=False)[0] == 204
        assert read_answer(received)[0] == 200


def test_client_that_waits_for_100_continue_gets_it(port: int) -> None:
    with closing(connect(port)) as connection:
        received = connection.makefile("rb")
        connection.sendall(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert (received.readline(), received.readline()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
        connection.sendall(b"abc")
        assert read_answer(received)[2]["body"] == "abc"


def test_errors_carry_the_headers_of_all_answers(port: int) -> None:
    for request in (b"GET /health HTTP/1.1\r\n\r\n", GET + b"\r\n"):
        [(_, headers, _)] = send(port, request)
        assert headers["content-type"] == "application/json"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["date"].endswith(" GMT")


def test_half_closed_connection_is_answered(port: int) -> None:
    assert [status for status, _, _ in send(port, GET + b"\r\n")] == [200]
    assert send(port) == []
