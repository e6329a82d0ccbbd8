"""A running TorchServe: its addresses, its files, and its end.

It runs as Java, not through its `torchserve` command: that command returns 0 when it fails, and leaves Java behind when
it is terminated.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType

from forecasting.errors import CannotStart
from forecasting.serving.torchserve.configuration import METRICS_SOCKET, TEMPLATES
from forecasting.serving.torchserve.installation import find_torchserve
from forecasting.serving.torchserve.ports import HOST
from forecasting.serving.torchserve.protocol import read_key

STOP_SECONDS = 5.0
MAX_HEAP = "-Xmx256m"  # of Java; the workers' memory comes on top
# The environment variables that Java and the workers see: no DB_PASSWORD, no PYTHONPATH, nothing unknown.
VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "JDK_JAVA_OPTIONS")
# Runs in Java's process before it becomes Java, so that a kill -9 of ours ends Java too. Only Linux can do that.
BECOME_JAVA = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started TorchServe is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class TorchServe:
    """Ends with `stop()`, with its context, or with our process. `run_dir` has its settings, keys, logs and files."""

    def __init__(self, process: "subprocess.Popen[bytes]", run_dir: Path, *, ports: Mapping[str, int]) -> None:
        self.process = process
        self.run_dir = run_dir
        self.ports = ports
        self._is_stopped = False

    @property
    def inference_url(self) -> str:
        return f"http://{HOST}:{self.ports['inference_port']}"

    @property
    def management_url(self) -> str:
        return f"http://{HOST}:{self.ports['management_port']}"

    @property
    def metrics_socket(self) -> Path:
        return self.run_dir / METRICS_SOCKET

    @property
    def key_file(self) -> Path:
        return self.run_dir / "key_file.json"

    @property
    def log_dir(self) -> Path:
        return self.run_dir / "logs"

    def is_running(self) -> bool:
        return self.process.poll() is None

    def pings(self) -> bool:
        """Whether Java answers, whatever its workers do."""
        status, _ = self.request("inference", "/ping")
        return status != 0

    def request(self, api: str, path: str, *, body: bytes | None = None, seconds: float = 2.0) -> tuple[int, bytes]:
        """Status and body from the API `inference` or `management`; status 0 without an answer in time."""
        connection = HTTPConnection(HOST, self.ports[f"{api}_port"], timeout=seconds)
        try:
            headers = {"Authorization": f"Bearer {read_key(self.key_file, api)}", "Content-Type": "application/json"}
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException, ValueError, KeyError) as error:
            return 0, str(error).encode()
        finally:
            connection.close()

    def stop(self) -> None:
        """Ends Java and every worker, and removes the run folder. Requests in flight are lost."""
        if self._is_stopped:  # the process id may belong to another process by now
            return
        self._is_stopped = True
        _signal_group(self.process.pid, signal.SIGTERM)
        _wait_until(lambda: not self.is_running(), STOP_SECONDS)
        _signal_group(self.process.pid, signal.SIGKILL)
        _wait_until(lambda: not self.is_running() and not _has_live_members(self.process.pid), STOP_SECONDS)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def __enter__(self) -> "TorchServe":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_java(java: Path, folder: Path) -> "subprocess.Popen[bytes]":
    """Starts TorchServe's server with the configuration in its run folder. Raises CannotStart.

    It is started in a thread that lives as long as Java: on Linux the end of the starting thread counts as our end.
    """
    command = _java_command(java, folder)
    started: list[subprocess.Popen[bytes] | OSError] = []
    done = threading.Event()

    def start_and_wait() -> None:
        try:
            started.append(_start(command, folder))
        except OSError as error:
            started.append(error)
        done.set()
        if isinstance(started[0], subprocess.Popen):
            started[0].wait()

    threading.Thread(target=start_and_wait, name="torchserve", daemon=True).start()
    done.wait()
    if isinstance(started[0], OSError):
        raise CannotStart(f"{java} cannot be started: {started[0]}") from started[0]
    return started[0]


def _start(command: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    temporary = str(folder / "tmp")
    with (folder / "logs" / "console.log").open("wb") as console:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BECOME_JAVA, str(os.getpid()), *command],
            cwd=folder,  # TorchServe writes its keys here
            env={**environment, "TEMP": temporary, "TMPDIR": temporary},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            umask=0o077,
        )


def _java_command(java: Path, folder: Path) -> list[str]:
    home = find_torchserve()
    return [
        str(java),
        f"-Dmodel_server_home={home}",
        f"-Djava.io.tmpdir={folder / 'tmp'}",
        f"-Dlog4j.configurationFile={(TEMPLATES / 'log4j2.xml').as_uri()}",
        f"-Dforecaster.logs={folder / 'logs'}",
        *(MAX_HEAP, "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"),
        "--enable-native-access=ALL-UNNAMED",  # Java 17 accepts it; versions after 25 will require it
        *("-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable),
        *("-f", str(folder / "config.properties"), "-s", str(folder / "store"), "-ncs"),
    ]


def _signal_group(group: int, signal_number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal_number)


def _has_live_members(group: int) -> bool:
    """Whether any process of the group is alive; zombies do not count."""
    import psutil

    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
    return False


def _wait_until(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() <= end:
        time.sleep(0.02)
