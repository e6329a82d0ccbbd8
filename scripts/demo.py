"""The whole way once: train on the sample site, serve, ask the documented routes, print and plot the answers, stop."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

try:
    from forecasting.errors import CannotStart
    from forecasting.runtime import run
    from forecasting.settings.loading import load_config
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Set everything up with `make demo`, or: pip install -e . -c constraints.txt")

SCRIPTS = Path(__file__).resolve().parent
VERSION = "demo"  # nobody's own
WAIT_SECONDS = 180
PORTS = ("inference", "management", "metrics", "grpc_inference", "grpc_management")


def main() -> int:
    print("== training, with the documented command's defaults", flush=True)
    with subprocess.Popen([sys.executable, SCRIPTS / "train.py", "--model-version", VERSION]) as training:
        if code := wait_or_end(training):
            return code
    print("\n== serving", flush=True)
    port = free_port()
    free_ports = [f"serving.{name}_port=0" for name in PORTS]
    command = [sys.executable, SCRIPTS / "serve.py", "--model-version", VERSION, "--port", str(port), *free_ports]
    with subprocess.Popen(command) as server:
        try:
            ask_everything(f"http://127.0.0.1:{port}", server)
        finally:
            server.terminate()
    folder = load_config().model_dir / VERSION
    print(f"\nthe plot: {folder.absolute() / 'report.png'}")
    print("next: python scripts/serve.py, or your own database: see README.md")
    return 0


def wait_or_end(process: "subprocess.Popen[bytes]") -> int:
    """Its code; ended as it should be, not killed, where we are."""
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        raise


def ask_everything(url: str, server: "subprocess.Popen[bytes]") -> None:
    wait_until_healthy(url, server)
    print("\n== asking", flush=True)
    visits = ask(f"{url}/predict/page-visits?days_ahead=7")
    show("GET /predict/page-visits?days_ahead=7", visits)
    visitors = ask(f"{url}/predict", {"days_ahead": 7, "metric": "unique_visitors"})
    show('POST /predict {"days_ahead": 7, "metric": "unique_visitors"}', visitors)
    both = ask(f"{url}/predict/multiple", {"metrics": ["page_visits", "unique_visitors"], "days_ahead": 30})
    print("POST /predict/multiple, 30 days ahead:", {metric: len(one["predictions"]) for metric, one in both.items()})
    print_bars(visits)


def wait_until_healthy(url: str, server: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            if ask(f"{url}/health")["status"] == "healthy":
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            pass  # it is starting
        time.sleep(0.2)
    raise CannotStart(f"{url} was not healthy within {WAIT_SECONDS} s, or ended: its lines above say why.")


def ask(url: str, body: dict | None = None) -> dict:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return json.load(response)


def show(title: str, answer: dict) -> None:
    rows = "\n    ".join(json.dumps(row) for row in answer["predictions"])
    rest = {key: value for key, value in answer.items() if key != "predictions"}
    print(f"{title}\n    {rows}\n  {json.dumps(rest)}\n", flush=True)


def print_bars(answer: dict) -> None:
    rows = answer["predictions"]
    most = max(row["upper"] for row in rows) or 1
    print(f"\npage visits a day from {rows[0]['date']}: # the forecast, - up to the 80% band's upper end")
    for row in rows:
        forecast, upper = (round(60 * row[key] / most) for key in ("predicted_visits", "upper"))
        bar = "#" * forecast + "-" * (upper - forecast)
        print(f"{row['date']} {row['predicted_visits']:>8,}  {bar}")
    total = answer["total"]
    print(f"total    {total['value']:>10,}  (80% band {total['lower']:,} to {total['upper']:,})\n", flush=True)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


if __name__ == "__main__":
    run(main)
