"""Training in several processes comes to the same as in one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forecasting.errors import SettingError
from forecasting.settings.loading import load_config
from forecasting.training.distributed import refuse_several

from .distributed_program import train

PROJECT = Path(__file__).resolve().parents[2]


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """From scratch and from a base, with five series shared out as three and two: batches of one have no window of
    the other rank's, and the made ones are shared out too.
    """
    train(tmp_path)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*torchrun, "-m", "tests.training.distributed_program", str(tmp_path)]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    alone, together = (torch.load(tmp_path / f"of_{number}.pt", weights_only=True) for number in (1, 2))
    torch.testing.assert_close(together["loss"], alone["loss"], rtol=1e-5, atol=0)
    # Most differ by 1e-8. Where a gradient's parts cancel out, Adam makes a step of the rounding that is left.
    for how in ("scratch", "tuned"):
        for name, weights in alone[how].items():
            torch.testing.assert_close(together[how][name], weights, rtol=0, atol=1e-4, msg=f"{how}: {name}")


def test_what_torchrun_cannot_have_said_is_refused() -> None:
    with pytest.raises(SettingError) as refusal:
        load_config(environ={"RANK": "2", "WORLD_SIZE": "2"})
    assert str(refusal.value) == (
        "RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE say {'rank': '2', 'world_size': '2'}, which cannot be. "
        "Start with torchrun, which sets them, or unset all four."
    )
    with pytest.raises(SettingError, match="process.rank in the command line: torchrun says which of how many"):
        load_config(["process.rank=1"], environ={})
    said = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert load_config(environ=said).process.num_nodes == 2


def test_what_runs_in_one_process_says_so() -> None:
    config = load_config(environ={"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"})
    with pytest.raises(SettingError) as refusal:
        refuse_several(config.process, "A backtest")
    assert str(refusal.value) == "A backtest runs in one process. Start it without torchrun."
    refuse_several(load_config(environ={}).process, "A backtest")
