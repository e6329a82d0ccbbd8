"""What importing the warehouse's modules brings with it, seen in a fresh interpreter.

That the pure modules need no driver, and no server, is held by import-linter (pyproject.toml).
"""

import subprocess
import sys

import pytest

EMBEDDED = "forecasting.warehouse.embedded"  # registers hooks that run at exit and at a fork
WATCHED = ("asyncpg", "psutil", EMBEDDED)


def imported(name: str) -> str:
    """Which of the watched modules are there after an import."""
    command = f"import sys, forecasting.warehouse.{name}; print(*(set({WATCHED}) & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", ["connection", "daily", "panel_loader", "sources.umami"])
def test_the_embedded_server_is_loaded_only_when_it_is_used(name: str) -> None:
    assert imported(name) == "asyncpg"


def test_what_uses_it_loads_it() -> None:
    assert EMBEDDED in imported("embedded")
