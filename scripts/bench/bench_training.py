"""Training speed, side by side: ours, a plain torch loop, plain Lightning with a DataLoader, and the machine's limit.

Each runs in a process of its own, so that none lives off another's settings, and they take turns. By default on 50
series of 800 days; `--series 2000 --batch-size 8192` is a size for a GPU. `--keras PYTHON`, an interpreter with
tensorflow in it, adds Keras; `--job` times the documented job instead, as whole processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

try:
    import torch
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table
    from torch import Tensor, nn

    from forecasting.domain import Series
    from forecasting.model.forecaster import Forecaster
    from forecasting.panel import Panel
    from forecasting.runtime import describe_processor, keep_freed_memory
    from forecasting.settings.loading import load_config
    from forecasting.settings.schema import Config
    from forecasting.training.data_module import Batch, Windows
    from forecasting.training.lightning_module import ForecastModule
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}. Set everything up with `make demo`, or: pip install -e . -c constraints.txt")

SCRIPTS = Path(__file__).resolve().parents[1]
SECONDS = 6.0  # that a contestant's measured part takes, about
BARE_FEATURES = 8
CONTESTANTS = {
    "ours": "scripts/train.py's own fitting from scratch: blocks of steps, bf16 where there are units for it",
    "ours-fp32": "the same in float32",
    "loop": "plain torch loop on the same Forecaster, torch's defaults",
    "lightning": "Lightning and a DataLoader, their defaults, on the same Forecaster",
    "bare": f"plain torch loop on a bare two-layer LSTM, {BARE_FEATURES} features made beforehand",
    "limit": "the machine: the Forecaster's matrix products alone (a GPU: a replayed CUDA graph of the bare step)",
}
KERAS = "Keras, its defaults, on the bare LSTM"
LSTM_JOB = "--sequence-length 7 --prediction-horizon 7 --days-back 60 --epochs 100 --batch-size 32"
JOBS = {
    "from the base (default)": [],
    "all 100 epochs from scratch": ["model.init=scratch", "training.patience=0"],
}


def main() -> None:
    said = _parse()
    if said.contestant:
        print(json.dumps(measure(said)))
        return
    console = Console()
    console.print(_describe_machine())
    if said.job:
        console.print(_time_jobs(said))
        return
    console.print(
        f"{said.series} series x {said.days} days, batch {said.batch_size}, two layers of {said.hidden_size}; "
        f"median of {said.repetitions}"
    )
    console.print(_compare(said))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("series", 50), ("days", 800), ("batch-size", 256), ("hidden-size", 64), ("repetitions", 5)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--keras", metavar="PYTHON", help="an interpreter with tensorflow")
    parser.add_argument("--job", action="store_true", help="the documented job as whole processes")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _compare(said: argparse.Namespace) -> Table:
    names = [*CONTESTANTS, *(["keras"] if said.keras else [])]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    turns = [name for _ in range(said.repetitions) for name in names]
    for name in track(turns, "measuring", console=Console(stderr=True), transient=True):
        found[name].append(_run(name, said))
    speeds = {name: statistics.median(one["windows_a_second"] for one in runs) for name, runs in found.items()}
    table = Table("", "windows/s", "of the loop's", "what", box=None, header_style="")
    for name, speed in speeds.items():
        table.add_row(name, f"{speed:,.0f}", f"{speed / speeds['loop']:.2f}", CONTESTANTS.get(name, KERAS))
    if "kernels" in found["ours"][0]:
        share = statistics.median(one["kernels"] for one in found["ours"])
        table.add_row("", f"{share:.0%}", "", "of our time the GPU is in kernels")
    return table


def _run(name: str, said: argparse.Namespace) -> dict[str, float]:
    sizes = [
        f"--{key.replace('_', '-')}={getattr(said, key)}" for key in ("series", "days", "batch_size", "hidden_size")
    ]
    if name == "keras":
        command = [said.keras, str(SCRIPTS / "bench" / "bench_keras.py"), *sizes]
    else:
        command = [sys.executable, __file__, "--contestant", name, *sizes]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"{name} failed:\n{result.stderr[-2000:]}")
    measured: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return measured


def measure(said: argparse.Namespace) -> dict[str, float]:
    """One contestant's windows a second, in this process."""
    config = load_config(
        [
            f"data.days_back={said.days}",
            f"model.hidden_size={said.hidden_size}",
            f"training.batch_size={said.batch_size}",
            *(["training.precision=fp32"] if said.contestant == "ours-fp32" else []),
        ],
        environ={},
    )
    panel = make_panel(said.series, said.days + config.model.context_length)
    if said.contestant.startswith("ours"):
        return measure_ours(panel, config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if said.contestant == "lightning":
        return {"windows_a_second": measure_lightning(panel, config)}
    steps = {"loop": plain_loop, "bare": bare_loop, "limit": limit}[said.contestant](panel, config, device)
    return {"windows_a_second": _speed(steps, min(said.batch_size, said.series * said.days), device)}


def make_panel(num_series: int, num_days: int) -> Panel:
    """Weekly traffic of sites of all sizes."""
    generator = torch.Generator().manual_seed(0)
    level = torch.exp(5 + torch.randn(num_series, 1, generator=generator))
    week = 1 + 0.3 * torch.sin(torch.arange(num_days) * (2 * torch.pi / 7))
    values = torch.poisson(level * week, generator=generator).numpy()
    series = tuple(Series(f"site {number}", "page_visits") for number in range(num_series))
    return Panel(series, values, 18_000, (values >= 0).astype("uint8"))


def measure_ours(panel: Panel, config: Config) -> dict[str, float]:
    """Passes over all windows through Trainer, modules and all; set-up counts, though little."""
    from forecasting.training.data_module import TrafficDataModule
    from forecasting.training.fit import refit

    keep_freed_memory()
    num_windows = len(TrafficDataModule(panel, config, refit=True).train_index)
    once = refit(panel, config, epochs=1).seconds
    epochs = max(1, round(SECONDS / once))
    found = {"windows_a_second": epochs * num_windows / refit(panel, config, epochs=epochs).seconds}
    if torch.cuda.is_available():
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            seconds = refit(panel, config, epochs=epochs).seconds
        kernels = sum(event.self_device_time_total for event in profiled.key_averages()) / 1e6
        found["kernels"] = kernels / seconds
    return found


def _windows(panel: Panel, config: Config, device: torch.device) -> tuple[Windows, Tensor]:
    windows = Windows(panel, config.model, device)
    return windows, windows.find(config.model.context_length, panel.num_days)


def plain_loop(panel: Panel, config: Config, device: torch.device) -> Iterator[None]:
    """What one would write: windows gathered by index, forward, backward, clipping, Adam."""
    windows, index = _windows(panel, config, device)
    module = ForecastModule(Forecaster(config.model), learning_rate=1e-3, epochs=1, seed=0).to(device).train()
    yield from _learn(module, index, config, lambda part: loss_of(module, windows.gather(part)))


def loss_of(module: ForecastModule, batch: Batch) -> Tensor:
    total, count = module.sum_losses(batch)
    return total / count


def bare_loop(panel: Panel, config: Config, device: torch.device) -> Iterator[None]:
    step, index, network = _bare(panel, config, device)
    yield from _learn(network, index, config, step)


def _bare(panel: Panel, config: Config, device: torch.device) -> tuple[Callable[[Tensor], Tensor], Tensor, nn.Module]:
    _, index = _windows(panel, config, device)
    index = torch.arange(len(index), device=device)
    network = Bare(config.model.hidden_size).to(device)
    inputs, targets = (
        torch.randn(len(index), 7, BARE_FEATURES, device=device),
        torch.randn(len(index), 7, device=device),
    )
    return lambda part: nn.functional.mse_loss(network(inputs[part]), targets[part]), index, network


class Bare(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BARE_FEATURES, hidden_size, 2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(hidden_size, 7)

    def forward(self, steps: Tensor) -> Tensor:
        states, _ = self.lstm(steps)
        out: Tensor = self.head(states[:, -1])
        return out


def _learn(
    network: nn.Module, index: Tensor, config: Config, loss_of_part: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    while True:
        shuffled = index[torch.randperm(len(index), device=index.device)]
        for part in torch.split(shuffled, config.training.batch_size)[
            : max(1, len(index) // config.training.batch_size)
        ]:
            loss = loss_of_part(part)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            yield


def limit(panel: Panel, config: Config, device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        yield from _replays(panel, config, device)
    batch, hidden = config.training.batch_size, config.model.hidden_size
    module = Forecaster(config.model)
    weights = [torch.cat([one.T for one in of[:2]]).detach() for of in module.network.lstm.all_weights]
    inputs = [torch.randn(batch, len(one)) for one in weights]
    gradients = torch.randn(batch, 4 * hidden)
    while True:
        for _ in range(config.model.sequence_length):
            for x, weight in zip(inputs, weights, strict=True):
                torch.mm(x, weight)
                torch.mm(gradients, weight.T)
                torch.mm(x.T, gradients)
        yield


def _replays(panel: Panel, config: Config, device: torch.device) -> Iterator[None]:
    """The plain loop's step on the same Forecaster, its windows in place, captured and replayed."""
    windows, index = _windows(panel, config, device)
    module = ForecastModule(Forecaster(config.model), learning_rate=1e-3, epochs=1, seed=0).to(device).train()
    batch = windows.gather(index[: config.training.batch_size])
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True, capturable=True)

    def step() -> None:
        optimizer.zero_grad()
        loss = loss_of(module, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()

    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    while True:
        graph.replay()
        yield


def measure_lightning(panel: Panel, config: Config) -> float:
    """One Dataset of windows, one DataLoader, automatic optimization."""
    import lightning.pytorch as pl

    windows, index = _windows(panel, config, torch.device("cpu"))

    class Dataset(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(index)

        def __getitem__(self, place: int) -> Any:
            return tuple(tensor[0] for tensor in windows.gather(index[place : place + 1]))

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner = ForecastModule(Forecaster(config.model), learning_rate=1e-3, epochs=1, seed=0)

        def training_step(self, batch: Any, _: int) -> Tensor:
            return loss_of(self.inner, Batch(*batch))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    loader = torch.utils.data.DataLoader(Dataset(), batch_size=config.training.batch_size, shuffle=True)
    num_steps = 20
    while True:
        trainer = pl.Trainer(
            max_steps=num_steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, gradient_clip_val=1.0,
        )  # fmt: skip
        began = time.perf_counter()
        trainer.fit(Module(), loader)
        seconds = time.perf_counter() - began
        if seconds > SECONDS / 2:
            windows_a_step = min(config.training.batch_size, len(index))
            return num_steps * windows_a_step / seconds
        num_steps = round(num_steps * max(2.0, SECONDS / seconds))


def _speed(steps: Iterator[None], batch_size: int, device: torch.device) -> float:
    def take(number: int) -> float:
        began = time.perf_counter()
        for _ in range(number):
            next(steps)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    take(10)
    number = max(10, round(SECONDS / take(10) * 10))
    return number * batch_size / take(number)


def _time_jobs(said: argparse.Namespace) -> Table:
    """The documented training as people start it, from PostgreSQL to the .mar, and what Keras takes to fit the same."""
    table = Table("the documented job", "whole process, s", "parts", box=None, header_style="")
    seconds: dict[str, list[float]] = {}
    parts: dict[str, str] = {}
    names = [*JOBS, *(["Keras: imports, 100 epochs, saving"] if said.keras else [])]
    turns = [name for _ in range(said.repetitions) for name in names]
    with tempfile.TemporaryDirectory() as store:
        environment = {**os.environ, "MODEL_DIR": store}
        for name in track(turns, "measuring", console=Console(stderr=True), transient=True):
            if name in JOBS:
                command = [sys.executable, str(SCRIPTS / "train.py"), *LSTM_JOB.split(), *JOBS[name]]
            else:
                command = [said.keras, str(SCRIPTS / "bench" / "bench_keras.py"), "--job"]
            began = time.perf_counter()
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            seconds.setdefault(name, []).append(time.perf_counter() - began)
            if result.returncode:
                sys.exit(f"{name} failed:\n{result.stderr[-2000:]}")
            lines = result.stdout.splitlines()
            parts[name] = next((line for line in lines if " s in all: " in line), lines[-1]).partition(": ")[2]
    for name in names:
        table.add_row(name, f"{statistics.median(seconds[name]):.1f}", parts[name])
    return table


def _describe_machine() -> str:
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{describe_processor()}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
