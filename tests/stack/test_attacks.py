"""Attacks on the running stack, as strangers and as holders of a read key would try them, and what each is answered."""

import json
import os
import re
import socket
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from forecasting.artifact import load_artifact
from forecasting.serving.http.connection import KEEP_ALIVE_SECONDS
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.embedded import find_server
from scripts.bench.harness import PATIENCE_SECONDS, Place, Process, free_ports
from tests.alerts.outbox import ask
from tests.serving.torchserve.requests import read_keys
from tests.waiting import CERTIFICATES, becomes, get, post

from .conftest import PATIENT

READ, ADMIN = "read-key-of-the-tests", "admin-key-of-the-tests"
DB_PASSWORD = "hunter2-of-the-tests"
API_KEYS = f"dash:read:{READ},ops:admin:{ADMIN}"
LIMITS = [
    "guard.request_seconds=10", "guard.max_connections=40", "guard.requests_per_second=0",
]  # fmt: skip
INJECTION = "x'; drop table daily_metrics; --"
NO_KEY = "An API key is required. Send it as Authorization: Bearer KEY or as X-API-Key: KEY."
TORCHSERVE_REQUEST = {"instances": [{"history": [100.0] * 56, "first_day": "2024-01-01", "kind": "count"}]}


@pytest.fixture(scope="module")
def attacked(place: Place, embedded: DatabaseConfig) -> Iterator[Process]:
    """The tests' PostgreSQL is reached as one of the user's own, with a password that it does not ask for."""
    host = str(find_server(embedded.pgdata).socket_folder)
    variables = {"API_KEYS": API_KEYS, "DB_HOST": host, "DB_PASSWORD": DB_PASSWORD}
    process = place.serve(*PATIENT, *LIMITS, **variables)
    assert process.url
    yield process
    assert process.end() == 0


@pytest.fixture
def http(attacked: Process) -> Iterator[httpx.Client]:
    """With the read key; after each attack the routes answer as before."""
    with httpx.Client(
        base_url=attacked.url, timeout=PATIENCE_SECONDS, headers={"X-API-Key": READ}, verify=CERTIFICATES
    ) as client:
        yield client
    answer = get(f"{attacked.url}/predict/page-visits", headers={"X-API-Key": READ})
    assert (answer.status_code, len(answer.json()["predictions"])) == (200, 7)


def connect(process: Process) -> socket.socket:
    parts = urlsplit(process.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_SECONDS)


def read_all(connection: socket.socket) -> bytes:
    """Until the other side closes, which it has to."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def parse(answer: bytes) -> tuple[int, dict[str, str], dict[str, str]]:
    """Status, headers and JSON of the one answer that there is."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert len(body) == int(headers["content-length"])
    return int(status.split()[1]), headers, json.loads(body)


@pytest.mark.parametrize("name", ["site", "metric"])
def test_sql_in_a_name(http: httpx.Client, name: str) -> None:
    answer = http.post("/predict", json={name: INJECTION})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"There is no {name} {INJECTION!r} in version v1.10.")


def test_sql_in_a_query_and_in_many(http: httpx.Client) -> None:
    answer = http.get("/predict/page-visits", params={"site": INJECTION})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"There is no site {INJECTION!r} in version v1.10.")
    many = http.post("/predict/multiple", json={"metrics": [INJECTION], "sites": [INJECTION]})
    assert many.status_code == 200
    assert list(many.json()[INJECTION][INJECTION]) == ["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"version": "../../etc/passwd"}, 422),
        ({"model_version": "../v1.10"}, 422),
        ({"site": "../../etc/passwd"}, 400),
        ({"metric": "..\\..\\x\x00.mar"}, 400),
    ],
)
def test_a_path_in_a_version_or_a_name(http: httpx.Client, body: dict[str, str], status: int) -> None:
    answer = http.post("/predict", json=body)
    assert answer.status_code == status
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/model/../../model_store/v1.10/model.json",
        "/health/../model/retrain",
        "/predict/page-visits%00.json",
        "//etc/passwd",
    ],
)
def test_a_path_that_climbs(attacked: Process, http: httpx.Client, path: str) -> None:
    with closing(connect(attacked)) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {READ}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        status, _, answer = parse(read_all(connection))
    assert status == 404
    assert answer["detail"].startswith("There is no route")


def test_ten_megabytes(http: httpx.Client) -> None:
    def in_chunks() -> Iterator[bytes]:
        for _ in range(160):
            yield b"[" * 65536

    for body in (b"[" * (10 * 2**20), in_chunks()):
        answer = http.post("/predict", content=body)
        assert (answer.status_code, answer.json()) == (
            413,
            {
                "detail": "The request body is larger than 1,048,576 bytes. Request fewer series at once.",
            },
        )


def test_ten_megabytes_without_a_key(attacked: Process, http: httpx.Client) -> None:
    answer = post(f"{attacked.url}/predict", content=b"[" * (10 * 2**20))
    assert (answer.status_code, answer.json()) == (401, {"detail": NO_KEY})


def test_a_hundred_thousand_metrics(http: httpx.Client) -> None:
    few_bytes = http.post("/predict/multiple", json={"metrics": ["m"] * 100_000})
    assert few_bytes.status_code == 422
    assert few_bytes.json()["detail"].startswith("metrics: List should have at most 1000 items after validation")
    many_bytes = http.post("/predict/multiple", json=[f"metric_{number}" for number in range(100_000)])
    assert many_bytes.status_code == 413


def dribble(process: Process, first: bytes, start: bytes, drop: bytes) -> bytes:
    """The answer to `start`, after which a drop is sent each 0.2 s; empty if the connection is closed without one.

    `first` is a whole request without the key, to be sent and answered before.
    """
    with closing(connect(process)) as connection:
        if first:
            connection.sendall(first)
            answered = b""
            while not answered.endswith(b"}"):
                answered += connection.recv(65536)
            assert parse(answered)[0] == 401
        end = time.monotonic() + KEEP_ALIVE_SECONDS  # when it would be closed in any case
        connection.sendall(start)
        connection.settimeout(0.2)
        while time.monotonic() < end:
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                connection.sendall(drop)
            else:
                connection.settimeout(PATIENCE_SECONDS)
                return answer + (read_all(connection) if answer else b"")
    raise AssertionError("the connection is still open")


HEADERS = b"GET /health HTTP/1.1\r\n"
BODY = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {READ}\r\nContent-Length: 1000\r\n\r\n"
SLOW_CLIENTS = {
    "headers": (b"", HEADERS, b"X-A: b\r\n"),
    "nothing": (b"", b"", b""),
    "blank lines": (b"", b"", b"\r\n"),
    "second request": (b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", HEADERS, b"X-A: b\r\n"),
    "body": (b"", BODY.encode(), b" "),
}


@pytest.fixture(scope="module")
def slow_clients(attacked: Process) -> Iterator[dict[str, "Future[bytes]"]]:
    """What each of them got, all at once: each waits for ten seconds."""
    with ThreadPoolExecutor(len(SLOW_CLIENTS)) as pool:
        yield {name: pool.submit(dribble, attacked, *parts) for name, parts in SLOW_CLIENTS.items()}


@pytest.mark.parametrize("name", ["headers", "second request"])
def test_headers_that_dribble(slow_clients: dict[str, "Future[bytes]"], http: httpx.Client, name: str) -> None:
    status, headers, body = parse(slow_clients[name].result())
    assert (status, headers["connection"]) == (408, "close")
    assert body == {"detail": "No request headers arrived within 10 s."}


@pytest.mark.parametrize("name", ["nothing", "blank lines"])
def test_a_connection_that_asks_nothing(
    slow_clients: dict[str, "Future[bytes]"], http: httpx.Client, name: str
) -> None:
    slow_clients[name].result()  # closed


def test_a_body_that_dribbles(slow_clients: dict[str, "Future[bytes]"], http: httpx.Client) -> None:
    status, headers, body = parse(slow_clients["body"].result())
    assert (status, headers["connection"]) == (408, "close")
    assert body == {"detail": "The request body did not arrive within 10 s (guard.request_seconds)."}


def test_an_answer_that_nobody_reads(attacked: Process, http: httpx.Client) -> None:
    """Pipelined requests fill what the system buffers, and then the connection is cut instead of kept."""
    parts = urlsplit(attacked.url)
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n\r\n" % READ.encode()
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect((parts.hostname, parts.port))
        ours = connection.getsockname()[1]
        connection.sendall(request * 3000)
        assert becomes(lambda: ours in remote_ports(attacked))
        assert becomes(lambda: ours not in remote_ports(attacked)), "the connection is still there"


def remote_ports(process: Process) -> set[int]:
    """Of the connections that are open on the shim's side."""
    connections = psutil.Process(process.process.pid).net_connections("tcp")
    return {
        connection.raddr.port
        for connection in connections
        if connection.raddr and connection.status == psutil.CONN_ESTABLISHED
    }


def test_more_connections_than_may_be(attacked: Process, http: httpx.Client) -> None:
    """They lock nobody out; tests/serving/http/test_admission.py has more of this kind."""
    connections = [connect(attacked) for _ in range(100)]
    try:
        assert get(f"{attacked.url}/health").status_code == 200
        assert http.get("/predict/page-visits").status_code == 200
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.parametrize(
    "head",
    [b"X-A: " + b"a" * 40_000, b"\r\n".join(b"X-%d: a" % number for number in range(2000))],
)
def test_headers_that_are_too_large(attacked: Process, http: httpx.Client, head: bytes) -> None:
    with closing(connect(attacked)) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        status, _, body = parse(read_all(connection))
    assert (status, body) == (431, {"detail": "The request line and headers are larger than 32,768 bytes."})


def test_a_header_without_end(attacked: Process, http: httpx.Client) -> None:
    """Cut off while it is still sent: whoever does so may miss the answer."""
    assert send_without_end(attacked, b"GET /health HTTP/1.1\r\nHost: x\r\nCookie: ") < 10 * 2**20


def test_a_trailer_without_end(attacked: Process, http: httpx.Client) -> None:
    """Neither kept nor put together piece by piece: the connection is cut."""
    start = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {READ}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: "
    assert send_without_end(attacked, start.encode()) < 10 * 2**20


def send_without_end(process: Process, start: bytes) -> int:
    """How many bytes went off after the start, of 20 MiB, before the connection was cut."""
    sent = 0
    with closing(connect(process)) as connection:
        connection.sendall(start)
        with suppress(ConnectionError):
            while sent < 20 * 2**20:
                sent += connection.send(b"a" * 65536)
    return sent


@pytest.mark.parametrize(
    ("request_line", "reason"),
    [
        (b"\x00\xff\x16\x03", "Invalid method encountered"),
        (b"GET /\xff HTTP/1.1", "Invalid char in url path"),
        (b"GET  HTTP/9.9", "Unexpected char in url schema"),
    ],
)
def test_what_is_no_http(attacked: Process, http: httpx.Client, request_line: bytes, reason: str) -> None:
    with closing(connect(attacked)) as connection:
        connection.sendall(request_line + b"\r\nHost: x\r\n\r\n")
        status, _, body = parse(read_all(connection))
    assert (status, body) == (400, {"detail": f"This is not a valid HTTP request: {reason}."})


def test_line_breaks_forge_neither_headers_nor_the_log(attacked: Process, http: httpx.Client) -> None:
    forged = "x\r\nSet-Cookie: forged=1\r\n\r\nGET /forged"
    for answer in (
        http.get("/predict/page-visits", params={"site": forged}),
        http.post("/predict", json={"site": forged, "metric": forged}),
        http.get("/predict/x%0d%0aSet-Cookie:%20forged=1"),
        get(f"{attacked.url}/predict", headers={"Authorization": "Bearer a\tforged"}),
    ):
        assert answer.status_code in {400, 401, 404}
        assert "forged" not in str(answer.headers)
        assert "Set-Cookie" not in answer.headers
    http.get("/health")
    attacked.wait_for("method=GET route=/health")
    assert not re.search(r"(?m)^(Set-Cookie|GET /forged)", attacked.text)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "wrong"},
        {"Authorization": f"Bearer {READ}x"},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJyaWdodCI6ImFkbWluIn0."},
        {"Authorization": "Basic ZGFzaDpyZWFk"},
        {"Cookie": f"X-API-Key={READ}"},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-User": "ops"},
    ],
)
def test_a_wrong_key_or_a_forged_token(attacked: Process, http: httpx.Client, headers: dict[str, str]) -> None:
    answer = get(f"{attacked.url}/predict/page-visits", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/model/retrain", "/model/retrain/", "/model//retrain", "//model/retrain"])
def test_a_read_key_cannot_retrain(attacked: Process, http: httpx.Client, path: str) -> None:
    answer = post(f"{attacked.url}{path}", headers={"X-API-Key": READ})
    assert (answer.status_code, answer.json()) == (
        403,
        {"detail": "The API key 'dash' may only read. This route needs a key with the right admin."},
    )


def test_an_admin_key_may(attacked: Process, http: httpx.Client) -> None:
    answer = post(f"{attacked.url}/model/retrain", headers={"X-API-Key": ADMIN})
    assert answer.status_code == 501
    assert "python scripts/train.py --model-version" in answer.json()["detail"]


UNUSUAL = """
insert into forecasting.anomalies (site, metric, day, kind, value, expected, lower, upper, score, direction,
    sensitivity, first_day, text, version, judged_at)
select 'attacked', metric, day, 'day', 1, 9, 8, 10, -4, 'low', 'low', day, '', 'v1', now()
from (values ('visits', date '2020-01-02'), ('page_views', '2020-01-02'), ('visits', '2020-01-03'))
    as each (metric, day)
returning id
"""


@pytest.fixture
def unusual(attacked: Process, http: httpx.Client, embedded: DatabaseConfig) -> Iterator[list[int]]:
    """Three of a site: two metrics of one day, and one of another."""
    assert http.get("/anomalies").status_code == 200  # the schema is there
    yield [number for (number,) in ask(embedded, UNUSUAL)]
    ask(embedded, "delete from forecasting.anomalies where site = 'attacked'")


def test_only_an_admin_acknowledges(attacked: Process, unusual: list[int]) -> None:
    """All metrics of the day; whoever was first stays named, and a later note replaces an earlier one."""
    *same_day, _ = unusual
    url = f"{attacked.url}/anomalies/{same_day[0]}/acknowledge"
    refused = post(url, headers={"X-API-Key": READ}, json={"note": "sale"})
    assert (refused.status_code, refused.json()) == (
        403,
        {"detail": "The API key 'dash' may only read. This route needs a key with the right admin."},
    )
    moments = set()
    for body, note in ((None, None), ({"note": "sale"}, "sale"), (None, "sale")):
        answer = post(url, headers={"X-API-Key": ADMIN}, json=body)
        assert answer.status_code == 200, answer.text
        acknowledged = answer.json()
        moments.add(acknowledged.pop("acknowledged_at"))
        assert acknowledged == {"ids": sorted(same_day), "acknowledged_by": "ops", "note": note}
    assert len(moments) == 1


def torchserve_keys(process: Process) -> dict[str, str]:
    return read_keys(Path(process.wait_for(r"its keys are in (\S+)")[1]))


def torchserve_urls(process: Process) -> tuple[str, str]:
    """Of its inference and its management."""
    match = process.wait_for(r"TorchServe answers on (\S+) and is managed on (\S+),")
    return match[1], match[2]


def test_torchserve_from_outside(attacked: Process, http: httpx.Client) -> None:
    [java] = attacked.children("ModelServer")
    listening = [open_port.laddr for open_port in java.net_connections("tcp") if open_port.status == psutil.CONN_LISTEN]
    assert len(listening) == 4  # its metrics are in a socket
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    connections = psutil.Process(attacked.process.pid).net_connections("tcp")
    assert {connection.laddr.ip for connection in connections if connection.status == "LISTEN"} == {"127.0.0.1"}


@pytest.mark.parametrize("path", ["/workflows?url={}", "/models?url={}", "/models?url={}&initial_workers=1"])
def test_a_model_from_a_url(attacked: Process, http: httpx.Client, path: str) -> None:
    _, management = torchserve_urls(attacked)
    real = torchserve_keys(attacked)["management"]
    with socket.create_server(("127.0.0.1", 0)) as bait:
        url = f"http://127.0.0.1:{bait.getsockname()[1]}/x.mar"
        answers = {}
        inference = torchserve_keys(attacked)["inference"]
        for name, token in {"none": None, "forged": "forged", "inference": inference}.items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answers[name] = post(management + path.format(url), headers=headers)
        allowed = {"Authorization": f"Bearer {real}"}
        answers["real"] = post(management + path.format(url), headers=allowed)
        bait.settimeout(0.2)
        with pytest.raises(TimeoutError):
            bait.accept()
    assert {answer.status_code for answer in answers.values()} <= {400, 403, 404, 405}, answers
    models = get(f"{management}/models", headers=allowed).json()["models"]
    assert [model["modelName"] for model in models] == ["forecaster"]


@pytest.mark.parametrize("token", [None, "forged", "management"])
def test_torchserves_inference_with_a_forged_token(attacked: Process, http: httpx.Client, token: str | None) -> None:
    inference, _ = torchserve_urls(attacked)
    presented = {**torchserve_keys(attacked), "forged": "forged"}.get(str(token))
    headers = {"Authorization": f"Bearer {presented}"} if presented else {}
    url = f"{inference}/predictions/forecaster/v1.10"
    answer = post(url, headers=headers, json=TORCHSERVE_REQUEST)
    assert (answer.status_code, answer.json()["type"]) == (400, "InvalidKeyException")


def test_secrets_are_nowhere(attacked: Process, http: httpx.Client, place: Place) -> None:
    """The last, when everything above is in the log."""
    secrets = [READ, ADMIN, DB_PASSWORD, *torchserve_keys(attacked).values()]
    assert len(secrets) == 6
    routes = ["/", "/health", "/model/info", "/sites", "/openapi.json", "/nope"]
    answers = [http.get(route) for route in routes]
    texts = [attacked.text, *(answer.text + str(answer.headers) for answer in answers)]
    with zipfile.ZipFile(load_artifact(place.store).archive) as archive:
        texts += [archive.read(name).decode("latin-1") for name in archive.namelist()]
    children = attacked.children()
    assert len(children) >= 2
    texts += [read_proc(process.pid, "cmdline") for process in (psutil.Process(attacked.process.pid), *children)]
    texts += [read_proc(process.pid, "environ") for process in children]
    assert [secret for secret in secrets for text in texts if secret in text] == []


def read_proc(pid: int, name: str) -> str:
    assert os.uname().sysname == "Linux"
    return Path(f"/proc/{pid}/{name}").read_text(errors="replace")


def test_others_are_not_served_without_keys(place: Place) -> None:
    result = place.run("serve.py", "--host", "0.0.0.0", *free_ports())  # noqa: S104
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: serving.host (--host) is '0.0.0.0', which other machines can reach")
