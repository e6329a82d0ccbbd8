"""The classes of a user's own that README.md shows: each trains, and its program needs the class no more."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forecasting.domain import Init
from forecasting.errors import SettingError
from forecasting.model.forecaster import Forecaster
from forecasting.model.own_forecaster import make_forecaster
from forecasting.panel import Panel
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config, ModelConfig
from forecasting.training.base_model import find_base
from forecasting.training.export_worker import start_export_worker
from forecasting.training.fit import fit, training_data
from tests import PROJECT

README = PROJECT / "forecasting" / "training" / "README.md"
BLOCKS = [
    block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "Forecaster):" in block
]
CLASSES = ("WithPaydays", "WithConvolution", "WithStandardScaling")


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """`module:Class` of each example, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, block in zip(CLASSES, BLOCKS, strict=True):
        (tmp_path / f"{name.lower()}.py").write_text(block)
        monkeypatch.delitem(sys.modules, name.lower(), raising=False)
    return {name: f"{name.lower()}:{name}" for name in CLASSES}


def configure(*settings: str) -> Config:
    return load_config(["training.epochs=2", "model.hidden_size=8", "training.accelerator=cpu", *settings], environ={})


def test_examples_are_short() -> None:
    assert [len(block.splitlines()) <= 30 for block in BLOCKS] == [True] * len(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_own_class_is_trained_and_its_program_needs_it_no_more(
    name: str, names: dict[str, str], panel: Panel, tmp_path: Path
) -> None:
    config = configure(f"model.forecaster={names[name]}")
    assert find_base(config.model) is None
    forecaster = fit(training_data(panel, config, None), config).forecaster
    assert type(forecaster).__name__ == name
    with start_export_worker(config.model) as worker:
        torch.save(forecaster.state_dict(), tmp_path / "weights.pt")
        worker.start_writing(tmp_path / "weights.pt", tmp_path / "model.pt2")
        worker.finish(forecaster, tmp_path / "model.pt2")
        assert worker.process.returncode == 0
    inputs = forecaster.example_inputs(3)
    torch.save(inputs, tmp_path / "inputs.pt")
    script = """
import torch
program = torch.export.load("model.pt2").module()
torch.save(program(*torch.load("inputs.pt")), "quantiles.pt")
"""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in ("model.pt2", "inputs.pt"):
        (tmp_path / file).rename(elsewhere / file)
    subprocess.run([sys.executable, "-I", "-c", script], cwd=elsewhere, check=True)
    with torch.no_grad():
        torch.testing.assert_close(torch.load(elsewhere / "quantiles.pt"), forecaster(*inputs), rtol=1e-5, atol=1e-5)


def test_examples_do_what_they_say(names: dict[str, str]) -> None:
    paydays, convolution, standard = (
        make_forecaster(configure(f"model.forecaster={names[name]}").model).eval() for name in CLASSES
    )
    plain = Forecaster(paydays.settings)
    first_day = torch.tensor([20_000])  # with 392 days the last of them is 2025-10-30, a Thursday: 20,391 % 14 == 7
    for shift, expected in ((0, [1, 0, 0, 0, 0, 0, 0]), (7, [0] * 7)):
        history, _, kind, _ = paydays.example_inputs(1)
        steps = paydays.read_windows(history, first_day + shift, kind)[0].steps
        assert steps[0, :, -1].tolist() == expected
        torch.testing.assert_close(steps[..., :-1], plain.read_windows(history, first_day + shift, kind)[0].steps)
    assert not hasattr(convolution.network, "lstm")
    x = torch.randn(4, 56)
    level, spread = standard.scaling.level_and_spread(x, torch.ones(4, 56, dtype=torch.bool), torch.zeros(4, dtype=int))
    torch.testing.assert_close(level[:, 0], x[:, -28:].mean(1))
    torch.testing.assert_close(spread[:, 0], x[:, -28:].std(1, correction=0))


def test_wrong_classes_are_refused(names: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("class Other: pass\n")
    for name, reason in (
        ("Other", "which is no subclass of forecasting.model.forecaster.Forecaster."),
        ("Othr", "but other has no 'Othr'. Did you mean other:Other?"),
    ):
        with pytest.raises(SettingError) as refusal:
            make_forecaster(ModelConfig(forecaster=f"other:{name}"))
        assert str(refusal.value) == f"model.forecaster is other:{name}, {reason}"
    with pytest.raises(SettingError) as refusal:
        find_base(ModelConfig(forecaster="other:Other", init=Init.base))
    assert str(refusal.value) == (
        "The base model does not fit model.forecaster=other:Other: it has None. "
        "Leave that out, or set model.init=scratch."
    )
