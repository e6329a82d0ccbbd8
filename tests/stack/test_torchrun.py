"""scripts/train.py as torchrun starts it: each process reads its own share, the first writes the version.

torchrun itself starts processes in tests/training/test_distributed.py.
"""

import re
from typing import TYPE_CHECKING

import torch

from forecasting.serving.torchserve.ports import find_free_port
from scripts.bench.harness import Place
from tests.warehouse.sources.asking import prepare

from .conftest import variables_of
from .forking import run_forked, start_forked

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
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    common["MASTER_PORT"] = str(find_free_port())
    first, second = (
        start_forked(empty_place, "train.py", "--model-version", "two", *SETTINGS, RANK=rank, LOCAL_RANK=rank, **common)
        for rank in ("0", "1")
    )
    assert [first.wait(), second.wait()] == [0, 0], first.text + second.text
    assert re.search(r"^read 8 series of 232 days, .*, by 2 processes$", first.text, re.MULTILINE)
    errors = [re.findall(r"^error relative to.*$", text, re.MULTILINE) for text in (alone.stdout, first.text)]
    assert errors[0] == errors[1] != []
    assert "next: python scripts/serve.py --model-version two" in first.text
    assert "next: " not in second.text
    alone_weights, together_weights = (
        torch.load(empty_place.store / version / "weights.pt", weights_only=True) for version in ("one", "two")
    )
    for name, weights in alone_weights.items():
        # 1e-4 as in tests/training/test_distributed.py, which says why
        torch.testing.assert_close(together_weights[name], weights, rtol=0, atol=1e-4)
