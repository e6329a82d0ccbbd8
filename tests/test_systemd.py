"""The unit in configs/systemd fits the program that it starts. If systemd is installed, it verifies the unit."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forecasting.commands import serve
from forecasting.serving.torchserve.run_folder import MAX_SOCKET_PATH
from forecasting.settings.schema import ServingConfig
from scripts.bench.harness import PATIENCE_SECONDS
from tests import PROJECT

UNIT = PROJECT / "configs" / "systemd" / "website-traffic-forecasting.service"
HOME = "/opt/website-traffic-forecasting"
CLOSE_SECONDS = 30  # after the last request: tests/stack give scripts/serve.py as long to end with TorchServe


def settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_it_starts_an_existing_script_with_flags_that_it_knows() -> None:
    [command] = settings("ExecStart")
    python, script, *arguments = command.split()
    assert python == f"{HOME}/.venv/bin/python"
    assert settings("WorkingDirectory") == [HOME]
    assert (PROJECT / script).is_file()
    assert {argument for argument in arguments if argument.startswith("--")} <= serve.COMMAND.flags


def test_variables_that_it_sets_exist() -> None:
    known = set(re.findall(r"^# ?([A-Z_]+)=", (PROJECT / "env.example").read_text(), re.MULTILINE))
    variables = dict(assignment.split("=", 1) for assignment in settings("Environment"))
    [state], [runtime] = settings("StateDirectory"), settings("RuntimeDirectory")
    assert variables.pop("TMPDIR") == f"/run/{runtime}"  # a variable of every program
    assert variables
    assert set(variables) <= known
    for folder in variables.values():
        assert folder.startswith(f"/var/lib/{state}/")
        assert len(folder) < MAX_SOCKET_PATH


def test_it_waits_for_requests_in_flight_and_for_torchserve() -> None:
    assert float(*settings("TimeoutStopSec")) > ServingConfig().deadline_seconds + CLOSE_SECONDS
    assert settings("KillMode") == ["mixed"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_it_and_finds_little_exposed(tmp_path: Path) -> None:
    """With the paths of this checkout and this Python."""
    unit = tmp_path / UNIT.name
    text = UNIT.read_text().replace(f"{HOME}/.venv/bin/python", sys.executable).replace(HOME, str(PROJECT))
    unit.write_text(text)
    verified = run("systemd-analyze", "--man=no", "verify", str(unit))
    assert [line for line in verified.splitlines() if UNIT.name in line] == []
    exposed = run("systemd-analyze", "security", "--offline=yes", str(unit))
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", exposed)
    assert float(level) < 2.5  # of 10; an empty unit has 9.6


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    return result.stdout + result.stderr
