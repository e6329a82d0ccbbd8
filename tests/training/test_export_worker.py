"""The export done by another process, against the one done here."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forecasting.domain import Scaling
from forecasting.model.forecaster import Forecaster
from forecasting.model.scaling import MinMaxScaling
from forecasting.settings.schema import ModelConfig
from forecasting.training.export_worker import tracing

SETTINGS = ModelConfig(hidden_size=8)


@pytest.mark.parametrize("scaling", [None, MinMaxScaling(3.0, 50.0)])
def test_traced_program_has_the_forecasters_weights(tmp_path: Path, scaling: MinMaxScaling | None) -> None:
    settings = replace(SETTINGS, scaling=Scaling.minmax) if scaling else SETTINGS
    torch.manual_seed(5)
    forecaster = Forecaster(settings, scaling).eval()
    torch.save(forecaster.state_dict(), tmp_path / "weights.pt")
    with tracing(settings) as tracer:
        tracer.start_writing(tmp_path / "weights.pt", tmp_path / "model.pt2")
        tracer.finish(Forecaster(settings), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    inputs = forecaster.example_inputs(5)
    with torch.no_grad():
        torch.testing.assert_close(program(*inputs), forecaster(*inputs), rtol=1e-6, atol=1e-6)


def test_a_process_that_failed_is_made_up_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forecaster = Forecaster(SETTINGS).eval()
    with caplog.at_level(logging.WARNING), tracing(SETTINGS) as tracer:
        tracer.process.kill()
        tracer.process.wait()
        tracer.start_writing(tmp_path / "weights.pt", tmp_path / "model.pt2")
        tracer.finish(forecaster, tmp_path / "model.pt2")
    assert "exporting here, since the process that did it failed" in caplog.text
    assert torch.export.load(tmp_path / "model.pt2").module()(*forecaster.example_inputs()).shape == (2, 7, 7)


def test_an_error_elsewhere_ends_the_process() -> None:
    with pytest.raises(RuntimeError, match="elsewhere"), tracing(SETTINGS) as tracer:
        raise RuntimeError("elsewhere")
    assert tracer.process.returncode is not None
