"""Measures what attacks do to serving: the shim's memory, and how long GET /health and an honest client wait meanwhile.

Each attack strikes a server of its own, on made sites in a scratch folder that is removed at the end. Its settings are
the defaults, except that it does not look for new days meanwhile: that takes memory and time of its own. The attacker
has a key that may only read, or none. The honest client has another key, asks for one forecast after another, and opens
a connection for each, as the reader of /health does.
"""

# With --checkout everything imported here is the other checkout's: use only what commit b6698a7 had already.
import argparse
import os
import random
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.client import HTTPConnection, HTTPException
from multiprocessing import get_context
from pathlib import Path
from threading import Event

import orjson
import psutil
from harness import PATIENCE_SECONDS, Process
from load_generator import write_request
from rich.table import Table
from serving_stack import METRICS, VERSION, Stack, made_stack, predict_here

from forecasting.artifact import CARD, load_artifact, write_card
from forecasting.errors import CannotStart
from forecasting.runtime.machine import describe_processor
from forecasting.runtime.process import run
from forecasting.runtime.terminal import render

NUM_SITES = 3750  # 15,000 series
NUM_LARGE = 3333  # sites of a large request; with three metrics, as many forecasts as a request may have
NUM_IDLE = 1200  # connections, more than `guard.max_connections` allows
NUM_PIPELINED = 100  # requests that are sent without waiting for an answer
NUM_LOOPS = 8  # connections that ask for the same again and again
HONEST_KEY, ATTACKER_KEY = "bench-honest-key-that-nobody-else-has", "bench-attacker-key-that-may-only-read"
API_KEYS = f"honest:read:{HONEST_KEY},attacker:read:{ATTACKER_KEY}"
# All of 127.0.0.0/8 is this machine, on Linux; elsewhere only the first.
HEALTH_ADDRESS, HONEST_ADDRESS, ATTACKER_ADDRESS = "127.0.0.1", "127.0.0.2", "127.0.0.66"
MANY_ADDRESSES = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(NUM_IDLE)]
LEAD_SECONDS = 2.0  # before the attack
SETTLE_SECONDS = 10.0  # after it, until the memory is read again
PROBE_SECONDS = 0.1  # between two requests of a probe
DEADLINE_SECONDS = 30.0  # after which a client gives a request up
SMALL_BUFFER = 4096  # bytes that the system may receive for a client that reads nothing
MIB = 2**20
MEASURES = {
    **dict.fromkeys(("mse", "mae", "rmse", "mape", "wape", "r2", "mase", "coverage_80"), 123.456789),
    "num_cutoffs": 12,
    "seasonal_naive": dict.fromkeys(("mse", "mae", "rmse", "mape", "wape", "r2", "mase"), 123.456789),
}
HELD, CUT, NO_ANSWER = "still open", "cut off", "no answer"
Answers = Counter[str]  # statuses, or how the connection ended otherwise


# ---- the attacks: run in a process of their own, against a port, for so many seconds


def attack_nothing(port: int, seconds: float) -> Answers:
    time.sleep(seconds)
    return Counter()


Make = Callable[[int], bytes]  # the request of a connection with this number
Read = Callable[[socket.socket, float], str]  # until this time; how the request was answered


def send_at_once(port: int, seconds: float, *, make: Make, read: Read, num: int) -> Answers:
    """Over so many connections at once."""
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(num) as pool:
        return Counter(pool.map(lambda number: _send(port, make(number), read, end), range(num)))


def _send(port: int, request: bytes, read: Read, end: float) -> str:
    try:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
            connection.settimeout(DEADLINE_SECONDS)
            connection.bind((ATTACKER_ADDRESS, 0))
            connection.connect(("127.0.0.1", port))
            connection.sendall(request)
            return read(connection, end)
    except TimeoutError:
        return NO_ANSWER
    except OSError:
        return CUT


def leave_unread(connection: socket.socket, end: float) -> str:
    """The answer stays in the buffers until the end."""
    time.sleep(max(0.0, end - time.monotonic()))
    connection.settimeout(1.0)
    return _name_answer(connection.recv(12))


def read_slowly(connection: socket.socket, end: float) -> str:
    """10 kB/s."""
    answer = _name_answer(connection.recv(12))
    while time.monotonic() < end and connection.recv(1024):
        time.sleep(0.1)
    return answer


def read_fast(connection: socket.socket, end: float) -> str:
    answer = _name_answer(connection.recv(12))
    while connection.recv(65536):
        pass
    return answer


def ask_for_all(number: int) -> bytes:
    """As many forecasts as one request may have; no two requests are equal, or have the same days ahead."""
    sites = [f"site-{place:04}" for place in range(NUM_LARGE)]
    random.Random(number).shuffle(sites)  # noqa: S311 - no secret
    body = orjson.dumps({"metrics": METRICS[:3], "sites": sites, "days_ahead": 30 - number % 10})
    request = write_request("POST", "/predict/multiple", body=body, key=ATTACKER_KEY)
    return request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


def withhold_a_byte(number: int) -> bytes:
    """The largest body that is allowed, without its end."""
    return write_request("POST", "/predict/multiple", body=b"[" * MIB, key=ATTACKER_KEY)[:-1]


def ask_many_times(number: int) -> bytes:
    paths = ("/sites", "/model/info")
    return write_request("GET", paths[number % len(paths)], key=ATTACKER_KEY) * NUM_PIPELINED


def _name_answer(beginning: bytes) -> str:
    """The status; CUT for a connection that was closed without one."""
    return beginning[9:12].decode() if len(beginning) >= 12 else CUT


def request_in_a_loop(port: int, seconds: float, *, path: str) -> Answers:
    """The same again on each answer, over several connections."""
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(NUM_LOOPS) as pool:
        return sum(pool.map(lambda _: _ask_until(port, path, end), range(NUM_LOOPS)), Counter())


def _ask_until(port: int, path: str, end: float) -> Answers:
    answers: Answers = Counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS, source_address=(ATTACKER_ADDRESS, 0))
    while time.monotonic() < end:
        try:
            connection.request("GET", path, headers={"X-API-Key": ATTACKER_KEY})
            response = connection.getresponse()
            response.read()
            answers[str(response.status)] += 1
        except (OSError, HTTPException) as error:
            answers[NO_ANSWER if isinstance(error, TimeoutError) else CUT] += 1
            connection.close()
    connection.close()
    return answers


def hold_connections(port: int, seconds: float, *, addresses: Sequence[str], num_connections: int) -> Answers:
    """Opens connections, in turn from each address, and sends nothing. One that is closed is replaced by another."""
    end = time.monotonic() + seconds
    answers: Answers = Counter()
    with selectors.DefaultSelector() as waiting:
        for number in range(num_connections):
            _hold_another(waiting, port, addresses[number % len(addresses)], answers)
        while (left := end - time.monotonic()) > 0:
            for key, _ in waiting.select(min(left, PROBE_SECONDS)):
                answers[_end_held(waiting, key.fileobj)] += 1  # type: ignore[arg-type] # a socket, as registered
                _hold_another(waiting, port, key.data, answers)
        for key in list(waiting.get_map().values()):
            answers[HELD] += 1
            key.fileobj.close()  # type: ignore[union-attr] # a socket, as registered
    return answers


def _hold_another(waiting: selectors.BaseSelector, port: int, address: str, answers: Answers) -> None:
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=5.0, source_address=(address, 0))
    except OSError:
        answers["not connected"] += 1
        time.sleep(0.01)
    else:
        waiting.register(connection, selectors.EVENT_READ, address)


def _end_held(waiting: selectors.BaseSelector, connection: socket.socket) -> str:
    """How the server ended it."""
    waiting.unregister(connection)
    with connection:
        try:
            return _name_answer(connection.recv(12))
        except OSError:
            return CUT


Attack = Callable[[int, float], Answers]
ATTACKS: dict[str, Attack] = {
    "nothing": attack_nothing,
    "40 large requests, not read": partial(send_at_once, make=ask_for_all, read=leave_unread, num=40),
    "90 large requests, not read": partial(send_at_once, make=ask_for_all, read=leave_unread, num=90),
    "40 large requests, read slowly": partial(send_at_once, make=ask_for_all, read=read_slowly, num=40),
    "40 large requests, read": partial(send_at_once, make=ask_for_all, read=read_fast, num=40),
    "40 bodies of 1 MiB without an end": partial(send_at_once, make=withhold_a_byte, read=leave_unread, num=40),
    "/model/info in 8 loops": partial(request_in_a_loop, path="/model/info"),
    "/sites in 8 loops": partial(request_in_a_loop, path="/sites"),
    "both 100 times ahead, not read": partial(send_at_once, make=ask_many_times, read=leave_unread, num=16),
    "1200 idle of one address": partial(hold_connections, addresses=[ATTACKER_ADDRESS], num_connections=NUM_IDLE),
    "1200 idle of the honest address": partial(hold_connections, addresses=[HONEST_ADDRESS], num_connections=NUM_IDLE),
    "1200 idle of 1200 addresses": partial(hold_connections, addresses=MANY_ADDRESSES, num_connections=NUM_IDLE),
}


# ---- what is measured meanwhile


@dataclass
class Probe:
    """Requests one after another, and how long each waited; `failed` counts those without a 200 in time."""

    path: str
    address: str
    key: str | None = None
    waits: list[float] = field(default_factory=list)
    failed: Answers = field(default_factory=Counter)

    def wait_for_answer(self, port: int) -> None:
        """Asks until there is a 200. The first forecast waits until the source's days have been read."""
        end = time.monotonic() + PATIENCE_SECONDS
        while (outcome := self._ask(port, self.path.format(0))) != "200":
            if time.monotonic() > end:
                raise CannotStart(f"{self.path} is still not answered after {PATIENCE_SECONDS:g} s: {outcome}")
            time.sleep(PROBE_SECONDS)

    def run(self, port: int, stop: Event) -> None:
        while not stop.wait(PROBE_SECONDS):
            begun = time.perf_counter()
            outcome = self._ask(port, self.path.format(len(self.waits) % NUM_SITES))
            self.waits.append(time.perf_counter() - begun)
            if outcome != "200":
                self.failed[outcome] += 1

    def _ask(self, port: int, path: str) -> str:
        headers = {"X-API-Key": self.key} if self.key else {}
        connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS, source_address=(self.address, 0))
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            response.read()
        except TimeoutError:
            return NO_ANSWER
        except (OSError, HTTPException):
            return CUT
        finally:
            connection.close()
        return str(response.status)

    def describe(self) -> list[str]:
        kinds = ", ".join(f"{count} {name}" for name, count in self.failed.most_common())
        failed = f"{self.failed.total()} of {len(self.waits)}"
        return [f"{max(self.waits):.2f}", f"{failed} ({kinds})" if kinds else failed]


def watch_memory(process: psutil.Process, stop: Event) -> int:
    """The most bytes that the process had in memory until then."""
    highest = 0
    while not stop.wait(0.01):
        highest = max(highest, process.memory_info().rss)
    return highest


def main() -> None:
    arguments, names = parse_arguments()
    if arguments.checkout:
        run_in_checkout(arguments.checkout)
    with made_stack(num_sites=NUM_SITES) as stack:
        write_measures(stack)
        read_source(stack)
        stack.leave_database()
        print(f"{describe_processor()}; {NUM_SITES * len(METRICS):,} series, {arguments.seconds:g} s an attack")
        rows = {name: strike(name, stack, arguments.seconds) for name in names}
        print(f"\n{render(tabulate(rows))}")


def write_measures(stack: Stack) -> None:
    """Into the version's card, as many as training writes for each series."""
    folder = stack.config.model_dir / VERSION
    card = load_artifact(stack.config.model_dir, VERSION).card
    (folder / CARD).unlink()
    write_card(folder, replace(card, series=tuple(replace(series, metrics=MEASURES) for series in card.series)))


def read_source(stack: Stack) -> None:
    """Copies the source's days into our own schema, so that no server has to."""
    patient = replace(stack.config.serving, deadline_seconds=PATIENCE_SECONDS)
    predict_here(replace(stack, config=replace(stack.config, serving=patient)), [("site-0000", METRICS[0])])


def parse_arguments() -> tuple[argparse.Namespace, Sequence[str]]:
    """Also the names of the attacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40, help="of each attack (%(default)g)")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"some of: {'; '.join(ATTACKS)} (all)")
    parser.add_argument("--checkout", type=Path, metavar="FOLDER", help="attack the program in another checkout")
    parser.add_argument("--quick", action="store_true", help="5 s an attack")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds = 5.0
    names = [name.strip() for name in arguments.only.split(";")] if arguments.only else list(ATTACKS)
    if unknown := set(names) - set(ATTACKS):
        parser.error(f"--only names {'; '.join(sorted(unknown))}; there are: {'; '.join(ATTACKS)}.")
    return arguments, names


def run_in_checkout(folder: Path) -> None:
    """This program once more, in place of this process, with everything that it imports taken from there."""
    bench = folder.resolve() / "scripts" / "bench"
    program = f"import runpy, sys; sys.path[0] = {str(bench)!r}; runpy.run_path({__file__!r}, run_name='__main__')"
    others = [word for word in sys.argv[1:] if word not in ("--checkout", str(folder), f"--checkout={folder}")]
    command = [sys.executable, "-c", program, *others]
    os.execve(command[0], command, {**os.environ, "PYTHONPATH": str(folder.resolve())})  # noqa: S606


def strike(name: str, stack: Stack, seconds: float) -> list[str]:
    """A row of the table."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    with stack.place.serve("serving.refresh_seconds=86400", API_KEYS=API_KEYS) as server:
        return measure(ATTACKS[name], server, seconds)


def measure(attack: Attack, server: Process, seconds: float) -> list[str]:
    port, shim = server.port, psutil.Process(server.process.pid)
    health = Probe("/health", HEALTH_ADDRESS)
    forecasts = Probe("/predict/page-visits?site=site-{:04}", HONEST_ADDRESS, HONEST_KEY)
    for probe in (health, forecasts):
        probe.wait_for_answer(port)
    stop = Event()
    with ThreadPoolExecutor(3) as pool:
        probes = [pool.submit(probe.run, port, stop) for probe in (health, forecasts)]
        try:
            time.sleep(LEAD_SECONDS)
            before = shim.memory_info().rss
            highest = pool.submit(watch_memory, shim, stop)
            answers = strike_apart(attack, port, seconds)
            time.sleep(SETTLE_SECONDS)
        finally:
            stop.set()
        for done in probes:
            done.result()
    memory = [f"{size / MIB:,.0f}" for size in (before, highest.result(), shim.memory_info().rss)]
    counts = ", ".join(f"{count:,} {kind}" for kind, count in answers.most_common())
    return [*memory, *health.describe(), *forecasts.describe(), counts]


def strike_apart(attack: Attack, port: int, seconds: float) -> Answers:
    """In a process of its own, so that the attacker takes no time from what is measured here."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    attacker = context.Process(target=_report, args=(theirs, attack, port, seconds), daemon=True)
    attacker.start()
    theirs.close()
    try:
        answers: Answers = ours.recv()
        return answers
    finally:
        attacker.terminate()
        attacker.join()


def _report(pipe: object, attack: Attack, port: int, seconds: float) -> None:
    with suppress(KeyboardInterrupt):  # the attacked end, too
        pipe.send(attack(port, seconds))  # type: ignore[attr-defined] # multiprocessing's connection


def tabulate(rows: Mapping[str, Sequence[str]]) -> Table:
    table = Table("attack", box=None, header_style="")
    for column in (
        "shim before, MiB", "highest", "after",
        "/health: longest wait, s", "failed", "forecast: longest wait, s", "failed",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    table.add_column("what the attack got")
    for name, row in rows.items():
        table.add_row(name, *row)
    return table


if __name__ == "__main__":
    run(main)
