"""How scripts end: codes, words, and tracebacks for those who ask."""

import errno
import logging
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from rich.table import Table

from forecasting.runtime.log import MAX_WARNINGS, Repeats
from forecasting.runtime.process import LESS_MEMORY, explain_shortage
from forecasting.runtime.terminal import render
from tests import PROJECT

PROGRAM = """
import sys
from forecasting.runtime.log import LOGGER, start_log
from forecasting.runtime.process import run
from forecasting.errors import SettingError, TooFewDays
def main():
    start_log(None, debug={debug})
    LOGGER.info("said")
    {body}
run(main)
"""


def end(body: str, *, debug: bool = False) -> "subprocess.CompletedProcess[str]":
    program = PROGRAM.format(body=body, debug=debug)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("pass", 0, ""),
        ("return 3", 3, ""),
        ("raise TooFewDays('29 days')", 1, "error: 29 days\n"),
        ("raise SettingError('no such key')", 2, "error: no such key\n"),
        (
            "raise OSError(27, 'File too large', '/x/model.pt2')",
            1,
            "error: There is no room for /x/model.pt2 (File too large). Make room, or set MODEL_DIR or TMPDIR to "
            "another place.\n",
        ),
        (
            "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/dev/null/tmp']; tempfile.mkdtemp()",
            1,
            "error: No usable temporary directory found in ['/dev/null/tmp']: they cannot be written, or their disks "
            "are full. Make room, or set TMPDIR.\n",
        ),
        ("bytes(10**18)", 1, f"error: Memory ran out. {LESS_MEMORY}\n"),
        ("raise KeyboardInterrupt", 130, "stopped\n"),
        *(
            (f"import os, signal; os.kill(os.getpid(), signal.{name}); import time; time.sleep(5)", code, "ended\n")
            for name, code in (("SIGTERM", 143), ("SIGHUP", 129), ("SIGQUIT", 131))
        ),
        (
            "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
            "files = [open('/dev/null') for _ in range(64)]",
            1,
            "error: This process has too many open files: its limit is 64 (ulimit -n). Raise the limit: ulimit -n in a "
            "shell, LimitNOFILE= in a systemd unit, --ulimit nofile= of a container.\n",
        ),
    ],
)
def test_codes_and_words(body: str, code: int, stderr: str) -> None:
    result = end(body)
    assert (result.returncode, result.stdout, result.stderr) == (code, "said\n", stderr)


def test_torch_without_memory_is_told_like_python_without_memory() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**16)
    reason = explain_shortage(error.value)
    assert reason is not None
    assert re.fullmatch(rf"Memory ran out \(.*can't allocate memory: .*\)\. {re.escape(LESS_MEMORY)}", reason)
    assert explain_shortage(RuntimeError("another one")) is None
    assert explain_shortage(OSError(errno.ENOENT, "No such file or directory")) is None


def test_after_nohup_the_end_of_the_terminal_ends_nothing() -> None:
    program = PROGRAM.format(
        debug=False, body="import os, signal; os.kill(os.getpid(), signal.SIGHUP); LOGGER.info('goes on')"
    )
    result = subprocess.run(["nohup", sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "said\ngoes on\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT"])
def test_ended_work_of_an_event_loop_can_clean_up(name: str) -> None:
    body = (
        "import asyncio, os, signal; from forecasting.runtime.process import run_async\n"
        "    async def work():\n"
        "        try:\n"
        f"            os.kill(os.getpid(), signal.{name}); await asyncio.sleep(60)\n"
        "        finally:\n"
        "            await asyncio.sleep(0); LOGGER.info('cleaned up')\n"
        "    run_async(work())"
    )
    result = end(body)
    code = 128 + getattr(signal, name)
    assert (result.returncode, result.stdout, result.stderr) == (code, "said\ncleaned up\n", "ended\n")


def test_traceback_only_in_the_log_of_those_who_debug() -> None:
    assert "Traceback" not in end("raise TooFewDays('29 days')").stderr
    result = end("raise TooFewDays('29 days')", debug=True)
    assert "Traceback" in result.stdout
    assert result.stderr == "error: 29 days\n"


def test_a_mistake_of_ours_is_not_hidden(tmp_path: Path) -> None:
    body = f"from pathlib import Path; start_log(Path({str(tmp_path / 'training.log')!r}), debug=False); 1 / 0"
    result = end(body)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert "ZeroDivisionError" in (tmp_path / "training.log").read_text()


def test_a_reader_that_leaves_ends_the_program_quietly() -> None:
    program = PROGRAM.format(body="[LOGGER.info('line %d', number) for number in range(100_000)]", debug=False)
    pipe = f"{sys.executable} -c {shlex.quote(program)} | head -1"
    result = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("said\n", "")


def test_names_in_a_table_stay_as_they_are() -> None:
    table = Table("site")
    table.add_row("ga:Email:desktop [red]")
    assert "ga:Email:desktop [red]" in render(table)


LOSSY = PROGRAM.replace("debug={debug}", "debug=False, lossy=True")
LINES = "[LOGGER.info('line %d', number) for number in range(10_000)]; print('went on', file=sys.stderr)"


def test_what_serves_goes_on_without_a_reader_of_its_log() -> None:
    pipe = f"{sys.executable} -c {shlex.quote(LOSSY.format(body=LINES))} | head -1"
    result = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=True)
    first, second = result.stderr.splitlines()[:2]
    assert (result.stdout, first, second) == (
        "said\n", "the log cannot be written (Broken pipe): 1 lines lost", "went on",
    )  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_what_serves_goes_on_though_its_logs_disk_is_full() -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-c", LOSSY.format(body=LINES)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    first, second = result.stderr.splitlines()[:2]
    assert (first, second) == ("the log cannot be written (No space left on device): 1 lines lost", "went on")


def write_warning(text: str, *, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord("forecasting", level, "", 0, "%s", (text,), None)


def test_a_warning_that_repeats_is_written_once_and_counted() -> None:
    repeats = Repeats()

    def write(text: str, now: float, level: int = logging.WARNING) -> list[str]:
        return [record.getMessage() for record in repeats.choose(write_warning(text, level=level), now)]

    assert write("PostgreSQL does not answer", 100.0) == ["PostgreSQL does not answer"]
    assert [write("PostgreSQL does not answer", 100.0 + second) for second in range(10)] == [[]] * 10
    assert write("the disk is full", 109.0) == ["the disk is full"]
    assert write("a request", 109.5, logging.INFO) == ["a request"]
    counted = "10 times more within 10 s: PostgreSQL does not answer"
    assert write("a request", 110.0, logging.INFO) == [counted, "a request"]
    assert write("PostgreSQL does not answer", 111.0) == ["PostgreSQL does not answer"]
    assert write("a request", 200.0, logging.INFO) == ["a request"]  # nothing was left out since


def test_the_count_of_a_warning_comes_before_it_is_written_again() -> None:
    repeats = Repeats()
    for now in (0.0, 1.0):
        repeats.choose(write_warning("full"), now)
    written = repeats.choose(write_warning("full"), 10.0)
    assert [record.getMessage() for record in written] == ["once more within 10 s: full", "full"]


def test_of_many_different_warnings_none_is_left_out() -> None:
    repeats = Repeats()
    texts = [f"series {number} fails" for number in range(MAX_WARNINGS + 20)]
    for text in texts:
        assert len(repeats.choose(write_warning(text), 0.0)) == 1
    assert [len(repeats.choose(write_warning(text), 1.0)) for text in texts] == [0] * MAX_WARNINGS + [1] * 20


def test_what_serves_writes_the_warnings_of_an_outage_once() -> None:
    body = "[LOGGER.warning('PostgreSQL does not answer') for _ in range(50)]; LOGGER.info('the end')"
    result = subprocess.run([sys.executable, "-c", LOSSY.format(body=body)], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["said", "PostgreSQL does not answer", "the end"]


IN_A_TERMINAL = """
from forecasting.runtime.log import LOGGER, start_log
from forecasting.runtime.terminal import progress
start_log(None, debug=False)
with progress("reading", 2) as advance:
    LOGGER.info("a line of the log")
    advance(2)
LOGGER.info("the next line")
"""


def test_lines_of_the_log_are_not_glued_to_a_progress_bar() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", IN_A_TERMINAL], stdout=theirs, stderr=theirs, cwd=PROJECT)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the terminal ends with the process
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    assert process.wait() == 0
    for line in (b"a line of the log", b"the next line"):
        assert b"\x1b[2K" + line + b"\r\n" in shown, shown  # which clears the line before it


FULL = """
import asyncio, resource, sys
from pathlib import Path
from forecasting.errors import ForecastingError
from forecasting.serving.torchserve.client import TorchServeClient
from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import connect
async def ask():
    client = TorchServeClient("http://127.0.0.1:1", "v1", Path(sys.argv[1]), 10.0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    await client.find_problem()  # reads its key
    files = []
    while len(files) < 64:
        try:
            files.append(open(sys.argv[1]))
        except OSError:
            break
    errors = [await client.find_problem()]
    try:
        await connect(DatabaseConfig(embedded=False, host="127.0.0.1", port=1))
    except ForecastingError as error:
        errors.append(str(error))
    files.clear()
    await client.close()
    print(*errors, sep=chr(10))
asyncio.run(ask())
"""


def test_part_that_cannot_be_asked_for_want_of_files_is_not_called_down(tmp_path: Path) -> None:
    key = tmp_path / "key_file.json"
    key.write_text('{"inference": {"key": "k"}}')
    result = subprocess.run([sys.executable, "-c", FULL, key], capture_output=True, text=True, check=False)
    limit = "This process has too many open files: its limit is 64 (ulimit -n). Raise the limit: "
    torchserve, database = result.stdout.splitlines()
    assert torchserve.startswith(f"TorchServe cannot be asked: {limit}"), result.stderr
    assert database.startswith("Cannot connect to PostgreSQL at host 127.0.0.1, port 1, ")
    assert f": {limit}" in database
