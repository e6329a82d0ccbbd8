"""scripts/serve.py as a process: how it starts, what it refuses, how it ends, and what the death of a part does."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from forecasting.serving.server import DRAIN_SECONDS
from tests.waiting import becomes

from .conftest import FREE_PORTS, Place, Process, command_of

PREDICT = "/predict/page-visits?days_ahead=7"
STOPPING = {"detail": "The server is shutting down. Try again when it is back."}


def answer_within(
    url: str, *, seconds: float, status: int = 200, headers: dict[str, str] | None = None
) -> httpx.Response:
    """The first answer of that status; every one before it must be an honest 502, 503 or 504, and none may hang."""
    end = time.monotonic() + seconds
    while True:
        response = httpx.get(url, headers=headers, timeout=15)
        if response.status_code == status:
            return response
        assert response.status_code in {502, 503, 504}, response.text
        assert response.json()["detail"]
        assert time.monotonic() < end, response.text
        time.sleep(0.1)


def workers(process: Process) -> list[psutil.Process]:
    return process.children("model_service_worker")


def test_dead_worker_and_dead_torchserve(place: Place) -> None:
    """What is kept is answered meanwhile, what is not is refused with a time to come again, and both come back."""
    process = place.start("serve.py", "--port", "0", "serving.workers=1", *FREE_PORTS)
    url = process.url
    before = httpx.get(url + PREDICT).json()["predictions"]
    [worker] = workers(process)
    worker.kill()
    assert answer_within(url + "/predict/page-visits?days_ahead=3", seconds=20).json()["predictions"] == before[:3]
    [java] = process.children("ModelServer")
    java.kill()
    refused = httpx.get(url + "/predict/page-visits?days_ahead=9", timeout=15)
    assert refused.status_code == 503, refused.text
    assert "TorchServe" in refused.json()["detail"]
    assert refused.headers["Retry-After"] == "3"
    assert becomes(lambda: httpx.get(url + "/ready").json()["ready"] is False)  # it is looked each second
    health = httpx.get(url + "/health")
    assert (health.status_code, health.json()["status"], health.json()["model_loaded"]) == (200, "degraded", False)
    assert "TorchServe" in health.json()["problems"][0]
    assert httpx.get(url + "/model/info").status_code == 503
    assert httpx.get(url + PREDICT).json()["predictions"] == before
    assert answer_within(url + "/predict/page-visits?days_ahead=9", seconds=60).json()["predictions"][:7] == before
    assert becomes(lambda: httpx.get(url + "/ready").json() == {"ready": True})
    process.wait_for("TorchServe answers again")
    [again] = process.children("ModelServer")
    assert process.end(signal.SIGINT) == 0
    assert not workers_left(java.pid)
    assert not workers_left(again.pid)


def workers_left(java: int) -> list[int]:
    return [one.pid for one in psutil.process_iter() if one.status() != "zombie" and os.getpgid(one.pid) == java]


def left_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != "zombie"]


def test_dead_postgresql_comes_back_and_ctrl_c_in_a_terminal_leaves_no_process(
    place: Place, own_database: Path
) -> None:
    """Ctrl-C goes to every process of the group, and would reach TorchServe and PostgreSQL if they were in it."""
    environment = {"TRAFFIC_PGDATA": str(own_database)}
    process = place.start("serve.py", "--port", "0", "serving.workers=1", *FREE_PORTS, **environment)
    url = process.url
    before = httpx.get(url + PREDICT).json()["predictions"]
    [postmaster] = [one for one in psutil.process_iter() if str(own_database) in command_of(one)]
    postmaster.kill()
    assert answer_within(url + PREDICT, seconds=30).json()["predictions"] == before
    assert becomes(lambda: httpx.get(url + "/health").json()["status"] == "healthy", seconds=30)
    children = process.children()
    assert len(children) >= 2
    os.killpg(process.process.pid, signal.SIGINT)
    assert process.process.wait(30) == 0
    assert not left_of(children)
    assert not [one for one in psutil.process_iter() if str(own_database) in command_of(one)]
    assert process.text.endswith("stopping TorchServe\nstopped\n")


def test_database_of_ones_own_that_is_down_is_said_and_a_kill_leaves_no_process(place: Place) -> None:
    somewhere = {"DB_HOST": "127.0.0.1", "DB_PORT": "1", "DB_PASSWORD": "hunter2"}
    process = place.start("serve.py", "--port", "0", "serving.workers=1", *FREE_PORTS, **somewhere)
    url = process.url
    health = httpx.get(url + "/health").json()
    assert (health["status"], health["model_loaded"]) == ("degraded", True)
    refused = httpx.get(url + PREDICT)
    assert refused.status_code == 503
    assert "127.0.0.1" in refused.json()["detail"]
    children = process.children()
    assert len(children) >= 2
    process.end(signal.SIGKILL)
    assert becomes(lambda: not left_of(children))
    assert "hunter2" not in process.text + refused.text + str(health)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_while_it_starts_leaves_no_process(place: Place, how: signal.Signals, code: int) -> None:
    process = place.start("serve.py", "--port", "0", "serving.workers=1", *FREE_PORTS)
    assert becomes(lambda: process.children("ModelServer"))
    children = process.children()
    assert process.end(how) == code
    assert becomes(lambda: not left_of(children))


def test_what_stands_in_the_way_is_said_before_anything_starts(place: Place) -> None:
    """Each by itself, word by word, and other such things: tests/serving/test_server.py, tests/test_artifact.py."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        owner = psutil.Process()
        result = place.run("serve.py", *FREE_PORTS, PORT=str(port), MODEL_VERSION="v2")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "error: 2 things stand in the way:\n"
        f"- There is no version v2 in {place.store} (there: v1.10). "
        "Train it: python scripts/train.py --model-version v2\n"
        f"- Port {port} on 127.0.0.1 cannot be taken: Address already in use, held by {owner.name()} "
        f"(process {owner.pid}). Stop what holds it, or choose another port with PORT or --port.\n"
    )


@contextmanager
def kept_waiting(process: Process) -> Iterator[None]:
    """The workers of TorchServe stand still: what is asked meanwhile stays in flight."""
    stopped = workers(process)
    for worker in stopped:
        worker.suspend()
    try:
        yield
    finally:
        for worker in stopped:
            with suppress(psutil.NoSuchProcess):
                worker.resume()


def address_of(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def is_refused(url: str) -> bool:
    try:
        socket.create_connection(address_of(url), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def wait_for_in_flight(url: str, number: int) -> None:
    """The request that asks for the number is one of them."""
    assert becomes(lambda: f"forecaster_requests_in_flight {number + 1}.0\n" in httpx.get(url + "/metrics").text)


def test_sigterm_lets_what_is_in_flight_end(place: Place) -> None:
    process = place.start("serve.py", "--port", "0", "serving.workers=1", *FREE_PORTS)
    url, children = process.url, process.children()
    assert httpx.get(url + PREDICT).status_code == 200
    days = range(8, 16)
    with httpx.Client() as keeping, ThreadPoolExecutor(len(days)) as others:
        with kept_waiting(process):
            asking = [others.submit(httpx.get, f"{url}/predict/page-visits?days_ahead={n}", timeout=30) for n in days]
            wait_for_in_flight(url, len(days))
            assert keeping.get(url + "/sites").status_code == 200  # and its connection stays open
            process.process.send_signal(signal.SIGTERM)
            assert becomes(lambda: is_refused(url))
            with pytest.raises(httpx.ConnectError):
                keeping.get(url + "/sites")
            assert not any(one.done() for one in asking)
        answers = [one.result() for one in asking]
    assert [answer.status_code for answer in answers] == [200] * len(days)
    assert [len(answer.json()["predictions"]) for answer in answers] == list(days)
    assert {answer.headers["Connection"] for answer in answers} == {"close"}
    assert process.process.wait(30) == 0
    assert not [one for one in children if one.is_running()]
    for number in days:
        assert f" metric=page_visits days={number} version=v1.10 " in process.text
    assert process.text.endswith("stopping TorchServe\nstopped\n")


def test_second_signal_waits_for_nothing(place: Place) -> None:
    """A SIGTERM, which uvicorn by itself would wait on for: of its own accord it counts a second SIGINT alone."""
    process = place.start("serve.py", "--port", "0", "serving.workers=1", *FREE_PORTS)
    url, children = process.url, process.children()
    assert httpx.get(url + PREDICT).status_code == 200
    with ThreadPoolExecutor() as other, kept_waiting(process):
        asking = other.submit(httpx.get, f"{url}/predict/page-visits?days_ahead=8", timeout=30)
        wait_for_in_flight(url, 1)
        process.process.send_signal(signal.SIGTERM)
        assert becomes(lambda: is_refused(url))
        began = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        refused = asking.result()
        assert time.monotonic() - began < 2
        assert process.process.wait(30) == 0
    assert (refused.status_code, refused.headers["Retry-After"], refused.json()) == (503, "3", STOPPING)
    assert not [one for one in children if one.is_running()]
    assert process.text.endswith("stopping TorchServe\nstopped\n")


def test_client_that_comes_too_early_is_refused_and_one_that_never_finishes_does_not_hold_up_the_end(
    place: Place,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = place.start("serve.py", "--port", str(port), "serving.workers=1", *FREE_PORTS)
    assert becomes(lambda: process.children("ModelServer"))
    with pytest.raises(httpx.ConnectError, match="refused"):  # rather than left waiting
        httpx.get(f"http://127.0.0.1:{port}/health")
    assert process.url == f"http://127.0.0.1:{port}"
    address = address_of(process.url)
    with socket.create_connection(address) as body, socket.create_connection(address) as head:
        body.sendall(b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{")
        head.sendall(b"GET /hea")
        assert httpx.get(process.url + PREDICT).status_code == 200  # by now the others are read as far as they go
        began = time.monotonic()
        assert process.end() == 0
        assert time.monotonic() - began < DRAIN_SECONDS + 5
    assert "Traceback" not in process.text
    assert process.text.endswith("stopping TorchServe\nstopped\n")
