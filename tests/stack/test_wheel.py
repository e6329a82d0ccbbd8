"""The wheel, installed away from the checkout: it is complete, and its command trains, forecasts and serves."""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from forecasting import __version__
from forecasting.settings.schema import DatabaseConfig
from scripts.bench.harness import WITHOUT_JOB, Place, clean_environment, free_ports
from tests import PROJECT
from tests.waiting import get

from .conftest import PATIENT

PACKED = ("forecasting", "configs", "handlers", "model_store/base", "pyproject.toml", "README.md", "LICENSE")
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing of an earlier build gets into it."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKED:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, source / name, ignore=IGNORED)
        else:
            shutil.copy(PROJECT / name, source / name)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", source / "dist"]
    pip(sys.executable, "wheel", *options, source)
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a virtual environment with the wheel; other packages are the tests' own."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site_packages = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    Path(site_packages, "packages_of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip(python, "install", "--no-deps", "--no-index", wheel)
    return folder / "bin"


def pip(python: Path | str, command: str, *arguments: Path | str) -> None:
    options = [sys.executable, "-m", "pip", "--python", python, "--quiet", command, *arguments]
    subprocess.run(options, check=True, timeout=600)


# To copy from the repository.
FOR_ADMINISTRATORS = ("configs/systemd", "configs/kubernetes")


def files_below(folder: Path, *, of: Path) -> set[str]:
    """But for notes to readers of the repository, and their pictures."""
    files = [file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert files
    return {file.relative_to(of).as_posix() for file in files if file.suffix not in (".md", ".png")}


def test_wheel_carries_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith(".md")}
    package = files_below(PROJECT / "forecasting", of=PROJECT)
    carried = {
        f"forecasting/_bundled/{name}"
        for folder in ("configs", "handlers", "model_store/base")
        for name in files_below(PROJECT / folder, of=PROJECT)
        if not name.startswith(FOR_ADMINISTRATORS)
    }
    assert packed == package | carried


FROM_ARCHIVE = """
import pandas as pd
from forecasting import TrafficForecaster, __file__
assert ".whl/" in __file__, __file__
df = pd.DataFrame({"ds": pd.date_range("2024-01-01", periods=60), "y": 7.0})
print(len(TrafficForecaster().forecast(df, h=3, country="DE")))
"""


def test_the_package_runs_from_an_archive(wheel: Path, tmp_path: Path) -> None:
    """As on the executors of Spark that get it by --py-files: its data is in the archive, too."""
    environment = clean_environment(PYTHONPATH=str(wheel), TRAFFIC_FORECASTER_HOME=str(tmp_path))
    command = [sys.executable, "-c", FROM_ARCHIVE]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("3\n", "")


FIVE_LINES = """
import pandas as pd
from forecasting import TrafficForecaster
df = pd.read_csv("traffic.csv", parse_dates=["ds"])
model = TrafficForecaster()
forecasts = model.forecast(df, h=14, level=[80, 90])
past = model.cross_validation(df, h=7, n_windows=2, step_size=7)
model.plot(df, forecasts).savefig("forecasts.png")
import forecasting, sys
print(forecasting.__file__, len(forecasts), len(past), "asyncpg" in sys.modules)
"""


def test_installed_package_forecasts_a_data_frame_and_a_file(installed: Path, tmp_path: Path) -> None:
    days = [f"2024-{month:02}-{day:02}" for month in range(1, 4) for day in range(1, 29)]
    rows = [f"{site},{day},{200 + number % 7}" for site in ("blog", "shop") for number, day in enumerate(days)]
    (tmp_path / "traffic.csv").write_text("\n".join(["unique_id,ds,y", *rows]) + "\n")
    place = Place(tmp_path, clean_environment())
    for name in ("PYTHONPATH", "TRAFFIC_FORECASTER_HOME"):
        place.environment.pop(name, None)
    result = place.run_command(installed / "python", "-c", FIVE_LINES)
    assert result.returncode == 0, result.stderr
    package, *printed = result.stdout.split()
    assert Path(package).is_relative_to(installed.parent)
    assert printed == ["28", "28", "False"]
    assert (tmp_path / "forecasts.png").stat().st_size > 10_000
    result = place.run_command(installed / "traffic-forecast", "forecast", "--csv", "traffic.csv", "--days-ahead", "2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == (
        "site,metric,date,forecast,forecast-lo-80,forecast-hi-80,forecast-lo-90,forecast-hi-90"
    )
    assert len(result.stdout.splitlines()) == 1 + 2 * 2
    assert result.stderr.splitlines()[-1] == "base forecasts 2 of 2 series"


@pytest.mark.usefixtures("java_classes")
def test_installed_command_trains_forecasts_and_serves(
    installed: Path, embedded: DatabaseConfig, tmp_path: Path
) -> None:
    """In an empty folder, with the base weights, the handler and the settings that the wheel carries."""
    place = Place(tmp_path, clean_environment(TRAFFIC_PGDATA=str(embedded.pgdata)))
    for name in ("PYTHONPATH", "TRAFFIC_FORECASTER_HOME"):
        place.environment.pop(name, None)
    command = installed / "traffic-forecast"

    def run(*arguments: str) -> str:
        result = place.run_command(command, *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    assert run("--version") == f"traffic-forecast {__version__}\n"
    printed = run("train", "--model-version", "v2", "--epochs", "1", "training.accelerator=cpu")
    assert "next: traffic-forecast serve --model-version v2\n" in printed
    card = json.loads((tmp_path / "model_store" / "v2" / "model.json").read_text())
    assert card["training"]["init"] == "base"
    printed = run("forecast", "--model", "v2", "--metric", "page_visits,unique_visitors")
    assert "2 series" in printed
    with place.start_command(command, "serve", "--port", "0", *free_ports(), WITHOUT_JOB, *PATIENT) as server:
        answer = get(f"{server.url}/predict/page-visits?days_ahead=30").json()
        code = server.end()
    assert (answer["model_version"], len(answer["predictions"]), code) == ("v2", 30, 0)
    (tmp_path / ".env").write_text("DB_PORT=none\n")
    assert place.run_command(command, "sources").stderr == (
        f"{tmp_path}/.env is not read: only the one in the folder that TRAFFIC_FORECASTER_HOME names is. To read it: "
        f"--env-file .env, or TRAFFIC_FORECASTER_HOME={tmp_path}\n"
    )
    assert place.run_command(command, "sources", TRAFFIC_FORECASTER_HOME=".").stderr == (
        f"settings are read from {tmp_path}/.env\nerror: DB_PORT is 'none'; a port is a number from 1 to 65535.\n"
    )
