"""What runs the daily job without a server: systemd's units, which systemd verifies, and a CronJob of Kubernetes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from forecasting.commands.entry_point import COMMANDS
from forecasting.settings.schema import ScheduleConfig
from scripts.bench.harness import PATIENCE_SECONDS
from tests import PROJECT

UNITS = PROJECT / "configs" / "systemd"
NAME = "website-traffic-forecasting-daily"
HOME = "/opt/website-traffic-forecasting"
SAME_AS_SERVING = ("User", "WorkingDirectory", "StateDirectory", "EnvironmentFile", "UMask", "SystemCallFilter")


def settings(file: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", (UNITS / file).read_text(), re.MULTILINE)


def test_the_unit_starts_the_job_as_serving_is_started() -> None:
    [command] = settings(f"{NAME}.service", "ExecStart")
    assert command == f"{HOME}/.venv/bin/python scripts/daily.py"
    assert (PROJECT / "scripts" / "daily.py").is_file()
    for name in SAME_AS_SERVING:
        ours = settings(f"{NAME}.service", name)
        assert ours == settings("website-traffic-forecasting.service", name) != []
    serving = settings("website-traffic-forecasting.service", "Environment")
    assert set(settings(f"{NAME}.service", "Environment")) < set(serving)


def test_the_timer_is_at_the_time_of_the_setting_and_catches_up() -> None:
    assert settings(f"{NAME}.timer", "OnCalendar") == [f"*-*-* {ScheduleConfig().daily}"]
    assert settings(f"{NAME}.timer", "Persistent") == ["true"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_both(tmp_path: Path) -> None:
    """With the paths of this checkout and this Python."""
    for kind in ("service", "timer"):
        text = (UNITS / f"{NAME}.{kind}").read_text()
        text = text.replace(f"{HOME}/.venv/bin/python", sys.executable).replace(HOME, str(PROJECT))
        (tmp_path / f"{NAME}.{kind}").write_text(text)
    verified = run(
        "systemd-analyze", "--man=no", "verify", *(str(tmp_path / f"{NAME}.{end}") for end in ("service", "timer"))
    )
    assert [line for line in verified.splitlines() if NAME in line] == []
    exposed = run("systemd-analyze", "security", "--offline=yes", str(tmp_path / f"{NAME}.service"))
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", exposed)
    assert float(level) < 2.5  # of 10; an empty unit has 9.6
    [calendar] = settings(f"{NAME}.timer", "OnCalendar")
    assert "Normalized form: *-*-* 06:15:00" in run("systemd-analyze", "calendar", calendar)


def test_the_cron_job_of_kubernetes() -> None:
    job = yaml.safe_load((PROJECT / "configs" / "kubernetes" / "daily-job.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    hour, minute = ScheduleConfig().daily.split(":")
    assert job["spec"]["schedule"] == f"{int(minute)} {int(hour)} * * *"
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    [container] = pod["containers"]
    program, command = container["command"]
    assert program == "traffic-forecast"
    assert command in COMMANDS
    known = set(re.findall(r"^# ?([A-Z_]+)=", (PROJECT / "env.example").read_text(), re.MULTILINE))
    assert {variable["name"] for variable in container["env"]} <= known
    [mount], [volume] = container["volumeMounts"], pod["volumes"]
    assert mount["name"] == volume["name"]
    assert container["env"][0]["value"] == mount["mountPath"]


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    return result.stdout + result.stderr
