"""Training in several processes, started by torchrun. A single process is rank 0 of 1."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed

from forecasting.domain import Verdict
from forecasting.errors import ProcessLost, SettingError
from forecasting.panel import Panel
from forecasting.runtime.memory import KillCounter, describe_shortage
from forecasting.settings.schema import Accelerator, ProcessConfig

if TYPE_CHECKING:
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

T = TypeVar("T")
TIMEOUT = timedelta(minutes=30)  # ranks wait this long for one that reads more data
LOST_CONNECTION = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  # as gloo and NCCL say it


@contextmanager
def process_group(process: ProcessConfig, accelerator: Accelerator) -> Iterator[None]:
    """Joins the processes that torchrun or srun has started, and leaves on exit. Does nothing in a single process.

    Raises ProcessLost if another one of them ends first.
    """
    if process.world_size == 1:
        yield
        return
    gpus = accelerator is not Accelerator.cpu and torch.cuda.is_available()
    if gpus and process.local_world_size > torch.cuda.device_count():
        raise SettingError(
            f"There are {process.local_world_size} processes on this machine and {torch.cuda.device_count()} GPUs: "
            "each process takes one. Start fewer, or set training.accelerator=cpu."
        )
    if gpus:
        torch.cuda.set_device(process.local_rank)
    kills = KillCounter()
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=TIMEOUT, **_find_the_others(process)
    )
    try:
        yield
    except RuntimeError as error:
        if not any(text in str(error) for text in LOST_CONNECTION):
            raise
        raise ProcessLost(_describe_loss(kills)) from error
    finally:
        distributed.destroy_process_group()


def _find_the_others(process: ProcessConfig) -> dict[str, Any]:  # Any: torch's own arguments
    """For srun, the address that Lightning finds in its variables; torch itself finds torchrun's."""
    if not process.is_srun:
        return {}
    slurm = find_slurm()
    address = f"tcp://{slurm.main_address}:{slurm.main_port}"
    return {"init_method": address, "rank": process.rank, "world_size": process.world_size}


def find_slurm() -> "SLURMEnvironment":
    """Without its way of queueing a job again, which would take checkpoints of its own: `--resume` has them."""
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    return SLURMEnvironment(auto_requeue=False)


def _describe_loss(kills: KillCounter) -> str:
    if kills.take_new():
        return _describe_kill()
    return (
        "Another process of this training has ended, and none can go on alone. What it printed, or torchrun's report, "
        "says why. Start all of them again; --resume continues from the last checkpoint."
    )


def _describe_kill() -> str:
    return (
        f"The kernel ended a process of this training, because {describe_shortage()}. Start fewer processes on this "
        "machine, give them more memory, or let them need less: fewer sites, metrics or days, a smaller --batch-size."
    )


def require_single_process(process: ProcessConfig, job: str) -> None:
    """Raises SettingError under torchrun. `job` starts the sentence: "Pretraining"."""
    if process.world_size > 1:
        raise SettingError(f"{job} runs in one process. Start it without torchrun.")


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def num_ranks() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sums a tensor over all ranks, in place, and returns it."""
    if num_ranks() > 1:
        distributed.all_reduce(tensor)
    return tensor


def gather_from_ranks(value: T) -> list[T]:
    """The values of all ranks, in their order. Every rank gets the same list."""
    if num_ranks() == 1:
        return [value]
    values: list[Any] = [None] * num_ranks()  # Any: torch's type for the list that it fills
    distributed.all_gather_object(values, value)
    return values


def align_calendars(panel: Panel) -> Panel:
    """The panel, extended back to the first day of any rank, with the notes of all ranks.

    Their last day is the same already.
    """
    first_day = min(gather_from_ranks(panel.first_day))
    notes = tuple(note for part in gather_from_ranks(panel.notes) for note in part)
    days_before = ((0, 0), (panel.first_day - first_day, 0))
    return replace(
        panel,
        first_day=first_day,
        notes=tuple(dict.fromkeys(notes)),
        values=np.pad(panel.values, days_before, constant_values=np.nan),
        verdicts=np.pad(panel.verdicts, days_before, constant_values=Verdict.before),
    )
