"""Scripts in processes of their own, for benchmarks and tests: started on free ports, without the caller's settings,
and ended with everything they started.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil

SCRIPTS = Path(__file__).resolve().parents[1]
OWN_VARIABLES = ("DB_", "MODEL_", "PORT", "DEBUG", "SOURCE_URL", "CACHE_URL", "API_KEYS", "TRAFFIC_")  # prefixes
# For what usually takes seconds. A busy machine may need minutes; only a process that hangs needs longer.
PATIENCE_SECONDS = 300.0
STOP_SECONDS = 60.0  # serve.py waits serving.deadline_seconds, 10, for requests in flight


WITHOUT_JOB = "schedule.daily=off"  # the daily job takes seconds of a processor, and begins at once if none has run


def clean_environment(**variables: str) -> dict[str, str]:
    """The caller's environment with these variables, and no other that the scripts read, nor the checkout's .env."""
    variables.setdefault("TRAFFIC_FORECASTER_HOME", str(SCRIPTS))
    others = {name: value for name, value in os.environ.items() if not name.startswith(OWN_VARIABLES)}
    return {**others, "PYTHONUNBUFFERED": "1", **variables}


def free_ports() -> list[str]:
    """Settings that let TorchServe take any ports that are free."""
    return ["serving.torchserve_ports=0"]


@dataclass
class Process:
    """A script that is running, and its log. As a context manager it is stopped at the end."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str) -> "re.Match[str]":
        """Raises CannotStart if the script ends, or hangs, before its log matches."""
        from forecasting.errors import CannotStart

        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            code, text = self.process.poll(), self.text
            if match := re.search(pattern, text):
                return match
            if code is not None or time.monotonic() > end:
                state = f"is silent after {PATIENCE_SECONDS:g} s" if code is None else f"ended with {code}"
                raise CannotStart(f"{self.log.name} {state}, without {pattern!r}:\n{text[-4000:]}")
            time.sleep(0.05)

    @cached_property
    def url(self) -> str:
        """Where it serves, once it does."""
        return self.wait_for(r"served on (http://\S+)")[1]

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    def children(self, name: str = "") -> list[psutil.Process]:
        """Descendants with `name` in their command line, without PostgreSQL: others may use it too."""
        descendants = family_of(psutil.Process(self.process.pid))[1:] if self.process.poll() is None else []
        return [process for process in descendants if name in command_of(process) and not is_postgres(process)]

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit status after this signal. Raises TimeoutExpired if it hangs."""
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """Ends it with SIGTERM, and kills whatever is left of it and its descendants, suspended ones included."""
        if self.process.poll() is not None:
            return
        family = [psutil.Process(self.process.pid), *self.children()]
        for process in family:
            with suppress(psutil.Error):
                process.resume()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        send_all(family, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass
class Place:
    """A folder, with a model store in it, and an environment, for scripts to run in."""

    folder: Path
    environment: dict[str, str]
    started: list[Process] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def run(self, script: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return self.run_command(sys.executable, SCRIPTS / script, *arguments, **variables)

    def run_command(self, *command: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            env={**self.environment, **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )

    def start(self, script: str, *arguments: str, **variables: str) -> Process:
        return self.start_command(sys.executable, SCRIPTS / script, *arguments, **variables)

    def start_command(self, *command: str | Path, **variables: str) -> Process:
        name = Path(command[1] if command[0] == sys.executable else command[0]).name
        log = self.folder / f"{name}.{time.monotonic_ns()}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                env={**self.environment, **variables},
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its own process group, as a shell gives it: Ctrl-C reaches all of it
            )
        self.started.append(Process(process, log))
        return self.started[-1]

    def serve(self, *settings: str, port: int = 0, **variables: str) -> Process:
        """scripts/serve.py on free ports, without the daily job unless a setting asks for it. Read its `url` to wait
        until it answers.
        """
        daily = [] if any(setting.startswith("schedule.") for setting in settings) else [WITHOUT_JOB]
        return self.start("serve.py", "--port", str(port), *free_ports(), *daily, *settings, **variables)

    def stop_all(self) -> None:
        for process in self.started:
            process.stop()


def command_of(process: psutil.Process) -> str:
    """Its command line; empty if it is dead or dying."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def is_postgres(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.name() == "postgres"
    return False


def family_of(process: psutil.Process) -> list[psutil.Process]:
    """The process and its descendants; empty if it is dead."""
    with suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def send_all(processes: Iterable[psutil.Process], what: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(what)


def memory_of(processes: Iterable[psutil.Process]) -> int:
    """Bytes; a page that several of them share counts once."""
    total = 0
    for process in processes:
        with suppress(psutil.Error, AttributeError):
            total += process.memory_full_info().pss
    return total


def cpu_of(processes: Iterable[psutil.Process]) -> float:
    """Seconds so far."""
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total
