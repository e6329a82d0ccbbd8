"""Requests that the guards refuse, with their texts, on a small app. Attacks on the whole stack: tests/stack."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forecasting.domain import Right
from forecasting.errors import SettingError
from forecasting.serving.http import rate_limit
from forecasting.serving.http.api_keys import ApiKeyGuard
from forecasting.serving.http.guards import add_guards, check_host
from forecasting.serving.http.headers import SECURITY_HEADERS
from forecasting.serving.http.limits import RequestLimits
from forecasting.serving.http.rate_limit import RateLimit
from forecasting.serving.http.work_in_flight import WorkInFlight
from forecasting.settings.schema import ApiKey, Config, GuardConfig, ServingConfig

READ, ADMIN = "read-read-read-read", "admin-admin-admin-admin"
KEYS = tuple(
    ApiKey(name, right, sha256(key.encode()).digest())
    for name, right, key in (("dash", Right.read, READ), ("ops", Right.admin, ADMIN))
)
WITH_KEYS = Config(api_keys=KEYS)


async def answer(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"client": getattr(request.state, "client", None), "bytes": len(body)})


async def sleep(request: Request) -> Response:
    await asyncio.sleep(60)
    raise AssertionError


async def begin(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(60)

    return StreamingResponse(parts())


async def page(request: Request) -> Response:
    return Response("<p>", headers={"Content-Security-Policy": "default-src 'self'"})


ROUTES = [
    Route(path, answer, methods=["GET", "POST", "DELETE"])
    for path in (
        "/",
        "/static/a/page.js",
        "/health",
        "/ready",
        "/predict",
        "/predict/multiple",
        "/predictions",
        "/model/retrain",
        "/model/info",
    )
]


def guarded(config: Config) -> ASGIApp:
    app = Starlette(routes=[*ROUTES, Route("/sleep", sleep), Route("/begin", begin), Route("/page", page)])
    return add_guards(app, config)


def ask(
    config: Config, method: str, path: str, *, url: str = "http://127.0.0.1:5000", body: Any = None, **headers: str
) -> httpx.Response:
    """`headers` with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(guarded(config))
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            return await client.request(method, path, content=body, headers=named)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Authorization": f"Bearer {READ}"}, "dash"),
        ({"Authorization": f"bearer  {READ} "}, "dash"),
        ({"X_API_Key": READ}, "dash"),
        ({"Authorization": "Basic YTpi", "X_API_Key": ADMIN}, "ops"),
    ],
)
def test_a_key_lets_in_and_its_name_is_left_for_the_log(headers: dict[str, str], name: str) -> None:
    response = ask(WITH_KEYS, "GET", "/predict", **headers)
    assert (response.status_code, response.json()["client"]) == (200, name)


@pytest.mark.parametrize("path", ["/predict", "/nope", "/openapi.json", "/health/", "//health", "/health/../predict"])
def test_nothing_but_health_is_open(path: str) -> None:
    response = ask(WITH_KEYS, "GET", path)
    assert (response.status_code, response.json()) == (
        401,
        {"detail": "An API key is required. Send it as Authorization: Bearer KEY or as X-API-Key: KEY."},
    )
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_health_is_open_to_be_read(path: str) -> None:
    assert ask(WITH_KEYS, "GET", path).status_code == 200
    assert ask(WITH_KEYS, "POST", path).status_code == 401


@pytest.mark.parametrize("key", ["", READ[:-1], READ + "x", READ.upper(), "x" * 5000, "dash", READ + "\u00e9"])
def test_a_wrong_key_is_refused_without_being_shown(key: str) -> None:
    response = ask(WITH_KEYS, "GET", "/predict", Authorization=f"Bearer {key}".encode("latin-1"))  # type: ignore[arg-type]
    assert response.status_code == 401
    assert response.json() == {"detail": "This API key is unknown. API_KEYS lists the valid ones."}
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/model/info", 200),
        ("POST", "/predict", 200),
        ("POST", "/predict/multiple", 200),
        ("POST", "/model/retrain", 403),
        ("POST", "/predictions", 403),
        ("DELETE", "/model/info", 403),
    ],
)
def test_what_changes_something_needs_the_right_to(method: str, path: str, status: int) -> None:
    assert ask(WITH_KEYS, method, path, X_API_Key=ADMIN).status_code == 200
    response = ask(WITH_KEYS, method, path, X_API_Key=READ)
    assert response.status_code == status
    if status == 403:
        detail = "The API key 'dash' may only read. This route needs a key with the right admin."
        assert response.json() == {"detail": detail}


@pytest.mark.parametrize(
    "url", ["http://localhost", "http://LOCALHOST:5000", "http://127.0.0.1:5000", "http://[::1]:1"]
)
def test_whoever_reaches_loopback_may_ask_while_there_are_no_keys(url: str) -> None:
    assert ask(Config(), "POST", "/model/retrain", url=url).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://evil.example:5000", "'evil.example:5000'"),
        ("http://127.0.0.1.evil.example", "'127.0.0.1.evil.example'"),
        ("http://localhost.evil.example", "'localhost.evil.example'"),
        (f"http://{'e' * 100}", f"'{'e' * 77}...'"),
    ],
)
def test_a_name_that_leads_here_by_rebinding_is_refused(method: str, url: str, shown: str) -> None:
    response = ask(Config(), method, "/predict", url=url)
    assert (response.status_code, response.json()) == (
        403,
        {"detail": f"The host name {shown} is not allowed. Add it to guard.hosts, or set API_KEYS."},
    )


def test_names_that_are_said_are_known() -> None:
    config = Config(guard=GuardConfig(hosts=["Forecasts.example"]), serving=ServingConfig(host="127.0.0.2"))
    for url in ("https://forecasts.example", "http://forecasts.example:80", "http://127.0.0.2:5000"):
        assert ask(config, "GET", "/predict", url=url).status_code == 200
    assert ask(WITH_KEYS, "GET", "/health", url="http://any.example").status_code == 200


@pytest.mark.parametrize(
    ("headers", "whose"),
    [
        ({"Origin": "https://evil.example"}, "'https://evil.example'"),
        ({"Origin": "http://127.0.0.1:3000"}, "'http://127.0.0.1:3000'"),
        ({"Origin": "null"}, "'null'"),
        ({"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"}, "'https://evil.example'"),
        ({"Sec_Fetch_Site": "cross-site"}, "another site"),
        ({"Sec_Fetch_Site": "same-site"}, "another site"),
    ],
)
def test_a_form_of_a_page_from_elsewhere_is_refused(headers: dict[str, str], whose: str) -> None:
    response = ask(Config(), "POST", "/predict", body=b"{}", **headers)
    assert (response.status_code, response.json()) == (
        403,
        {
            "detail": f"Web pages from {whose} may not send this request. "
            "Add their origin to guard.cors_origins, or set API_KEYS.",
        },
    )


def test_pages_of_ones_own_may_send() -> None:
    assert ask(Config(), "POST", "/predict", Origin="http://127.0.0.1:5000").status_code == 200
    assert ask(Config(), "POST", "/predict", Sec_Fetch_Site="same-origin").status_code == 200
    assert ask(Config(), "GET", "/predict", Sec_Fetch_Site="cross-site").status_code == 200
    config = Config(guard=GuardConfig(cors_origins=["https://dash.example"]))
    assert ask(config, "POST", "/predict", Origin="https://dash.example", Sec_Fetch_Site="cross-site").is_success


def test_other_pages_are_told_nothing_unless_their_origin_is_named() -> None:
    named = replace(WITH_KEYS, guard=GuardConfig(cors_origins=["https://dash.example"]))
    preflight = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "x-api-key,content-type"}
    allowed = ask(named, "OPTIONS", "/predict", Origin="https://dash.example", **preflight)
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, "https://dash.example")
    refused = ask(named, "OPTIONS", "/predict", Origin="https://evil.example", **preflight)
    assert (refused.status_code, refused.json()) == (
        400,
        {
            "detail": "Disallowed CORS origin. guard.cors_origins lists the allowed origins; "
            "their pages may GET and POST.",
        },
    )
    for config, origin in ((named, "https://evil.example"), (WITH_KEYS, "https://dash.example")):
        response = ask(config, "GET", "/predict", Origin=origin, X_API_Key=READ)
        assert not [name for name in response.headers if name.startswith("access-control-allow")]
    answered = ask(named, "GET", "/predict", Origin="https://dash.example")
    assert (answered.status_code, answered.headers["Access-Control-Allow-Origin"]) == (401, "https://dash.example")


@pytest.mark.parametrize(("config", "method"), [(Config(), "GET"), (WITH_KEYS, "GET"), (Config(), "PUT")])
def test_every_answer_has_the_security_headers(config: Config, method: str) -> None:
    headers = ask(config, method, "/predict").headers
    for name, value in SECURITY_HEADERS:
        assert headers.get_list(name.decode()) == [value.decode()]


def test_a_page_may_say_what_it_loads() -> None:
    headers = ask(Config(), "GET", "/page").headers
    assert headers.get_list("Content-Security-Policy") == ["default-src 'self'"]
    assert headers["X-Content-Type-Options"] == "nosniff"


TOO_LARGE = {"detail": "The request body is larger than 1,048,576 bytes. Request fewer series at once."}
MIB = 2**20
HASTY = Config(guard=GuardConfig(request_seconds=0.2))


async def in_parts(num_bytes: int) -> AsyncIterator[bytes]:
    for _ in range(num_bytes // 4096):
        yield b"x" * 4096


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_body_may_be_so_large(method: str) -> None:
    for body in (b"x" * MIB, in_parts(MIB)):
        assert ask(Config(), method, "/predict", body=body).json()["bytes"] == MIB
    for body in (b"x" * (MIB + 1), in_parts(MIB + 4096), in_parts(10 * MIB)):
        response = ask(Config(), method, "/predict", body=body)
        assert (response.status_code, response.json()) == (413, TOO_LARGE)
        assert response.headers["Connection"] == "close"


@pytest.mark.parametrize("length", ["1048577", "9" * 5000, "-1", "1e3", "\u00b2"])
def test_a_body_that_is_said_to_be_too_large_is_not_read(length: str) -> None:
    response = ask(Config(), "POST", "/predict", body=b"", Content_Length=length.encode("latin-1"))  # type: ignore[arg-type]
    assert (response.status_code, response.json()) == (413, TOO_LARGE)


def test_a_body_that_does_not_come_and_an_answer_that_does_not_are_told_apart() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(0.05)

    late = ask(HASTY, "POST", "/predict", body=slowly())
    assert (late.status_code, late.json()) == (
        408,
        {"detail": "The request body did not arrive within 0.2 s (guard.request_seconds)."},
    )
    slow = ask(HASTY, "GET", "/sleep")
    assert (slow.status_code, slow.json()) == (
        504,
        {
            "detail": "The request took longer than 0.2 s (guard.request_seconds). "
            "Request less at once, or try again later."
        },
    )
    assert late.headers["Connection"] == slow.headers["Connection"] == "close"


def run_raw(app: ASGIApp, scope: Scope, receive: Receive) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    return sent


def scope_of(path: str, method: str = "GET", *headers: tuple[bytes, bytes], client: str = "192.0.2.1") -> Scope:
    return {
        "type": "http", "method": method, "path": path, "query_string": b"", "headers": list(headers),
        "client": (client, 1), "root_path": "", "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 1),
    }  # fmt: skip


async def nothing() -> Message:
    await asyncio.sleep(60)
    raise AssertionError


def test_an_answer_that_does_not_end_is_cut() -> None:
    """Without its last message, on which the server closes the connection."""
    sent = run_raw(guarded(HASTY), scope_of("/begin"), nothing)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"] is True


def test_a_client_that_leaves_amid_its_body_is_not_answered() -> None:
    async def leave() -> Message:
        return {"type": "http.disconnect"}

    assert run_raw(guarded(HASTY), scope_of("/predict", "POST"), leave) == []


def test_a_timeout_of_the_routes_own_stays_what_it_is() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("the routes' own")

    limits = RequestLimits(fail, request_seconds=5.0, work=WorkInFlight(64.0))
    with pytest.raises(TimeoutError, match="the routes' own"):
        run_raw(limits, scope_of("/predict"), nothing)


def test_requests_are_let_through_at_the_rate_and_one_seconds_worth_at_once() -> None:
    """Held against a bucket that is filled drop by drop."""
    now = 0.0
    limit = RateLimit(4.0, lambda: now)
    bucket = 4.0
    steps = [0.0] * 6 + [0.1, 0.2, 0.25, 0.05, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 10.0] + [0.0] * 5 + [0.125] * 8
    for step in steps:
        now += step
        bucket = min(4.0, bucket + 4 * step)
        wait = limit.wait("a")
        assert (wait == 0) == (bucket >= 1 - 1e-6)
        if wait == 0:
            bucket -= 1
        else:
            assert wait == pytest.approx((1 - bucket) / 4)


def test_a_rate_below_one_a_second_lets_one_through() -> None:
    now = 0.0
    limit = RateLimit(0.1, lambda: now)
    assert limit.wait("a") == 0
    assert limit.wait("a") == pytest.approx(10)
    now = 10.0
    assert limit.wait("a") == 0


def test_names_are_limited_apart_and_the_oldest_are_forgotten() -> None:
    limit = RateLimit(1.0, lambda: 0.0)
    waits = [limit.wait(str(name)) for name in range(rate_limit.MAX_NAMES + 1)]
    assert not any(waits)
    assert len(limit._due) == rate_limit.MAX_NAMES
    assert limit.wait("1") > 0
    assert limit.wait("0") == 0


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({})(scope, receive, send)


def asked_of(keys: ApiKeyGuard) -> Callable[..., tuple[int, dict[str, str], str]]:
    def ask_it(secret: str, client: str = "192.0.2.1") -> tuple[int, dict[str, str], str]:
        start, body = run_raw(
            keys, scope_of("/predict", "GET", (b"x-api-key", secret.encode()), client=client), nothing
        )
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], headers, json.loads(body["body"]).get("detail", "")

    return ask_it


def test_each_key_may_ask_so_often() -> None:
    ask_it = asked_of(ApiKeyGuard(fine, keys=KEYS, per_second=3.0, clock=lambda: 0.0))
    assert [ask_it(READ)[0] for _ in range(4)] == [200, 200, 200, 429]
    status, headers, detail = ask_it(READ)
    assert (status, headers["retry-after"]) == (429, "1")
    assert detail == "The API key 'dash' may send 3 requests per second (guard.requests_per_second). Try again in 1 s."
    assert ask_it(ADMIN)[0] == 200
    free = asked_of(ApiKeyGuard(fine, keys=KEYS, per_second=0.0, clock=lambda: 0.0))
    assert {free(READ)[0] for _ in range(1000)} == {200}


def test_wrong_keys_from_one_address_are_limited_and_shut_nobody_out() -> None:
    ask_it = asked_of(ApiKeyGuard(fine, keys=KEYS, per_second=0.0, clock=lambda: 0.0))
    answers = [ask_it(f"wrong-{number}") for number in range(12)]
    assert [status for status, _, _ in answers] == [401] * 10 + [429] * 2
    assert answers[-1][2] == "Too many wrong API keys came from this address. Try again in 1 s."
    assert ask_it("wrong", client="192.0.2.2")[0] == 401
    assert ask_it(READ)[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    check_host(Config(serving=ServingConfig(host=host)))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "forecasts.example", "127.1", "::ffff:192.0.2.1"])  # noqa: S104
def test_other_addresses_do(host: str) -> None:
    check_host(replace(WITH_KEYS, serving=ServingConfig(host=host)))
    with pytest.raises(SettingError) as refusal:
        check_host(Config(serving=ServingConfig(host=host)))
    assert str(refusal.value) == (
        f"serving.host (--host) is {host!r}, which other machines can reach, but API_KEYS is not set: anyone could "
        "send requests. Set API_KEYS=name:read:KEY (make a key with: python -c 'import secrets; "
        "print(secrets.token_urlsafe(32))'), or leave serving.host at 127.0.0.1."
    )


@pytest.mark.parametrize(
    ("body", "num_parts"),
    [
        (b"[" + b"[]," * 200 + b"1]", 201),
        (b"{" + b'"a": [],' * 100 + b'"b": 1}', 202),
        (b'{"a": 1}' * 101, 202),
        (b'{"site": "' + b":]}" * 100 + b'"}', None),
        (b'{"site": "' + b'\\":' * 300 + b'"}', None),
        (b'["' + b'","[x]' * 300 + b'"]', None),
        (b'{"metric": "unclosed' + b":" * 300, None),
    ],
)
def test_a_body_has_no_more_keys_and_lists_than_any_request(body: bytes, num_parts: int | None) -> None:
    """Those inside of names do not count."""
    response = ask(Config(), "POST", "/predict", body=body)
    if num_parts is None:
        assert response.status_code == 200
    else:
        assert (response.status_code, response.json()) == (
            422, {"detail": f"The body has {num_parts} keys, lists and objects. A request may have 200."},
        )  # fmt: skip


def test_the_page_needs_no_key_since_it_has_no_data() -> None:
    """Programs, which do not ask for HTML, and everything that the page asks for do."""
    html = "text/html,application/xhtml+xml"
    assert ask(WITH_KEYS, "GET", "/", accept=html).status_code == 200
    assert ask(WITH_KEYS, "GET", "/static/a/page.js").status_code == 200
    assert ask(WITH_KEYS, "GET", "/").status_code == 401
    assert ask(WITH_KEYS, "POST", "/", accept=html).status_code == 401
    assert ask(WITH_KEYS, "GET", "/model/info", accept=html).status_code == 401
