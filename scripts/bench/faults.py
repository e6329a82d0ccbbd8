"""The faults of bench_faults.py: what strikes, and what has to be around serve.py before and undone after."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Any

import psutil
from harness import Process, send_all
from serving_stack import Stack, find_parts, find_postgres, find_torchserve, promote_copy

from forecasting.errors import CannotStart
from forecasting.warehouse.embedded import find_server

DISK_MIB = 64  # of the small disk that is filled
EACH_SECOND = ("serving.refresh_seconds=1",)  # so that serve.py looks at the source within a short run
READER = (
    "create role reader login",
    "grant select on daily_metrics to reader",
    "grant usage on schema forecasting to reader",
    "grant select, insert, update, delete on all tables in schema forecasting to reader",
)


@dataclass(frozen=True)
class Scene:
    """What a fault strikes, and for how long if it passes by itself."""

    stack: Stack
    server: Process
    seconds: float

    @property
    def java(self) -> list[psutil.Process]:
        return find_parts(self.stack, self.server)["TorchServe, Java"]

    @property
    def workers(self) -> list[psutil.Process]:
        return find_parts(self.stack, self.server)["TorchServe, workers"]

    @property
    def postgres(self) -> list[psutil.Process]:
        return find_postgres(self.stack.folder)


@contextmanager
def small_disk(stack: Stack) -> Iterator[dict[str, str]]:
    """A disk in memory for temporary files, to be filled without harm to anything else. Only root may mount one."""
    folder = stack.folder / "small"
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "bench", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield {"TMPDIR": str(folder)}
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def source_restored(stack: Stack) -> Iterator[dict[str, str]]:
    yield {}
    stack.execute("drop table if exists moved")
    stack.fill()


@contextmanager
def read_by_a_role(stack: Stack) -> Iterator[dict[str, str]]:
    """serve.py reaches PostgreSQL as a role with few rights, by this process's leave."""
    database = stack.config.database
    stack.execute(*READER)
    find_server(database.pgdata).join(database.name)
    try:
        yield reach(find_server(database.pgdata).socket_folder, database.name, DB_USER="reader")
    finally:
        stack.execute("drop owned by reader", "drop role reader")
        stack.leave_database()


@contextmanager
def behind_a_link(stack: Stack) -> Iterator[dict[str, str]]:
    """A second server with a copy of the database; serve.py reaches the first by a link, which a fail-over turns."""
    database = stack.config.database
    stack.leave_database()
    copy = stack.standby
    subprocess.run(["cp", "-a", str(database.pgdata), str(copy)], check=True)
    for folder in (database.pgdata, copy):
        find_server(folder).join(database.name)
    link = stack.folder / "link"
    turn(link, find_server(database.pgdata).socket_folder)
    try:
        yield reach(link, database.name)
    finally:
        find_server(copy).leave()
        find_server(database.pgdata).leave()
        subprocess.run(["rm", "-r", str(copy), str(link)], check=True)


def reach(host: Path, name: str, **variables: str) -> dict[str, str]:
    """The environment of a serve.py for which PostgreSQL is a server of the user's own."""
    return {"DB_HOST": str(host), "DB_NAME": name, "DB_PASSWORD": "", **variables}


def turn(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def fail_over(scene: Scene) -> None:
    """The first server is lost, and its name leads to the second one."""
    turn(scene.stack.folder / "link", find_server(scene.stack.standby).socket_folder)
    send_all(scene.postgres, SIGKILL)


def fill_disk(scene: Scene) -> None:
    """The disk with TorchServe's logs, its temporary files and everything else of its own."""
    with suppress(OSError), (find_torchserve(scene.server).run_dir / "filling").open("wb", buffering=0) as file:
        while file.write(bytes(2**16)):
            pass


def fill_postgres_disk(scene: Scene) -> None:
    """No file of PostgreSQL can grow any more: a limit stands for the full disk."""
    for process in scene.postgres:
        with suppress(psutil.Error):
            process.rlimit(psutil.RLIMIT_FSIZE, (0, psutil.RLIM_INFINITY))


def hang_for_a_while(scene: Scene) -> None:
    stopped = scene.postgres
    send_all(stopped, SIGSTOP)
    try:
        time.sleep(scene.seconds)
    finally:
        send_all(stopped, SIGCONT)


def promote(scene: Scene) -> None:
    check(promote_copy(scene.stack, scene.server), status="promoted")


def promote_on_full_disk(scene: Scene) -> None:
    fill_disk(scene)
    check(promote_copy(scene.stack, scene.server), status="failed")


def promote_half(scene: Scene) -> None:
    """A version without half of the series must be refused."""
    promotion = promote_copy(scene.stack, scene.server, num_series=len(scene.stack.card.series) // 2)
    if "cannot forecast" not in promotion.get("detail", ""):
        raise CannotStart(f"The version was not refused: {promotion}.")


def check(promotion: Mapping[str, Any], *, status: str) -> None:
    """Raises CannotStart unless the promotion ended so."""
    if promotion.get("status") != status:
        raise CannotStart(f"The promotion was not {status}: {promotion.get('reason') or promotion.get('detail')}")


def execute(statement: str) -> Callable[[Scene], None]:
    return lambda scene: scene.stack.execute(statement)


@dataclass(frozen=True)
class Fault:
    """`around` gives the variables of serve.py, and undoes the fault when serving has ended."""

    strike: Callable[[Scene], None]
    around: Callable[[Stack], AbstractContextManager[Mapping[str, str]]] = lambda stack: nullcontext({})
    settings: tuple[str, ...] = ()


FAULTS = {
    "nothing": Fault(lambda scene: None),
    "version promoted": Fault(promote),
    "promotion on a full disk": Fault(promote_on_full_disk, small_disk),
    "promotion lacks series": Fault(promote_half),
    "worker killed": Fault(lambda scene: send_all(scene.workers[:1], SIGKILL)),
    "all workers killed": Fault(lambda scene: send_all(scene.workers, SIGKILL)),
    "Java killed": Fault(lambda scene: send_all(scene.java, SIGKILL)),
    "PostgreSQL killed": Fault(lambda scene: send_all(scene.postgres, SIGKILL)),
    "log disk full": Fault(fill_disk, small_disk),
    "PostgreSQL's disk full": Fault(fill_postgres_disk, settings=EACH_SECOND),
    "source renamed": Fault(execute("alter table daily_metrics rename to moved"), source_restored, EACH_SECOND),
    "source emptied": Fault(execute("truncate daily_metrics"), source_restored, EACH_SECOND),
    "source forbidden": Fault(execute("revoke select on daily_metrics from reader"), read_by_a_role, EACH_SECOND),
    "fail-over": Fault(fail_over, behind_a_link),
    "worker hangs": Fault(lambda scene: send_all(scene.workers[:1], SIGSTOP)),
    "Java hangs": Fault(lambda scene: send_all(scene.java, SIGSTOP)),
    "PostgreSQL hangs": Fault(hang_for_a_while),
}
