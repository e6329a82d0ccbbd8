"""schemathesis makes requests from the description, good and bad ones, and holds every answer against it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench.harness import PATIENCE_SECONDS, Process
from tests.waiting import becomes, get

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SETTINGS = Path(__file__).with_name("fuzzing.toml")


def test_no_request_is_answered_other_than_described(
    served: Process, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All checks: no failure of ours, described status, type, headers and fields; what is malformed is refused, what is
    not is answered.
    """
    result = subprocess.run(
        [SCHEMATHESIS, "--no-color", "--config-file", SETTINGS, "run", f"{served.url}/openapi.json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    with capsys.disabled():
        print("\nschemathesis:", *re.findall(r"^  (\d+ generated.*)$", result.stdout, re.MULTILINE))
    assert result.returncode == 0, result.stdout
    [cases] = re.findall(r"^  (\d+) generated, \1 passed$", result.stdout, re.MULTILINE)
    assert int(cases) > 1000
    assert becomes(lambda: get(f"{served.url}/ready").json() == {"ready": True})
