"""scripts/serve.py as a process: how it starts, what it refuses, how it ends, and what the death of a part does."""

import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from forecasting.serving.torchserve.ports import find_free_port
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.embedded import find_server
from scripts.bench.harness import PATIENCE_SECONDS, Place, Process, command_of, free_ports
from tests.waiting import becomes, get, get_until

from .conftest import PATIENT, left_of

PREDICT = "/predict/page-visits?days_ahead=7"
STOPPING = {"detail": "The server is shutting down. Try again when it is back."}


def workers(process: Process) -> list[psutil.Process]:
    return process.children("model_service_worker")


def test_dead_worker_and_dead_torchserve_and_an_end_amid_requests(place: Place) -> None:
    """Cached forecasts are served meanwhile. Others are refused with a Retry-After until TorchServe is back."""
    process = place.serve(*PATIENT)
    url = process.url
    before = get(url + PREDICT).json()["predictions"]
    [worker] = workers(process)
    worker.kill()
    assert get_until(url + "/predict/page-visits?days_ahead=3").json()["predictions"] == before[:3]
    [java] = process.children("ModelServer")
    java.kill()
    refused = get(url + "/predict/page-visits?days_ahead=9")
    assert refused.status_code == 503, refused.text
    assert "TorchServe" in refused.json()["detail"]
    assert refused.headers["Retry-After"] == "3"
    assert becomes(lambda: get(url + "/ready").json()["ready"] is False)  # checked once a second
    health = get(url + "/health")
    assert (health.status_code, health.json()["status"], health.json()["model_loaded"]) == (200, "degraded", False)
    assert "TorchServe" in health.json()["problems"][0]
    assert get(url + "/model/info").status_code == 503
    assert get(url + PREDICT).json()["predictions"] == before
    assert get_until(url + "/predict/page-visits?days_ahead=9").json()["predictions"][:7] == before
    assert becomes(lambda: get(url + "/ready").json() == {"ready": True})
    process.wait_for("TorchServe answers again")
    [again] = process.children("ModelServer")
    check_end_of_what_is_in_flight(process)
    assert not run_folders(process)
    assert not workers_left(java.pid)
    assert not workers_left(again.pid)


def check_end_of_what_is_in_flight(process: Process) -> None:
    """After SIGTERM, forecasts that were asked for before are still answered, and new connections are refused."""
    url, children = process.url, process.children()
    days = range(10, 18)
    with httpx.Client(timeout=PATIENCE_SECONDS) as keeping, ThreadPoolExecutor(len(days)) as others:
        with kept_waiting(process):
            asking = [others.submit(get, f"{url}/predict/page-visits?days_ahead={n}") for n in days]
            wait_for_in_flight(url, len(days))
            assert keeping.get(url + "/sites").status_code == 200  # and its connection stays open
            process.process.send_signal(signal.SIGTERM)
            assert becomes(lambda: is_refused(url))
            with pytest.raises(httpx.ConnectError):
                keeping.get(url + "/sites")
            assert not any(future.done() for future in asking)
        answers = [future.result() for future in asking]
    assert [answer.status_code for answer in answers] == [200] * len(days)
    assert [len(answer.json()["predictions"]) for answer in answers] == list(days)
    assert {answer.headers["Connection"] for answer in answers} == {"close"}
    assert process.wait() == 0
    assert not [child for child in children if child.is_running()]
    for number in days:
        assert f" metric=page_visits days={number} version=v1.10 " in process.text
    assert has_stopped(process)


def has_stopped(process: Process) -> bool:
    """Whether its last words are those of an orderly end, but for how often warnings before it were repeated."""
    lines = [line for line in process.text.splitlines() if " more within 10 s: " not in line]
    return lines[-2:] == ["stopping TorchServe", "stopped"]


def run_folders(process: Process) -> list[Path]:
    """What it has left in the temporary folder: TorchServe's keys, sockets and archive."""
    return list(Path(tempfile.gettempdir()).glob(f"forecaster.{process.process.pid}.*"))


def workers_left(java: int) -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter()
        if process.status() != "zombie" and os.getpgid(process.pid) == java
    ]


def test_dead_postgresql_comes_back_and_ctrl_c_in_a_terminal_leaves_no_process(
    place: Place, own_database: Path
) -> None:
    """Ctrl-C goes to every process of the group, and would reach TorchServe and PostgreSQL if they were in it. A client
    that comes too early is refused, and one that never finishes its request does not hold up the end.
    """
    port = find_free_port()
    process = place.serve(*PATIENT, port=port, TRAFFIC_PGDATA=str(own_database))
    assert becomes(lambda: process.children("ModelServer"))
    with pytest.raises(httpx.ConnectError, match="refused"):  # rather than left waiting
        get(f"http://127.0.0.1:{port}/health")
    url = process.url
    assert url == f"http://127.0.0.1:{port}"
    before = get(url + PREDICT).json()["predictions"]
    [postmaster] = [other for other in psutil.process_iter() if str(own_database) in command_of(other)]
    postmaster.kill()
    assert get_until(url + PREDICT).json()["predictions"] == before
    assert becomes(lambda: get(url + "/health").json()["status"] == "healthy")
    children = process.children()
    assert len(children) >= 2
    with socket.create_connection(address_of(url)) as body, socket.create_connection(address_of(url)) as head:
        body.sendall(b"POST /predict HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{")
        head.sendall(b"GET /hea")
        assert get(url + PREDICT).status_code == 200  # by now the others are read as far as they go
        os.killpg(process.process.pid, signal.SIGINT)
        assert process.wait() == 0
    assert not left_of(children)
    assert not [other for other in psutil.process_iter() if str(own_database) in command_of(other)]
    assert "Traceback" not in process.text
    assert has_stopped(process)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_stopped_while_it_starts_leaves_no_process(place: Place, how: signal.Signals, code: int) -> None:
    process = place.serve(*PATIENT)
    assert becomes(lambda: process.children("ModelServer"))
    children = process.children()
    assert run_folders(process)
    assert process.end(how) == code
    assert becomes(lambda: not left_of(children))
    assert not run_folders(process)


def test_what_stands_in_the_way_is_said_before_anything_starts(place: Place) -> None:
    """Each by itself, word by word, and other such things: tests/serving/test_server.py, tests/test_artifact.py."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        owner = psutil.Process()
        result = place.run("serve.py", *free_ports(), PORT=str(port), MODEL_VERSION="v2")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "error: 2 problems:\n"
        f"- There is no version v2 in {place.store} (there: v1.10). "
        "Train it: python scripts/train.py --model-version v2\n"
        f"- Port {port} on 127.0.0.1 cannot be used: Address already in use, held by {owner.name()} "
        f"(process {owner.pid}). Stop that process, or choose another port with PORT or --port.\n"
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
        socket.create_connection(address_of(url), timeout=PATIENCE_SECONDS).close()
    except (ConnectionRefusedError, ConnectionResetError):  # the listener may close while the connection waits for it
        return True
    return False


def wait_for_in_flight(url: str, number: int) -> None:
    """The request that asks for the number is one of them."""
    assert becomes(lambda: f"forecaster_requests_in_flight {number + 1}.0\n" in get(url + "/metrics").text)


def test_database_of_ones_own_that_is_down_is_said_and_a_second_signal_waits_for_nothing(
    place: Place, embedded: DatabaseConfig, short_folder: Path
) -> None:
    """The database is there later. The signals may be any two."""
    sockets = short_folder / "later"
    sockets.mkdir()
    process = place.serve(*PATIENT, DB_HOST=str(sockets), DB_PASSWORD="hunter2")
    url, children = process.url, process.children()
    health = get(url + "/health").json()
    assert (health["status"], health["model_loaded"]) == ("degraded", True)
    missing = get(url + PREDICT)
    assert missing.status_code == 503
    assert str(sockets) in missing.json()["detail"]
    assert "hunter2" not in process.text + missing.text + str(health)
    [listening] = find_server(embedded.pgdata).socket_folder.glob(".s.PGSQL.*[0-9]")
    (sockets / listening.name).symlink_to(listening)
    assert len(get_until(url + PREDICT).json()["predictions"]) == 7
    with ThreadPoolExecutor() as other, kept_waiting(process):
        asking = other.submit(get, f"{url}/predict/page-visits?days_ahead=8")
        wait_for_in_flight(url, 1)
        began = time.monotonic()
        process.process.send_signal(signal.SIGQUIT)
        assert becomes(lambda: is_refused(url))
        process.process.send_signal(signal.SIGHUP)
        refused = asking.result()
        assert time.monotonic() - began < 120  # serving.deadline_seconds, for which the first signal alone waits
        assert process.wait() == 0
    assert (refused.status_code, refused.headers["Retry-After"], refused.json()) == (503, "3", STOPPING)
    assert not [child for child in children if child.is_running()]
    assert not run_folders(process)
    assert has_stopped(process)
