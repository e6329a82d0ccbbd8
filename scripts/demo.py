"""The whole way once: train on the sample site, serve, ask the documented routes, print and plot the answers, stop."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

try:
    from forecasting.command import run
    from forecasting.config import load_config
    from forecasting.errors import CannotStart
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Set everything up with `make demo`, or: pip install -e . -c constraints.txt")

SCRIPTS = Path(__file__).resolve().parent
VERSION = "v1.0.0"
WAIT_SECONDS = 180


def main() -> None:
    print("== training, with the documented command's defaults", flush=True)
    subprocess.run([sys.executable, SCRIPTS / "train.py", "--model-version", VERSION], check=True)
    print("\n== serving", flush=True)
    port = free_port()
    free_ports = [f"serving.{name}_port=0" for name in ("inference", "management", "metrics")]
    free_ports += ["serving.grpc_inference_port=0", "serving.grpc_management_port=0"]
    command = [sys.executable, SCRIPTS / "serve.py", "--model-version", VERSION, "--port", str(port), *free_ports]
    server = subprocess.Popen(command)
    try:
        ask_everything(f"http://127.0.0.1:{port}", server)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
    plot = load_config().model_dir / VERSION / "report.png"
    print(f"\nthe plot: {plot.absolute()}\nnext: python scripts/serve.py, or your own database: see README.md")


def ask_everything(url: str, server: "subprocess.Popen[bytes]") -> None:
    wait_until_healthy(url, server)
    print("\n== asking")
    print_json("GET /health", ask(f"{url}/health"))
    info = ask(f"{url}/model/info")
    print_json("GET /model/info", {key: info[key] for key in list(info)[:5]})
    answer = ask(f"{url}/predict/page-visits?days_ahead=7")
    print_json("GET /predict/page-visits?days_ahead=7", answer)
    print_bars(answer)


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


def ask(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310
        return json.load(response)


def print_json(title: str, answer: dict) -> None:
    text = json.dumps(answer, indent=2)
    print(f"{title}\n{text}\n")


def print_bars(answer: dict) -> None:
    rows = answer["predictions"]
    most = max(row["upper"] for row in rows) or 1
    print(f"page visits a day from {rows[0]['date']}: # the forecast, - up to the 80% band's upper end")
    for row in rows:
        forecast, upper = (round(60 * row[key] / most) for key in ("predicted_visits", "upper"))
        bar = "#" * forecast + "-" * (upper - forecast)
        print(f"{row['date']} {row['predicted_visits']:>8,}  {bar}")
    total = answer["total"]
    print(f"total    {total['value']:>10,}  (80% band {total['lower']:,} to {total['upper']:,})")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


if __name__ == "__main__":
    run(main)
