"""The unit in configs/systemd, held against the program that it starts and, where there is one, by systemd itself."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forecasting.commands import serve
from forecasting.serving.server import DRAIN_SECONDS
from forecasting.serving.torchserve.run_folder import MAX_SOCKET_PATH
from tests import PROJECT

UNIT = PROJECT / "configs" / "systemd" / "website-traffic-forecasting.service"
HOME = "/opt/website-traffic-forecasting"
CLOSE_SECONDS = 30  # what scripts/serve.py is given to end in by tests/stack, TorchServe and all


def settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_it_starts_a_script_that_is_there_with_flags_that_it_has() -> None:
    [command] = settings("ExecStart")
    python, script, *arguments = command.split()
    assert python == f"{HOME}/.venv/bin/python"
    assert settings("WorkingDirectory") == [HOME]
    assert (PROJECT / script).is_file()
    assert {one for one in arguments if one.startswith("--")} <= serve.COMMAND.flags


def test_variables_that_it_sets_are_real_ones() -> None:
    known = set(re.findall(r"^# ?([A-Z_]+)=", (PROJECT / "env.example").read_text(), re.MULTILINE))
    said = dict(one.split("=", 1) for one in settings("Environment"))
    [state], [runtime] = settings("StateDirectory"), settings("RuntimeDirectory")
    assert said.pop("TMPDIR") == f"/run/{runtime}"  # which is every program's
    assert said
    assert set(said) <= known
    for folder in said.values():
        assert folder.startswith(f"/var/lib/{state}/")
        assert len(folder) < MAX_SOCKET_PATH


def test_it_waits_for_what_is_in_flight_and_for_torchserve() -> None:
    assert float(*settings("TimeoutStopSec")) > DRAIN_SECONDS + CLOSE_SECONDS
    assert settings("KillMode") == ["mixed"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_it_and_finds_little_exposed(tmp_path: Path) -> None:
    """With this checkout and this Python in place of those of the unit, which need not be here."""
    unit = tmp_path / UNIT.name
    text = UNIT.read_text().replace(f"{HOME}/.venv/bin/python", sys.executable).replace(HOME, str(PROJECT))
    unit.write_text(text)
    verified = run("systemd-analyze", "--man=no", "verify", str(unit))
    assert [line for line in verified.splitlines() if UNIT.name in line] == []
    exposed = run("systemd-analyze", "security", "--offline=yes", str(unit))
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", exposed)
    assert float(level) < 2.5  # of 10; 9.6 is a unit that says nothing


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return result.stdout + result.stderr
