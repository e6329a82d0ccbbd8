"""Disks that fill up, and memory that runs out, while serving."""

import logging
import tempfile
import time
from pathlib import Path

from forecasting.runtime.disk import LOW_BYTES, find_disk_problem
from forecasting.runtime.memory import KillCounter, describe_shortage
from forecasting.serving.torchserve.configuration import num_workers
from forecasting.serving.torchserve.logs import WorkerStarts
from forecasting.serving.torchserve.process import TorchServe
from forecasting.settings.schema import Config

logger = logging.getLogger("forecasting.serving")

REPORT_SECONDS = 600.0  # how long /health tells that memory ran out


class ResourceWatch:
    """`check` is called every second."""

    def __init__(self, config: Config) -> None:
        self._folders = [(Path(tempfile.gettempdir()), "TorchServe's logs and temporary files", "set TMPDIR")]
        if config.kept_in.embedded:
            self._folders.append((config.kept_in.pgdata, "the embedded PostgreSQL", "set TRAFFIC_PGDATA"))
        self._kills = KillCounter()
        self._num_workers = num_workers(config.serving)
        self._torchserve: TorchServe | None = None
        self._memory_problem: str | None = None
        self._memory_until = 0.0  # by the monotonic clock
        self.disk_problem: str | None = None

    @property
    def memory_problem(self) -> str | None:
        return self._memory_problem if time.monotonic() < self._memory_until else None

    def check(self, torchserve: TorchServe) -> None:
        """Logs what changed."""
        self._check_disks()
        self._check_memory()
        self._check_workers(torchserve)

    def _check_disks(self) -> None:
        problems = [
            find_disk_problem(folder, needs_bytes=LOW_BYTES, purpose=purpose, advice=advice)
            for folder, purpose, advice in self._folders
        ]
        problem = " ".join(filter(None, problems)) or None
        if problem is not None and self.disk_problem is None:
            logger.warning("%s", problem)
        elif problem is None and self.disk_problem is not None:
            logger.info("there is room on the disk again")
        self.disk_problem = problem

    def _check_memory(self) -> None:
        num_killed = self._kills.take_new()
        if num_killed:
            at = time.strftime("%H:%M:%S UTC", time.gmtime())
            self._memory_problem = (
                f"At {at} the kernel ended a process, because {describe_shortage()}. What was ended starts again. Give "
                "this server more memory, or fewer workers (serving.workers)."
            )
            self._memory_until = time.monotonic() + REPORT_SECONDS
            logger.warning("%s", self._memory_problem)

    def _check_workers(self, torchserve: TorchServe) -> None:
        if torchserve is not self._torchserve:
            self._torchserve, self._starts = torchserve, WorkerStarts(torchserve.log_dir)
            self._num_to_start = self._num_workers
        self._num_to_start -= self._starts.take_new()
        if self._num_to_start < 0:
            logger.warning("%d of TorchServe's workers ended, and new ones have started", -self._num_to_start)
            self._num_to_start = 0
