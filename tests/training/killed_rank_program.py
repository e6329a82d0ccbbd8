"""test_distributed.py runs this in two processes, of which the second is killed."""

import os
import signal

from forecasting.runtime.log import start_log
from forecasting.runtime.process import run
from forecasting.settings.loading import load_config
from forecasting.training.distributed import gather_from_ranks, process_group


def main() -> None:
    start_log(None, debug=False)
    config = load_config(["training.accelerator=cpu"])
    with process_group(config.process, config.training.accelerator):
        gather_from_ranks(1)
        if config.process.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        gather_from_ranks(2)


if __name__ == "__main__":
    run(main)
