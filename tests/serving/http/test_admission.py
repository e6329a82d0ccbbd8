"""Connections of many strangers, of one and of many addresses: over real sockets, on a small app with API keys."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from forecasting.serving.http import connection
from forecasting.serving.http.guards import add_guards
from forecasting.serving.http.metrics import ServingMetrics
from forecasting.settings.schema import Config, GuardConfig, ServingConfig
from scripts.bench.harness import PATIENCE_SECONDS
from tests.serving.http.listening import ask, connect, listen, read_answer
from tests.serving.http.test_guards import KEYS, READ
from tests.waiting import becomes

LIMIT, OF_ADDRESS = 12, 4
ATTACKER, OTHERS = "127.0.0.66", [f"127.1.0.{number + 1}" for number in range(100)]
TOO_MANY = {"detail": "Too many open connections (guard.max_connections). Try again later."}
TOO_MANY_OF_ADDRESS = {
    "detail": "Too many open connections of this address (guard.max_connections_per_address). Close some, or try again "
    "later."
}


async def answer(request: Request) -> Response:
    assert request.client is not None
    return JSONResponse({"client": request.client.host})


async def wait(request: Request) -> Response:
    request.app.state.num_waiting += 1
    await asyncio.sleep(2 * PATIENCE_SECONDS)
    raise AssertionError


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that send nothing are not closed because a busy machine takes long."""
    monkeypatch.setattr(connection, "HEADER_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def app() -> Starlette:
    slow = [Route(path, wait) for path in ("/wait", "/ready")]
    app = Starlette(routes=[Route("/health", answer), Route("/model/info", answer), *slow])
    app.state.num_waiting = 0
    return app


@contextmanager
def listen_with_keys(app: Starlette, *trusted_proxies: str) -> Iterator[int]:
    config = Config(
        guard=GuardConfig(LIMIT, OF_ADDRESS, request_seconds=PATIENCE_SECONDS),
        serving=ServingConfig(trusted_proxies=list(trusted_proxies)),
        api_keys=KEYS,
    )
    with listen(add_guards(app, config), config, ServingMetrics()) as port:
        yield port


@pytest.fixture
def port(app: Starlette) -> Iterator[int]:
    with listen_with_keys(app) as port:
        yield port


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def hold(opened: ExitStack, port: int, address: str, *, sending: bytes = b"") -> socket.socket:
    client = opened.enter_context(closing(connect(port, address)))
    client.sendall(sending)
    return client


def keep_busy(opened: ExitStack, port: int, address: str) -> socket.socket:
    """A request with a key that is still being answered."""
    request = f"GET /wait HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {READ}\r\n\r\n".encode()
    return hold(opened, port, address, sending=request)


def is_open(client: socket.socket) -> bool:
    return ask(client, key=READ)[0] == 200


@pytest.mark.parametrize("addresses", [[ATTACKER], OTHERS], ids=["one address", "many addresses"])
@pytest.mark.parametrize("sending", [b"", b"GET /health HTTP/1.1\r\nHost: loc"], ids=["idle", "half a request"])
def test_connections_that_ask_nothing_lock_nobody_out(
    port: int, opened: ExitStack, addresses: list[str], sending: bytes
) -> None:
    friend = hold(opened, port, "127.0.0.2")
    assert is_open(friend)  # and stays so, since it has shown a key
    for number in range(100):
        hold(opened, port, addresses[number % len(addresses)], sending=sending)
    for newcomer in ("127.0.0.3", ATTACKER):
        assert ask(hold(opened, port, newcomer))[0] == 200
    assert is_open(friend)


def test_the_one_that_has_waited_longest_makes_room_for_another_of_its_address(port: int, opened: ExitStack) -> None:
    other = hold(opened, port, "127.0.0.3")
    own = [hold(opened, port, ATTACKER) for _ in range(OF_ADDRESS)]
    for client in (*own, own[0]):  # so that the second has waited longest
        assert ask(client)[0] == 200
    hold(opened, port, ATTACKER)
    assert own[1].recv(1) == b""
    for client in (own[0], own[2], own[3], other):
        assert ask(client)[0] == 200


def test_one_in_the_middle_of_a_request_is_told_why_it_is_closed(port: int, opened: ExitStack) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    first = hold(opened, port, ATTACKER, sending=request + request[:10])
    received = first.makefile("rb")
    assert read_answer(received)[0] == 200  # so the beginning of the second request has arrived, too
    for _ in range(OF_ADDRESS):
        hold(opened, port, ATTACKER)
    status, headers, body = read_answer(received)
    assert (status, headers["retry-after"]) == (503, "3")
    assert body == {
        "detail": "This connection was closed to make room for others: too many are open (guard.max_connections). "
        "Try again."
    }


def test_address_whose_requests_are_all_being_answered_gets_no_more(
    app: Starlette, port: int, opened: ExitStack
) -> None:
    for _ in range(OF_ADDRESS):
        hold(opened, port, ATTACKER, sending=b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert becomes(lambda: app.state.num_waiting == OF_ADDRESS)
    status, _, body = ask(hold(opened, port, ATTACKER), "/model/info", key=READ)
    assert (status, body) == (503, TOO_MANY_OF_ADDRESS)
    assert ask(hold(opened, port, ATTACKER))[0] == 200
    assert is_open(hold(opened, port, "127.0.0.3"))


def test_health_has_a_reserve_when_all_connections_are_busy(app: Starlette, port: int, opened: ExitStack) -> None:
    busy = [keep_busy(opened, port, f"127.0.1.{number + 1}") for number in range(LIMIT)]
    assert becomes(lambda: app.state.num_waiting == LIMIT)
    for _ in range(200):  # they fill the reserve
        hold(opened, port, ATTACKER)
    for address in (ATTACKER, "127.0.0.3"):
        status, headers, _ = ask(hold(opened, port, address))
        assert (status, headers["connection"]) == (200, "close")
        assert ask(hold(opened, port, address), key=READ)[0] == 200
        status, headers, body = ask(hold(opened, port, address), "/model/info", key=READ)
        assert (status, headers["retry-after"], body) == (503, "3", TOO_MANY)
    for client in busy:
        client.setblocking(False)
        with pytest.raises(BlockingIOError):  # none was closed
            client.recv(1)


def test_requests_with_a_key_do_not_count_for_their_address(port: int, opened: ExitStack) -> None:
    friends = [hold(opened, port, "127.0.0.2") for _ in range(OF_ADDRESS)]
    assert all(map(is_open, friends))
    more = [hold(opened, port, "127.0.0.2") for _ in range(OF_ADDRESS)]
    assert all(map(is_open, [*friends, *more]))


def test_idle_ones_with_a_key_go_when_there_are_no_others(port: int, opened: ExitStack) -> None:
    friends = []
    for _ in range(LIMIT):
        friends.append(hold(opened, port, "127.0.0.2"))
        assert is_open(friends[-1])
    assert is_open(hold(opened, port, "127.0.0.3"))
    assert friends[0].recv(1) == b""
    assert all(map(is_open, friends[1:]))


def test_trusted_proxy_has_no_limit_of_its_own_and_says_who_asks(app: Starlette, opened: ExitStack) -> None:
    with listen_with_keys(app, ATTACKER) as port:
        own = [hold(opened, port, ATTACKER) for _ in range(2 * OF_ADDRESS)]
        assert {ask(client)[0] for client in own} == {200}
        lines = "Host: localhost\r\nX-Forwarded-For: 9.9.9.9, 192.0.2.7\r\nX-Forwarded-For: 127.0.0.66"
        request = f"GET /health HTTP/1.1\r\n{lines}\r\n\r\n".encode()
        for address, client in ((ATTACKER, "192.0.2.7"), ("127.0.0.3", "127.0.0.3")):
            received = hold(opened, port, address, sending=request).makefile("rb")
            assert read_answer(received)[2] == {"client": client}
