"""test_distributed.py runs this with torchrun: each process trains on every other series; the first saves weights."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel
from forecasting.settings.loading import load_config
from forecasting.training.distributed import align_calendars, gather_from_ranks, num_ranks, process_group, rank
from forecasting.training.fit import fit, refit, training_data
from tests.panels import make_panel

SETTINGS = [
    "training.epochs=3", "training.patience=0", "model.hidden_size=8", "model.dropout=0", "training.precision=fp32",
    "training.accelerator=cpu", "data.days_back=200",
]  # fmt: skip


def share_of(panel: Panel) -> Panel:
    """This rank's series. The second rank's data starts later."""
    rows = slice(rank(), None, num_ranks())
    start = 10 * rank()
    return replace(
        panel,
        series=panel.series[rows],
        values=panel.values[rows, start:].copy(),
        verdicts=panel.verdicts[rows, start:],
        first_day=panel.first_day + start,
    )


def train(folder: Path) -> None:
    config = load_config(SETTINGS)
    whole = make_panel(260, num_series=5)
    whole.values[1::2, :10] = torch.nan  # days that the second of two ranks does not read
    with process_group(config.process, config.training.accelerator):
        panel = align_calendars(share_of(whole))
        torch.manual_seed(3)
        base = Forecaster(config.model)
        scratch = fit(training_data(panel, config, None), config)
        tuned = refit(panel, config, epochs=2, base=base)
        losses = gather_from_ranks(scratch.best_loss)
        assert losses == [losses[0]] * num_ranks()
        if rank() == 0:
            weights = {"scratch": scratch.forecaster.state_dict(), "tuned": tuned.forecaster.state_dict()}
            torch.save({**weights, "loss": torch.tensor(losses[0])}, folder / f"ranks_{num_ranks()}.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]))
