"""A request's line and headers, as ASGI's scope: what the parser lets pass although HTTP does not allow it is refused.

Servers and proxies that read such a request differently can be made to disagree about where it ends or whom it is for.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote

import httptools
from starlette.types import Scope

from forecasting.serving.http.error_responses import quote_input
from forecasting.serving.http.headers import Header

HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")  # RFC 3986, 3.2.2
VERSIONS = ("1.0", "1.1")


class BadRequest(Exception):
    """The request is refused before any of our layers sees it; the text says why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Framing(NamedTuple):
    length: int | None  # of the body; None: it comes in chunks
    expects_continue: bool  # the client waits for 100 Continue before it sends the body


class Target(NamedTuple):
    path: bytes
    query: bytes
    host: bytes | None  # of a target like http://host/path, as clients send it to a proxy


def read_head(method: str, version: str, url: bytes, headers: list[Header]) -> tuple[Scope, Framing]:
    """The scope, without what the connection adds. Raises BadRequest."""
    if version not in VERSIONS:
        raise BadRequest(505, f"HTTP/{version} is not supported. Use HTTP/1.1.")
    target = _read_target(method, url)
    framing = _read_framing(headers, version)
    if target.host is not None:  # it counts, not the header (RFC 9112, 3.2.2)
        headers = [(b"host", target.host), *(header for header in headers if header[0] != b"host")]
    path = target.path.decode("latin-1")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "method": method,
        "scheme": "http",
        "path": unquote(path) if "%" in path else path,
        "raw_path": target.path,
        "query_string": target.query,
        "root_path": "",
        "headers": headers,
        "state": {},
    }
    return scope, framing


def _read_framing(headers: Sequence[Header], version: str) -> Framing:
    hosts, codings, expected, length = [], [], [], 0
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            length = int(value)  # the parser has checked it
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"expect" and version != "1.0":
            expected.append(value)
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        _check_host(hosts, version)
    if codings:
        _check_codings(codings, version)
    if any(value.lower() != b"100-continue" for value in expected):
        raise BadRequest(417, f"The header Expect: {quote_input(b', '.join(expected))} is not supported.")
    return Framing(None if codings else length, bool(expected))


def _read_target(method: str, url: bytes) -> Target:
    if url.startswith(b"/") and b"#" not in url and method != "CONNECT":
        path, _, query = url.partition(b"?")
        return Target(path, query, None)
    if method == "CONNECT":
        raise BadRequest(501, "CONNECT is not supported: this server is not a proxy.")
    if url == b"*" and method == "OPTIONS":
        return Target(b"*", b"", None)
    unreadable = BadRequest(400, f"The request's target {quote_input(url)} is not a path such as /health.")
    if b"#" in url or not url.startswith((b"http://", b"https://")):
        raise unreadable
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError as error:
        raise unreadable from error
    host = b"[%s]" % parsed.host if b":" in parsed.host else parsed.host
    return Target(
        parsed.path or b"/", parsed.query or b"", host if parsed.port is None else b"%s:%d" % (host, parsed.port)
    )


def _check_host(hosts: Sequence[bytes], version: str) -> None:
    """Exactly one (RFC 9112, 3.2): of two, a proxy may heed the other one."""
    if len(hosts) > 1:
        raise BadRequest(400, f"The request has {len(hosts)} Host headers. Send one.")
    if not hosts and version != "1.0":
        raise BadRequest(400, "The request has no Host header, which HTTP/1.1 requires.")
    if hosts and not HOST.fullmatch(hosts[0]):
        raise BadRequest(400, f"The Host header is {quote_input(hosts[0])}, which is not a host name.")


def _check_codings(codings: Sequence[bytes], version: str) -> None:
    if version == "1.0":
        raise BadRequest(400, "HTTP/1.0 has no Transfer-Encoding. Send a Content-Length, or use HTTP/1.1.")
    if b", ".join(codings).lower() != b"chunked":
        coding = quote_input(b", ".join(codings))
        raise BadRequest(501, f"The Transfer-Encoding {coding} is not supported. Use chunked alone.")
