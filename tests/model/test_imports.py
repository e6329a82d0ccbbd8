"""Importing the model loads torch and none of our file, environment or command-line reading."""

import subprocess
import sys

LOADED = "import sys, forecasting.model.forecaster; print(*sorted(sys.modules))"
NEEDLESS = {
    "omegaconf", "dotenv", "lightning", "asyncpg", "fastapi", "aiohttp", "matplotlib",
    "forecasting.settings.loading", "forecasting.settings.command_line", "forecasting.settings.environment",
    "forecasting.runtime",
}  # fmt: skip


def test_model_imports_torch_and_no_settings_loader() -> None:
    result = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    modules = set(result.stdout.split())
    assert {"torch", "forecasting.model.forecaster", "forecasting.settings.schema"} <= modules
    assert modules & NEEDLESS == set()
