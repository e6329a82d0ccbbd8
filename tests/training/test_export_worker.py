"""The export by another process, against one in this process."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forecasting.domain import Scaling
from forecasting.model.forecaster import Forecaster
from forecasting.model.scaling import MinMaxScaling
from forecasting.settings.schema import ModelConfig
from forecasting.training.export_worker import start_export_worker

SETTINGS = ModelConfig(hidden_size=8)


def test_exported_program_has_the_forecasters_weights_and_scaling(tmp_path: Path) -> None:
    """Of the usual scaling, tests/stack/test_routes.py shows it."""
    settings = replace(SETTINGS, scaling=Scaling.minmax)
    torch.manual_seed(5)
    forecaster = Forecaster(settings, MinMaxScaling(3.0, 50.0)).eval()
    torch.save(forecaster.state_dict(), tmp_path / "weights.pt")
    with start_export_worker(settings) as worker:
        worker.start_writing(tmp_path / "weights.pt", tmp_path / "model.pt2")
        worker.finish(Forecaster(settings), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    inputs = forecaster.example_inputs(5)
    with torch.no_grad():
        torch.testing.assert_close(program(*inputs), forecaster(*inputs), rtol=1e-6, atol=1e-6)


def test_failed_process_is_replaced_by_an_export_here(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forecaster = Forecaster(SETTINGS).eval()
    with caplog.at_level(logging.WARNING), start_export_worker(SETTINGS) as worker:
        worker.process.kill()
        worker.process.wait()
        worker.start_writing(tmp_path / "weights.pt", tmp_path / "model.pt2")
        worker.finish(forecaster, tmp_path / "model.pt2")
    assert "the export process failed, exporting in this process: it was killed (SIGKILL)" in caplog.text
    assert torch.export.load(tmp_path / "model.pt2").module()(*forecaster.example_inputs()).shape == (
        2,
        SETTINGS.output_days,
        7,
    )


def test_error_in_training_ends_the_process() -> None:
    with pytest.raises(RuntimeError, match="in training"), start_export_worker(SETTINGS) as worker:
        raise RuntimeError("in training")
    assert worker.process.returncode is not None
