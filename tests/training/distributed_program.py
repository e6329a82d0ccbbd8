"""What test_ranks.py starts with torchrun: each process trains on every other series; the first saves the weights."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from forecasting.model.forecaster import Forecaster
from forecasting.panel import Panel
from forecasting.settings.loading import load_config
from forecasting.training.distributed import gather_from_ranks, joined, num_ranks, on_one_calendar, rank
from forecasting.training.fit import fit, refit, training_data
from tests.panels import make_panel

SETTINGS = [
    "training.epochs=3", "training.patience=0", "model.hidden_size=8", "model.dropout=0", "training.precision=fp32",
    "training.accelerator=cpu", "data.days_back=200",
]  # fmt: skip


def share_of(panel: Panel) -> Panel:
    """This rank's series; the second rank's begin later, as far as it knows."""
    rows = slice(rank(), None, num_ranks())
    late = 10 * rank()
    return replace(
        panel,
        series=panel.series[rows],
        values=panel.values[rows, late:].copy(),
        verdicts=panel.verdicts[rows, late:],
        first_day=panel.first_day + late,
    )


def train(folder: Path) -> None:
    config = load_config(SETTINGS)
    whole = make_panel(260, num_series=5)
    whole.values[1::2, :10] = torch.nan  # what the second of two ranks has not read
    with joined(config.process, config.training.accelerator):
        panel = on_one_calendar(share_of(whole))
        torch.manual_seed(3)
        base = Forecaster(config.model)
        scratch = fit(training_data(panel, config, None), config)
        tuned = refit(panel, config, epochs=2, base=base)
        losses = gather_from_ranks(scratch.best_loss)
        assert losses == [losses[0]] * num_ranks()
        if rank() == 0:
            found = {"scratch": scratch.forecaster.state_dict(), "tuned": tuned.forecaster.state_dict()}
            torch.save({**found, "loss": torch.tensor(losses[0])}, folder / f"of_{num_ranks()}.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]))
