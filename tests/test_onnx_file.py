"""A version in other programs: as ONNX, and by torch alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from forecasting.artifact import PROGRAM, Artifact
from forecasting.commands import export
from forecasting.errors import SettingError
from forecasting.model.forecaster import LEVELS

NUM_SITES = 5


def make_inputs(context_length: int, days: int) -> dict[str, np.ndarray]:
    """Counts, a rate and another number; one site is young."""
    random = np.random.default_rng(0)
    history = random.poisson(1000, (NUM_SITES, context_length)).astype(np.float32)
    history[1] /= 2000
    history[2, : context_length - 30] = np.nan
    return {
        "history": history,
        "first_day": np.arange(19_000, 19_000 + NUM_SITES),
        "kind": np.array([0, 1, 0, 2, 0]),
        "band_scale": random.uniform(0.5, 2.0, (NUM_SITES, days)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def onnx_file(untrained_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript")
    file = tmp_path_factory.mktemp("onnx") / "traffic.onnx"
    version, store = untrained_artifact.card.version, untrained_artifact.folder.parent
    export.main(["--onnx", "--model-version", version, "--out", str(file), f"model_dir={store}"])
    return file


def test_onnx_gives_what_the_exported_program_gives(onnx_file: Path, untrained_artifact: Artifact) -> None:
    session = pytest.importorskip("onnxruntime").InferenceSession(str(onnx_file))
    card, program = untrained_artifact.card, untrained_artifact.load_program()
    inputs = make_inputs(card.context_length, card.output_days)
    for size in (NUM_SITES, 1):
        batch = {name: values[:size] for name, values in inputs.items()}
        with torch.no_grad():
            expected = program(*map(torch.from_numpy, batch.values())).numpy()
        [quantiles] = session.run(["quantiles"], batch)
        assert quantiles.shape == (size, card.output_days, len(LEVELS))
        np.testing.assert_allclose(quantiles, expected, rtol=2e-5, atol=1e-6)


def test_onnx_file_says_how_to_call_it(onnx_file: Path, untrained_artifact: Artifact) -> None:
    session = pytest.importorskip("onnxruntime").InferenceSession(str(onnx_file))
    card = untrained_artifact.card
    facts = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    assert facts == {
        "model_version": card.version,
        "context_length": card.context_length,
        "days_ahead": card.output_days,
        "levels": list(LEVELS),
        "kinds": {"count": 0, "rate": 1, "other": 2},
    }
    assert {given.name: given.shape for given in session.get_inputs()} == {
        "history": ["batch", card.context_length],
        "first_day": ["batch"],
        "kind": ["batch"],
        "band_scale": ["batch", card.output_days],
    }


def test_program_loads_where_this_package_cannot_be_imported(untrained_artifact: Artifact, tmp_path: Path) -> None:
    card = untrained_artifact.card
    inputs = make_inputs(card.context_length, card.output_days)
    np.savez(tmp_path / "inputs.npz", **inputs)
    script = f"""
import sys
sys.modules["forecasting"] = None
import numpy as np, torch
program = torch.export.load({str(untrained_artifact.folder / PROGRAM)!r}).module()
inputs = np.load("inputs.npz")
with torch.no_grad():
    np.save("quantiles.npy", program(*(torch.from_numpy(inputs[name]) for name in inputs.files)).numpy())
assert not [name for name in sys.modules if name.startswith("forecasting.")]
"""
    subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, check=True)
    with torch.no_grad():
        expected = untrained_artifact.load_program()(*map(torch.from_numpy, inputs.values())).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "quantiles.npy"), expected, rtol=1e-6)


def test_wrong_exports_are_refused(untrained_artifact: Artifact, tmp_path: Path) -> None:
    store = f"model_dir={untrained_artifact.folder.parent}"
    with pytest.raises(SettingError) as refusal:
        export.main([store])
    assert str(refusal.value) == (
        "Say as what to export: --onnx. For torch, model.pt2 in the version's folder is it already."
    )
    pytest.importorskip("onnxscript")
    with pytest.raises(SettingError) as refusal:
        export.main(["--onnx", "--out", str(tmp_path / "missing" / "a.onnx"), store])
    assert (
        str(refusal.value) == f"There is no folder {tmp_path}/missing to write a.onnx into. Make it, or change --out."
    )
