"""Runs the daily job in a child for each line that it reads, so that all of them share what is imported."""

import asyncio
import os
import sys
from pathlib import Path

from forecasting.jobs.daily import DailyReport, run_daily
from forecasting.settings.schema import Config, DatabaseConfig


def main(host: str, name: str, store: str) -> None:
    database = DatabaseConfig(embedded=False, host=host, name=name)
    config = Config(database=database, model_dir=Path(store), model_version="base")
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(run_daily(config, DailyReport()))
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else status, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
