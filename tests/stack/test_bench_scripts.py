"""The benchmarks of serving: the load generator sees what went wrong, and both scripts leave nothing behind."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.bench.harness import Place, clean_environment
from scripts.bench.load_generator import CUT, HALF, NO_ANSWER, Loader, Plan, write_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


@pytest.fixture
def server() -> Iterator[int]:
    """Answers by path, in two pieces; ends the connection where the answer says so, or lacks something."""
    answers = {b"/good": OK, b"/chunks": CHUNKS, b"/busy": BUSY, b"/half": OK[:-1], b"/cut": b""}

    def answer(connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(4096):
                path = request.split()[1]
                if path == b"/hang":
                    connection.recv(1)
                    return
                connection.sendall(answers[path][:20])
                connection.sendall(answers[path][20:])
                if path not in (b"/good", b"/chunks"):
                    return

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("rate", [None, 100.0])
def test_load_generator_tells_how_requests_failed(server: int, rate: float | None) -> None:
    paths = ["/good", "/chunks", "/busy", "/half", "/cut", "/hang"]
    expected = [200, 200, 503, HALF, CUT, NO_ANSWER]
    requests = [write_request("GET", path) for path in paths]
    plan = Plan(server, requests, seconds=0.6, clients=6, rate=rate, deadline_seconds=5.0, keep_every=1)
    with Loader() as loader:
        load = loader.run(plan)
    assert set(load.question) == set(range(6))
    assert [expected[question] for question in load.question] == load.status.tolist()
    assert {body for place, body in load.answers if load.status[place] > 0} == {b"{}"}
    assert load.took[load.status == NO_ANSWER].min() >= 5.0 > load.took[load.status == 200].max()
    if rate is not None:  # each at its time, whatever became of the others
        assert Counter(load.question.tolist()) == dict.fromkeys(range(6), 10)
        assert sorted(load.due.round(2).tolist()) == [round(place / 100, 2) for place in range(60)]


def test_load_generator_tells_that_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Loader() as loader:
        load = loader.run(Plan(port, [write_request("GET", "/")], seconds=0.2, rate=50))
    assert load.status.tolist() == [CUT] * 10


def run_benchmark(script: str, *arguments: str, folder: Path) -> list[str]:
    """The lines that it prints. It must end well, without a wrong forecast, and leave nothing behind."""
    result = Place(folder, clean_environment(TMPDIR=str(folder))).run(f"bench/{script}", *arguments)
    assert result.returncode == 0, result.stderr
    assert "wrong:" not in result.stderr
    assert not [path for path in folder.iterdir() if not path.name.startswith("torchinductor")]  # torch's own cache
    return result.stdout.splitlines()


@pytest.fixture
def scratch(short_folder: Path, java_classes: None) -> Path:
    folder = short_folder / "bench"
    folder.mkdir(exist_ok=True)
    return folder


def test_bench_serving(scratch: Path) -> None:
    sizes = ("--sites", "256", "--seconds", "0.1", "--repetitions", "1", "--workers", "1")
    lines = run_benchmark("bench_serving.py", *sizes, folder=scratch)
    rows = [line.split() for line in lines if " client" in line and "generator" not in line]
    rows = [row for row in rows if "." in row[-7]]  # of answers, with p50; others tell CPU time
    assert len(rows) == 2 + 1 + 3 * 3 + 1
    for row in rows:
        requests, failed, looked_at, wrong = (int(number.replace(",", "")) for number in row[-4:])
        assert requests >= looked_at > 0
        assert failed < requests  # not 0: on a busy machine some answers come too late
        assert wrong == 0


def test_bench_faults(scratch: Path) -> None:
    quick = ("--seconds", "1", "--rate", "50", "--known", "8", "--workers", "1", "--only", "worker killed")
    lines = run_benchmark("bench_faults.py", *quick, folder=scratch)
    killed = next(line for line in lines if line.startswith(" worker "))
    assert killed.split()[2] == "150"
    assert killed.split()[7] == "0"  # wrong
