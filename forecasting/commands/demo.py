"""Trains on the sample site, serves the version, calls the documented routes, prints their answers, and stops."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from forecasting.errors import CannotStart
from forecasting.invocation import find_command, show_command
from forecasting.serving.torchserve.ports import find_free_port
from forecasting.settings.command_line import CommandLine
from forecasting.settings.schema import DEFAULT_VERSION

FOLDER = "demo"  # in MODEL_DIR: a store of its own, so that no other command takes its version for the newest
HIDDEN_VARIABLES = (
    "DB_HOST",
    "DB_PORT",
    "DB_NAME",
    "DB_USER",
    "SOURCE_URL",
    "CACHE_URL",
    "API_KEYS",
    "ALERT_URLS",
    "ALERT_WEBHOOK",
    "ALERT_WEBHOOK_SECRET",
)
WAIT_SECONDS = 180
BAR_WIDTH = 60  # characters
Json = dict[str, Any]  # Any: JSON's own types
COMMAND = CommandLine(
    "demo",
    about=__doc__,
    examples=(
        ("", "from the sample site to a forecast, in under a minute"),
        ("model_dir=/tmp/store", "the version goes to /tmp/store/demo"),
        ("serving.workers=1", "with one of TorchServe's workers"),
    ),
    version_from=(),
)


def main(argv: Sequence[str] | None = None) -> int:
    config, _ = COMMAND.parse(argv)
    store = config.model_dir / FOLDER
    settings = ["data.source=siteanalytics", *(argv or []), f"model_dir={store}"]
    # An empty variable also hides the one in .env: the sample site is in the embedded PostgreSQL.
    environment = {**os.environ, **dict.fromkeys(HIDDEN_VARIABLES, "")}
    print("== training, with the documented command's defaults", flush=True)
    training_settings = ["--model-version", DEFAULT_VERSION, *settings]
    with subprocess.Popen([*find_command("train"), *training_settings], env=environment) as training:
        if code := wait_or_stop(training):
            return code
    print("\n== serving", flush=True)
    port = find_free_port()
    own = ["serving.torchserve_ports=0", "schedule.daily=off"]
    options = ["--model-version", DEFAULT_VERSION, "--port", str(port), *own, *settings]
    with subprocess.Popen([*find_command("serve"), *options], env=environment) as server:
        try:
            call_routes(f"http://127.0.0.1:{port}", server)
        finally:
            server.terminate()
    print(f"\nthe plot: {(store / DEFAULT_VERSION / 'report.png').absolute()}")
    again = f"{show_command('serve', f'model_dir={store}')}, or " if config.database.embedded else ""
    print(f"next: {again}your own data: see README.md")
    return 0


def wait_or_stop(process: "subprocess.Popen[bytes]") -> int:
    """The exit code. If this program is interrupted, the process gets SIGTERM, so that it can clean up."""
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        raise


def call_routes(url: str, server: "subprocess.Popen[bytes]") -> None:
    wait_until_healthy(url, server)
    print("\n== calling the routes", flush=True)
    visits = call(f"{url}/predict/page-visits?days_ahead=7")
    show("GET /predict/page-visits?days_ahead=7", visits)
    visitors = call(f"{url}/predict", {"days_ahead": 7, "metric": "unique_visitors"})
    show('POST /predict {"days_ahead": 7, "metric": "unique_visitors"}', visitors)
    both = call(f"{url}/predict/multiple", {"metrics": ["page_visits", "unique_visitors"], "days_ahead": 30})
    num_days = {metric: len(forecast["predictions"]) for metric, forecast in both.items()}
    print("POST /predict/multiple, 30 days ahead:", num_days)
    print_bars(visits)


def wait_until_healthy(url: str, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            if call(f"{url}/health")["status"] == "healthy":
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            pass  # still starting
        time.sleep(0.2)
    raise CannotStart(f"{url} ended, or was not healthy within {WAIT_SECONDS} s. The lines above say why.")


def call(url: str, body: Json | None = None) -> Json:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        answer: Json = json.load(response)
        return answer


def show(title: str, answer: Json) -> None:
    rows = "\n    ".join(json.dumps(row) for row in answer["predictions"])
    rest = {key: value for key, value in answer.items() if key != "predictions"}
    print(f"{title}\n    {rows}\n  {json.dumps(rest)}\n", flush=True)


def print_bars(answer: Json) -> None:
    rows = answer["predictions"]
    most = max(row["upper"] for row in rows) or 1
    print(f"\npage visits a day from {rows[0]['date']}: # is the forecast, - reaches to the upper end of the 80% band")
    for row in rows:
        forecast, upper = (round(BAR_WIDTH * row[key] / most) for key in ("predicted_visits", "upper"))
        bar = "#" * forecast + "-" * (upper - forecast)
        print(f"{row['date']} {row['predicted_visits']:>8,}  {bar}")
    total = answer["total"]
    print(f"total    {total['value']:>10,}  (80% band {total['lower']:,} to {total['upper']:,})\n", flush=True)
