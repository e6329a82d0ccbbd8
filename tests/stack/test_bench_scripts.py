"""What measures serving: the load generator sees what went wrong, and both scripts leave nothing behind."""

import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import SCRIPTS

BENCH = SCRIPTS / "bench"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


@pytest.fixture
def server() -> Iterator[int]:
    """Answers by path, in two pieces; ends the connection where the answer says so, or lacks something."""
    answers = {b"/good": OK, b"/busy": BUSY, b"/half": OK[:-1], b"/cut": b""}

    def answer(connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(4096):
                path = request.split()[1]
                if path == b"/hang":
                    connection.recv(1)
                    return
                connection.sendall(answers[path][:20])
                connection.sendall(answers[path][20:])
                if path != b"/good":
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
def test_load_generator_tells_how_requests_failed(
    server: int, rate: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    import load_generator as load

    paths = ["/good", "/busy", "/half", "/cut", "/hang"]
    expected = [200, 503, load.HALF, load.CUT, load.NO_ANSWER]
    requests = [load.write_request("GET", path) for path in paths]
    plan = load.Plan(server, requests, seconds=0.5, clients=5, rate=rate, deadline_seconds=0.6, keep_every=1)
    with load.Loader() as loader:
        found = loader.run(plan)
    assert {paths[question]: status for question, status in zip(found.question, found.status, strict=True)} == dict(
        zip(paths, expected, strict=True)
    )
    assert all(status == expected[question] for question, status in zip(found.question, found.status, strict=True))
    assert {body for place, body in found.answers if found.status[place] > 0} == {b"{}"}
    assert found.took[found.status == load.NO_ANSWER].min() >= 0.6
    assert found.took[found.status == 200].max() < 0.5
    if rate is not None:  # each at its time, whatever became of the others
        assert Counter(found.question.tolist()) == dict.fromkeys(range(5), 10)
        assert sorted(found.due.round(2).tolist()) == [round(place / 100, 2) for place in range(50)]


def test_load_generator_tells_that_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    import load_generator as load

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with load.Loader() as loader:
        found = loader.run(load.Plan(port, [load.write_request("GET", "/")], seconds=0.2, rate=50))
    assert found.status.tolist() == [load.CUT] * 10


def run_script(script: str, *arguments: str, scratch: Path) -> list[str]:
    unwanted = ("DB_", "MODEL_", "PORT")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    before = set(Path("/tmp").glob("forecaster-bench*"))
    done = subprocess.run(
        [sys.executable, BENCH / script, *arguments],
        env=kept,
        cwd=scratch,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "wrong:" not in done.stderr
    assert set(Path("/tmp").glob("forecaster-bench*")) == before
    return done.stdout.splitlines()


def test_bench_serving(tmp_path: Path) -> None:
    sizes = ("--sites", "256", "--seconds", "0.1", "--repetitions", "1")
    lines = run_script("bench_serving.py", *sizes, scratch=tmp_path)
    rows = [line.split() for line in lines if " client" in line and "generator" not in line]
    assert len(rows) == 2 + 1 + 3 * 3
    for row in rows:
        requests, failed, looked_at, wrong = (int(number.replace(",", "")) for number in row[-4:])
        assert requests >= looked_at > 0
        # Not none: on a machine busy with other things some may come too late.
        assert failed < requests
        assert wrong == 0


def test_bench_faults(tmp_path: Path) -> None:
    quick = ("--seconds", "1", "--rate", "50", "--only", "worker killed")
    lines = run_script("bench_faults.py", *quick, scratch=tmp_path)
    killed = next(line for line in lines if line.startswith(" worker "))
    assert killed.split()[2] == "150"
    assert killed.split()[7] == "0"  # wrong
