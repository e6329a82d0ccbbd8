"""Training speed of one method, in this process: windows a second, as JSON. bench_training.py compares them all."""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from forecasting.domain import Series
from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel
from forecasting.runtime.process import keep_freed_memory
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config
from forecasting.training.data_module import Batch, TrafficDataModule, Windows
from forecasting.training.fit import refit
from forecasting.training.lightning_module import ForecastModule

SECONDS = 6.0  # that the measured part takes, about
BARE_FEATURES = 8
METHODS = {
    "ours": "scripts/train.py's own fitting from scratch: blocks of steps, bf16 where there are units for it",
    "ours-fp32": "the same in float32",
    "loop": "plain torch loop on the same Forecaster, torch's defaults",
    "lightning": "Lightning and a DataLoader, their defaults, on the same Forecaster",
    "bare": f"plain torch loop on a bare two-layer LSTM, {BARE_FEATURES} features made beforehand",
    "limit": "the machine: the Forecaster's matrix products alone (a GPU: a replayed CUDA graph of the bare step)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=METHODS)
    for name in ("series", "days", "batch-size", "hidden-size"):
        parser.add_argument(f"--{name}", type=int, required=True)
    print(json.dumps(measure(parser.parse_args())))


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    config = load_config(
        [
            f"data.days_back={arguments.days}",
            f"model.hidden_size={arguments.hidden_size}",
            f"training.batch_size={arguments.batch_size}",
            *(["training.precision=fp32"] if arguments.method == "ours-fp32" else []),
        ],
        environ={},
    )
    panel = make_panel(arguments.series, arguments.days + config.model.context_length)
    if arguments.method.startswith("ours"):
        return measure_ours(panel, config)
    if arguments.method == "lightning":
        return {"windows_a_second": measure_lightning(panel, config)}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    steps = {"loop": plain_loop, "bare": bare_loop, "limit": limit}[arguments.method](panel, config, device)
    batch_size = min(arguments.batch_size, arguments.series * arguments.days)
    return {"windows_a_second": measure_speed(steps, batch_size, device)}


def make_panel(num_series: int, num_days: int) -> Panel:
    """Weekly traffic of sites of all sizes."""
    generator = torch.Generator().manual_seed(0)
    level = torch.exp(5 + torch.randn(num_series, 1, generator=generator))
    week = 1 + 0.3 * torch.sin(torch.arange(num_days) * (2 * torch.pi / 7))
    values = torch.poisson(level * week, generator=generator).numpy()
    series = tuple(Series(f"site {number}", "page_visits") for number in range(num_series))
    return Panel(series, values, 18_000, (values >= 0).astype("uint8"))


def measure_ours(panel: Panel, config: Config) -> dict[str, float]:
    """Passes over all windows through the Trainer; its set-up counts, though little."""
    keep_freed_memory()
    num_windows = len(TrafficDataModule(panel, config, refit=True).train_index)
    once = refit(panel, config, epochs=1).seconds
    epochs = max(1, round(SECONDS / once))
    speed = epochs * num_windows / refit(panel, config, epochs=epochs).seconds
    if not torch.cuda.is_available():
        return {"windows_a_second": speed}
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        seconds = refit(panel, config, epochs=epochs).seconds
    kernel_seconds = sum(event.self_device_time_total for event in profiled.key_averages()) / 1e6
    return {"windows_a_second": speed, "kernels": kernel_seconds / seconds}


def _windows(panel: Panel, config: Config, device: torch.device) -> tuple[Windows, Tensor]:
    windows = Windows(panel, config.model, device)
    return windows, windows.find(config.model.context_length, panel.num_days)


def _make_module(config: Config) -> ForecastModule:
    return ForecastModule(Forecaster(config.model), learning_rate=1e-3, epochs=1, seed=0)


def plain_loop(panel: Panel, config: Config, device: torch.device) -> Iterator[None]:
    """What one would write: windows gathered by index, forward, backward, clipping, Adam."""
    windows, index = _windows(panel, config, device)
    module = _make_module(config).to(device).train()
    yield from _learn(module, index, config, lambda part: loss_of(module, windows.gather(part, stop=windows.num_days)))


def loss_of(module: ForecastModule, batch: Batch) -> Tensor:
    total, count = module.sum_losses(batch)
    return total / count


def bare_loop(panel: Panel, config: Config, device: torch.device) -> Iterator[None]:
    _, windows_index = _windows(panel, config, device)
    index = torch.arange(len(windows_index), device=device)
    network = Bare(config.model.hidden_size).to(device)
    inputs = torch.randn(len(index), 7, BARE_FEATURES, device=device)
    targets = torch.randn(len(index), 7, device=device)
    yield from _learn(network, index, config, lambda part: nn.functional.mse_loss(network(inputs[part]), targets[part]))


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
    num_batches = max(1, len(index) // config.training.batch_size)
    while True:
        shuffled = index[torch.randperm(len(index), device=index.device)]
        for part in torch.split(shuffled, config.training.batch_size)[:num_batches]:
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
    layers = module.network.lstm.all_weights
    weights = [torch.cat([matrix.T for matrix in layer[:2]]).detach() for layer in layers]
    inputs = [torch.randn(batch, len(weight)) for weight in weights]
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
    module = _make_module(config).to(device).train()
    batch = windows.gather(index[: config.training.batch_size], stop=windows.num_days)
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
    windows, index = _windows(panel, config, torch.device("cpu"))

    class Dataset(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(index)

        def __getitem__(self, place: int) -> Any:
            return tuple(tensor[0] for tensor in windows.gather(index[place : place + 1], stop=windows.num_days))

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner = _make_module(config)

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


def measure_speed(steps: Iterator[None], batch_size: int, device: torch.device) -> float:
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


if __name__ == "__main__":
    main()
