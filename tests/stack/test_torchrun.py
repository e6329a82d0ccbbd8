"""scripts/train.py as torchrun starts it: each process reads its own share, the first writes the version."""

import re
import sys
from typing import TYPE_CHECKING

import torch

from scripts.bench.harness import SCRIPTS, Place
from tests.warehouse.sources.asking import prepare

from .conftest import variables_of
from .forking import run_forked

if TYPE_CHECKING:
    from forecasting.settings.schema import DatabaseConfig

SITES = """
alter table daily_metrics add site text, drop constraint daily_metrics_date_key;
delete from daily_metrics where date < '2020-01-01';
update daily_metrics set site = 'site 0';
insert into daily_metrics (date, page_visits, site)
    select date, number * page_visits, 'site ' || number from daily_metrics, generate_series(1, 7) as number;
"""
SETTINGS = [
    "--epochs", "2", "--days-back", "100", "data.metrics=page_visits", "model.init=scratch", "training.patience=0",
    "model.hidden_size=8", "model.dropout=0", "training.precision=fp32", "training.accelerator=cpu",
]  # fmt: skip


def test_two_processes_write_the_version_that_one_writes(database: "DatabaseConfig", empty_place: Place) -> None:
    prepare(database, SITES)
    empty_place.environment |= variables_of(database)
    alone = run_forked(empty_place, "train.py", "--model-version", "one", *SETTINGS)
    assert alone.returncode == 0, alone.stderr
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    together = empty_place.run_command(*torchrun, SCRIPTS / "train.py", "--model-version", "two", *SETTINGS)
    assert together.returncode == 0, together.stderr[-3000:]
    assert re.search(r"^read 8 series of 232 days, .*, by 2 processes$", together.stdout, re.MULTILINE)
    errors = [re.findall(r"^error relative to.*$", run.stdout, re.MULTILINE) for run in (alone, together)]
    assert errors[0] == errors[1] != []
    assert together.stdout.count("next: python scripts/serve.py --model-version two") == 1
    alone_weights, together_weights = (
        torch.load(empty_place.store / version / "weights.pt", weights_only=True) for version in ("one", "two")
    )
    for name, weights in alone_weights.items():
        # 1e-4 as in tests/training/test_distributed.py, which says why
        torch.testing.assert_close(together_weights[name], weights, rtol=0, atol=1e-4)
