"""What the kernel tells of memory that ran out: from files as it writes them, and a process that is really killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from forecasting.runtime.memory import KillCounter, count_kills, describe_end, describe_shortage, find_limit

VERSION_2 = {
    "proc/self/cgroup": "0::/system.slice/traffic.service\n",
    "sys/fs/cgroup/system.slice/traffic.service/memory.events": "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\n",
    "sys/fs/cgroup/system.slice/traffic.service/memory.max": "536870912\n",
    "proc/vmstat": "nr_free_pages 5\noom_kill 11\n",
}
IN_A_CONTAINER = {
    "proc/self/cgroup": "0::/../../docker/0a1b\n",
    "sys/fs/cgroup/memory.events": "oom 4\noom_kill 4\noom_group_kill 0\n",
    "sys/fs/cgroup/memory.max": "max\n",
}
VERSION_1 = {
    "proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/app\n0::/\n",
    "sys/fs/cgroup/memory/app/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
    "sys/fs/cgroup/memory/app/memory.limit_in_bytes": "9223372036854771712\n",
}
MACHINE = {"proc/self/cgroup": "0::/\n", "proc/vmstat": "nr_free_pages 5\noom_kill 6\n"}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "kills", "limit", "shortage"),
    [
        (VERSION_2, 3, 536870912, "memory ran out (the limit is 536.9 MB)"),
        (IN_A_CONTAINER, 4, None, "memory ran out"),
        (VERSION_1, 5, None, "memory ran out"),
        (MACHINE, 6, None, "memory ran out"),
        ({}, None, None, "memory ran out"),
        ({"proc/vmstat": "torn"}, None, None, "memory ran out"),
    ],
)
def test_kernels_files(
    tmp_path: Path, files: dict[str, str], kills: int | None, limit: int | None, shortage: str
) -> None:
    root = write(tmp_path, files)
    assert (count_kills(root), find_limit(root), describe_shortage(root)) == (kills, limit, shortage)


def test_only_new_kills_count_and_each_once(tmp_path: Path) -> None:
    counter = KillCounter(write(tmp_path, MACHINE))
    assert counter.take_new() == 0
    write(tmp_path, {"proc/vmstat": "oom_kill 8\n"})
    assert [counter.take_new(), counter.take_new()] == [2, 0]
    (tmp_path / "proc/vmstat").unlink()
    assert counter.take_new() is None


@pytest.mark.parametrize(
    ("code", "num_kills", "text"),
    [
        (1, 0, "exited with code 1"),
        (0, None, "exited with code 0"),
        (255, 5, "exited with code 255"),
        (-signal.SIGSEGV, None, "was ended by SIGSEGV"),
        (-signal.SIGTERM, 1, "was ended by SIGTERM"),
        (-signal.SIGKILL, None, "was killed (SIGKILL), as the kernel does when memory runs out"),
        (-signal.SIGKILL, 0, "was killed (SIGKILL)"),
        (128 + signal.SIGKILL, None, "was killed (SIGKILL), as the kernel does when memory runs out"),
    ],
)
def test_end_in_words(code: int, num_kills: int | None, text: str) -> None:
    assert describe_end(code, num_kills) == text


def test_end_by_the_kernel() -> None:
    assert describe_end(-9, 1) == f"was ended by the kernel, because {describe_shortage()}"


def test_process_that_is_really_killed() -> None:
    kills = KillCounter()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        os.kill(process.pid, signal.SIGKILL)
    assert describe_end(process.returncode, kills.take_new()).startswith("was killed (SIGKILL)")
