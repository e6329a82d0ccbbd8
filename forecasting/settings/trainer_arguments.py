"""Which arguments of Lightning's Trainer `training.trainer.<name>` may give, and why not others."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from forecasting.errors import SettingError
from forecasting.settings.bounds import require

SECTION = "training.trainer."


@dataclass(frozen=True)
class Argument:
    must_be: str
    allows: Callable[[Any], bool]  # Any: of many types, as yaml reads them


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share_or_count(value: Any) -> bool:
    return _is_number(value) and (0 < value <= 1 if isinstance(value, float) else value >= 1)


def _one_of(*values: Any) -> Argument:
    return Argument(" or ".join(str(value).lower() for value in values), lambda value: value in values)


SWITCH = Argument("true or false", lambda value: isinstance(value, bool))
SHARE_OR_COUNT = Argument("a number of batches, or a share of them above 0 and at most 1.0", _is_share_or_count)
PASSED_ON = {
    "benchmark": SWITCH,
    "detect_anomaly": SWITCH,
    "deterministic": SWITCH,
    "enable_model_summary": SWITCH,
    "gradient_clip_algorithm": _one_of("norm", "value"),
    "gradient_clip_val": Argument("a number above 0", lambda value: _is_number(value) and value > 0),
    "limit_train_batches": SHARE_OR_COUNT,
    "limit_val_batches": SHARE_OR_COUNT,
    "log_every_n_steps": Argument("a whole number from 1", lambda value: type(value) is int and value >= 1),
    "profiler": _one_of("simple", "advanced", "pytorch"),
}
ELSEWHERE = {
    "accelerator": "training.accelerator sets it",
    "accumulate_grad_batches": "a step is a batch: --batch-size sets it",
    "callbacks": "training.callbacks names them",
    "default_root_dir": "training.checkpoint_dir says where checkpoints go, and MODEL_DIR where versions and logs do",
    "devices": "torchrun --nproc-per-node N or srun starts a process for each device",
    "logger": "training.logger sets it",
    "max_epochs": "training.epochs (--epochs) sets it",
    "max_steps": "training.epochs (--epochs) sets how long training takes",
    "max_time": "training.epochs (--epochs) sets how long training takes, and Ctrl-C ends it",
    "min_epochs": "training.epochs and training.patience set it",
    "num_nodes": "torchrun --nnodes N or srun sets it",
    "precision": "training.precision sets it",
    "strategy": "several processes, of torchrun or srun, train with DDP",
}


def check_trainer_arguments(arguments: Mapping[str, Any]) -> None:  # Any: of many types, as yaml reads them
    """Raises SettingError for one that is not passed on, or has a value that it cannot have."""
    for name, value in arguments.items():
        key = f"{SECTION}{name}"
        if name in ELSEWHERE:
            raise SettingError(f"{key} is not passed on to Lightning's Trainer: {ELSEWHERE[name]}.")
        if name not in PASSED_ON:
            near = difflib.get_close_matches(name, PASSED_ON, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Those that are: {', '.join(PASSED_ON)}."
            raise SettingError(f"{key} is not passed on to Lightning's Trainer. {hint}")
        argument = PASSED_ON[name]
        require(argument.allows(value), f"{key} is {value!r}; it must be {argument.must_be}.")
