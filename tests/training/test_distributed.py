"""Training in several processes gives the result of training in one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forecasting.errors import SettingError
from forecasting.serving.torchserve.ports import find_free_port
from forecasting.settings.loading import load_config
from forecasting.training.distributed import require_single_process
from scripts.bench.harness import PATIENCE_SECONDS

from .distributed_program import train

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what one process learned."""
    folder = tmp_path_factory.mktemp("alone")
    train(folder)
    return folder


def test_two_processes_learn_what_one_learns(alone: Path) -> None:
    """From scratch and from a base, with five series divided three to two, so some steps have windows on one rank only.

    The synthetic windows are divided too.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*torchrun, "-m", "tests.training.distributed_program", str(alone)]
    result = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert_same_as_alone(alone)


def test_srun_starts_what_torchrun_starts(alone: Path) -> None:
    """With the variables that srun sets, read by Lightning's own plugin; what one process learned is the truth."""
    (alone / "ranks_2.pt").unlink(missing_ok=True)
    common = {
        "SLURM_JOB_ID": str(find_free_port()), "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
    }  # fmt: skip
    port = {"MASTER_PORT": str(find_free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.distributed_program", str(alone)],
            cwd=PROJECT,
            env={**os.environ, **common, **port, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    errors = [process.communicate(timeout=2 * PATIENCE_SECONDS)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert_same_as_alone(alone)


def assert_same_as_alone(folder: Path) -> None:
    alone, together = (torch.load(folder / f"ranks_{number}.pt", weights_only=True) for number in (1, 2))
    torch.testing.assert_close(together["loss"], alone["loss"], rtol=1e-5, atol=0)
    # Where a gradient cancels to almost 0, as it does from scratch, Adam turns its rounding error into a step.
    for run, tolerance in (("scratch", 5e-4), ("tuned", 1e-6)):
        for name, weights in alone[run].items():
            torch.testing.assert_close(together[run][name], weights, rtol=0, atol=tolerance, msg=f"{run}: {name}")


def test_end_of_one_process_is_told_by_the_others_in_one_sentence(tmp_path: Path) -> None:
    """Without torchrun, which would end the other one before it notices."""
    port = find_free_port()
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "tests.training.killed_rank_program"]
    killed, left = (
        subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("1", "0")
    )
    _, told = left.communicate(timeout=600)
    killed.communicate(timeout=600)
    assert (killed.returncode, left.returncode) == (-signal.SIGKILL, 1)
    assert told == (
        "error: Another process of this training has ended, and none can go on alone. What it printed, or torchrun's "
        "report, says why. Start all of them again; --resume continues from the last checkpoint.\n"
    )


def test_impossible_torchrun_variables_are_refused() -> None:
    with pytest.raises(SettingError) as refusal:
        load_config(environ={"RANK": "2", "WORLD_SIZE": "2"})
    assert str(refusal.value) == (
        "RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE are {'rank': '2', 'world_size': '2'}, which is impossible. "
        "Start with torchrun, which sets them, or unset all four."
    )
    with pytest.raises(SettingError, match="process.rank in the command line: torchrun says which of how many"):
        load_config(["process.rank=1"], environ={})
    environ = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert load_config(environ=environ).process.num_nodes == 2


def test_single_process_jobs_refuse_torchrun() -> None:
    config = load_config(environ={"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"})
    with pytest.raises(SettingError) as refusal:
        require_single_process(config.process, "A backtest")
    assert str(refusal.value) == "A backtest runs in one process. Start it without torchrun."
    require_single_process(load_config(environ={}).process, "A backtest")
